"""Cameras on this machine with OpenFace's own tracking and with coherent tracking, one after the other.

By hand, from a checkout: python -m auflow.benchmarks.live_coherence --tracking both --multi-face CLIP --minutes 2
Faces that come and go: --clip A --clip B --cameras 2 --size 320x180
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from auflow import metrics
from auflow.benchmarks import live_cameras
from auflow.benchmarks.live_cameras import ask, status
from auflow.metrics import Metric
from auflow.transport.schema import unpack_message

__all__ = ["Camera", "arguments", "cameras", "configuration", "figures", "main", "measure", "table"]

MODES = ("openface", "coherent")
END_S = 60.0
_COUNTED = (metrics.DETECTIONS, metrics.DESCRIPTORS, metrics.DESCRIPTORS_REUSED)
_AGES = (50.0, 90.0, 99.0, 100.0)
DESCRIPTION = """\
Cameras on this machine, of the test RTSP server, through a service for some minutes: with OpenFace's own tracking, with
coherent tracking, or with both, one after the other. Needs the checkout: the server is in tests/decode. It runs in this
process, as the listener that takes the ages does, so that their work is not in the figures. Linux only."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One live stream."""

    name: str
    clip: Path
    size: tuple[int, int]  # width, height
    faces: str = "widest"


def main(argv: list[str] | None = None) -> int:
    """Measure; 1 when the counts do not add up."""
    given = arguments(argv)
    modes = MODES if given.tracking == "both" else (given.tracking,)
    found = {mode: measure(given, mode) for mode in modes}
    sys.stdout.write(table(found))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1))
    return 0 if all(mode["adds_up"] for mode in found.values()) else 1


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What is measured, and for how long."""
    demo = Path(__file__).parents[1] / "demo" / "astronaut.mp4"
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--tracking", choices=(*MODES, "both"), default="both")
    parser.add_argument(
        "--clip", type=Path, action="append", help="that the cameras show, in turn; may be repeated (default: the demo)"
    )
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--size", default="320x240", metavar="WxH", help="of their pictures")
    parser.add_argument("--multi-face", type=Path, metavar="CLIP", help="one more camera, of which all faces count")
    parser.add_argument("--multi-face-size", default="640x480", metavar="WxH")
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--minutes", type=float, default=2.0, help="for each tracking")
    parser.add_argument("--lanes", type=int, default=0, help="default: as the service chooses")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    given = parser.parse_args(argv)
    given.clip = given.clip or [demo]
    return given


def cameras(given: argparse.Namespace) -> list[Camera]:
    """The streams that were asked for."""
    size, large = (tuple(map(int, text.split("x"))) for text in (given.size, given.multi_face_size))
    found = [
        Camera(f"camera{number}", given.clip[number % len(given.clip)], (size[0], size[1]))
        for number in range(given.cameras)
    ]
    if given.multi_face is not None:
        found.append(Camera("faces", given.multi_face, (large[0], large[1]), "all"))
    return found


def configuration(folder: Path, sources: Mapping[Camera, str], tracking: str, lanes: int = 0) -> str:
    """The service's, as TOML; `sources` has the address of each camera."""
    workers = f"workers.live_lanes = {lanes}\n" if lanes else ""
    streams = "".join(
        f'[stream.{camera.name}]\nsource = "{url}"\nfaces = "{camera.faces}"\ntracking = "{tracking}"\n'
        for camera, url in sources.items()
    )
    return (
        f'state_dir = "{folder}/state"\ncontrol.socket = "{folder}/sock"\nhttp.address = "127.0.0.1:0"\n'
        f'bus.address = "ipc://{folder}/bus"\n{workers}[telemetry]\nmetrics = true\n{streams}'
    )


def measure(given: argparse.Namespace, tracking: str) -> dict[str, Any]:
    """Run the service with one tracking and watch it; the figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auflow-live-")))
        sources = stack.enter_context(_served(cameras(given), given.fps))
        (folder / "serve.toml").write_text(configuration(folder, sources, tracking, given.lanes))
        process = stack.enter_context(_service(folder))
        ages = stack.enter_context(_Ages(f"ipc://{folder}/bus"))
        _await_streams(folder, process)
        time.sleep(5.0 + 2 * len(sources) / given.fps)  # caches warm, first detections over
        first = _sample(folder / "sock", process.pid)
        ages.begin()
        time.sleep(60 * given.minutes)
        ages.end()
        last = _sample(folder / "sock", process.pid)
        return figures(first, last, ages.of, _drained(folder / "sock"))


@contextmanager
def _served(wanted: Sequence[Camera], fps: float) -> Iterator[dict[Camera, str]]:
    """An RTSP server for each clip and size; the address of each camera."""
    rtsp = importlib.import_module("auflow.tests.decode.rtsp_server")
    with ExitStack() as stack:
        urls: dict[tuple[Path, tuple[int, int]], str] = {}
        for camera in wanted:
            key = camera.clip, camera.size
            if key not in urls:
                clip = rtsp.encode(camera.size, fps, 0, path=camera.clip, gop=30)
                urls[key] = stack.enter_context(rtsp.RtspServer(clip)).url
        yield {camera: urls[camera.clip, camera.size] for camera in wanted}


@contextmanager
def _service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "auflow", "serve", str(folder / "serve.toml")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            live_cameras.end(process)


def _await_streams(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + live_cameras.START_S
    while not live_cameras.all_stream(folder / "sock"):
        if process.poll() is not None or time.monotonic() > deadline_s:
            log = (folder / "log").read_text()[-2000:]
            raise SystemExit(f"live_coherence: the service did not get all cameras to stream; its log:\n{log}")
        time.sleep(0.5)


class _Ages:
    """Listens to the bus: the age of each frame's result, by stream."""

    def __init__(self, address: str) -> None:
        self.of: dict[str, list[float]] = defaultdict(list)
        self._address = address
        self._counts = self._ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def begin(self) -> None:
        """What comes from now on counts."""
        self._counts = True

    def end(self) -> None:
        """What comes from now on does not."""
        self._counts = False

    def _listen(self) -> None:
        last: dict[str, int] = {}
        with zmq.Context(1) as context, context.socket(zmq.SUB) as socket:
            socket.subscribe(b"")
            socket.connect(self._address)
            while not self._ended:
                if not socket.poll(200):
                    continue
                message = unpack_message(socket.recv_multipart()[-1])
                if message["type"] != "result" or last.get(message["stream"]) == message["frame"]:
                    continue
                last[message["stream"]] = message["frame"]  # a frame has a message for each face
                if self._counts:
                    self.of[message["stream"]].append(message["age_s"])

    def __enter__(self) -> _Ages:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()


def _sample(place: Path, root: int) -> dict[str, Any]:
    """Counts and CPU time so far."""
    told = status(place)
    return {
        "at_s": time.monotonic(),
        "cpu_s": sum(map(live_cameras.cpu_s, live_cameras.tree(root))),
        "streams": {stream["name"]: stream["frames"] for stream in told["streams"]},
        "counters": _counters(told["http"]["address"]),
    }


def _counters(address: str) -> dict[str, dict[str, float]]:
    """By metric and stream, summed over the workers."""
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, dict[str, float]] = {metric.name: defaultdict(float) for metric in _COUNTED}
    for family in families:
        for sample in family.samples:
            if sample.name in found:
                found[sample.name][sample.labels["stream"]] += sample.value
    return found


def _drained(place: Path) -> bool:
    """Whether, when all is over, every picture that came in is known to have been done, dropped or failed."""
    ask(place, "drain")
    deadline_s = time.monotonic() + END_S
    while any(stream["state"] == "streaming" for stream in status(place)["streams"]) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return all(map(live_cameras.adds_up, status(place)["streams"]))


def figures(
    first: Mapping[str, Any], last: Mapping[str, Any], ages_s: Mapping[str, Sequence[float]], adds_up: bool
) -> dict[str, Any]:
    """What happened between two samples."""
    streams = {name: _stream(name, first, last, ages_s.get(name, ())) for name in last["streams"]}
    done = sum(stream["done"] for stream in streams.values())
    return {
        "seconds": last["at_s"] - first["at_s"],
        "done": done,
        "cpu_ms_per_frame": 1e3 * (last["cpu_s"] - first["cpu_s"]) / max(done, 1),
        "cpus": (last["cpu_s"] - first["cpu_s"]) / (last["at_s"] - first["at_s"]),
        "adds_up": adds_up,
        "streams": streams,
    }


def _stream(name: str, first: Mapping[str, Any], last: Mapping[str, Any], ages_s: Sequence[float]) -> dict[str, Any]:
    before, after = first["streams"][name], last["streams"][name]

    def counted(metric: Metric) -> float:
        return float(last["counters"][metric.name].get(name, 0.0) - first["counters"][metric.name].get(name, 0.0))

    faces, reused = counted(metrics.DESCRIPTORS), counted(metrics.DESCRIPTORS_REUSED)
    ages = np.percentile(ages_s, _AGES) if len(ages_s) else np.full(len(_AGES), np.nan)
    return {
        "done": after["done"] - before["done"],
        "failed": after["failed"] - before["failed"],
        "dropped": {reason: count - before["dropped"][reason] for reason, count in after["dropped"].items()},
        "detections": int(counted(metrics.DETECTIONS)),
        "reuse_percent": 100 * reused / faces if faces else 0.0,
        "age_ms": {
            name: None if np.isnan(age) else round(1e3 * float(age), 2)
            for name, age in zip(("p50", "p90", "p99", "max"), ages, strict=True)
        },
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """All of it as Markdown."""
    reasons = list(next(iter(next(iter(found.values()))["streams"].values()))["dropped"])
    heads = ["stream", "tracking", "done", *reasons, "looks", "reused", "p50 ms", "p90", "p99", "max"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in next(iter(found.values()))["streams"]:
        for mode, of_mode in found.items():
            stream = of_mode["streams"][name]
            cells = [name, mode, stream["done"], *(stream["dropped"][reason] for reason in reasons)]
            cells += [stream["detections"], f"{stream['reuse_percent']:.1f} %"]
            cells += ["-" if age is None else f"{age:.1f}" for age in stream["age_ms"].values()]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    for mode, of_mode in found.items():
        failed = sum(stream["failed"] for stream in of_mode["streams"].values())
        lines.append(
            f"\n{mode}: {of_mode['done']} frames in {of_mode['seconds']:.0f} s, {of_mode['cpu_ms_per_frame']:.2f} ms "
            f"of CPU each over all processes, {of_mode['cpus']:.2f} CPUs busy, {failed} failed; "
            f"in == done + dropped + failed: {'yes' if of_mode['adds_up'] else 'NO'}"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
