"""Cameras on this machine for some minutes: ages, drops, reconnects, CPU, memory, and whether the counts add up.

By hand, from a checkout: python -m auflow.benchmarks.live_cameras --cameras 4 --fps 15 --size 320x240 --minutes 10
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

__all__ = [
    "START_S",
    "add_arguments",
    "adds_up",
    "all_stream",
    "ask",
    "cpu_s",
    "frames_done",
    "main",
    "measure",
    "status",
    "tree",
]

EVERY_S = 10.0
START_S = 300.0  # for the first start, which compiles the kernels
END_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROGRAM = (
    "import sys; from pathlib import Path; from auflow.serve.loading import load_config\n"
    "from auflow.serve.service import run; sys.exit(run(load_config(Path(sys.argv[1])), kit=sys.argv[2]))"
)
DESCRIPTION = """\
Cameras on this machine, of the test RTSP server, through a service for some minutes. Needs the checkout: the server
is in tests/decode. It runs in this process, so that its work is not in the figures of the service. Linux only."""


def main(argv: list[str] | None = None) -> int:
    """Measure; 1 when the counts do not add up."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and all samples to FILE")
    given = parser.parse_args(argv)
    found = measure(given)
    _show(found)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1))
    return 0 if found["adds_up"] else 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and for how long."""
    parser.add_argument("clip", nargs="?", type=Path, default=Path(__file__).parents[1] / "demo" / "astronaut.mp4")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--size", default="320x240", metavar="WxH")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--lanes", type=int, default=0, help="default: as the service chooses")
    parser.add_argument(
        "--slow", type=float, default=1.0, metavar="FACTOR", help="landmarks take so many times as long"
    )


def measure(
    given: argparse.Namespace,
    http: str = "",
    telemetry: str = "metrics = false",
    *,
    kit: str = "",
    each: Callable[[Path, int], None] = lambda _socket, _pid: None,
) -> dict[str, Any]:
    """Run the service and watch it; the figures.

    Parameters
    ----------
    http : HOST:PORT of health and metrics, "" for none
    telemetry : the lines of [telemetry] in the configuration
    kit : module that makes the stages; default: the real ones, or slow ones where `given.slow` says so
    each : called with the control socket and the service's process when the measurement begins
    """
    rtsp = importlib.import_module("auflow.tests.decode.rtsp_server")
    width, height = map(int, given.size.split("x"))
    clip = rtsp.encode((width, height), given.fps, 0, path=given.clip, gop=30)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auflow-live-")))
        server = stack.enter_context(rtsp.RtspServer(clip))
        config = folder / "serve.toml"
        config.write_text(_toml(folder, server.url, given, http, telemetry))
        environ = os.environ | {"AUFLOW_BENCH_SLOW": str(given.slow)}
        kit = kit or ("auflow.benchmarks.slow_kit" if given.slow > 1 else "auflow.flow.stagekit")
        command = [sys.executable, "-c", _PROGRAM, str(config), kit]
        with (folder / "log").open("w") as log, subprocess.Popen(command, env=environ, stderr=log) as process:
            try:
                return _watch(folder / "sock", process, given, each)
            finally:
                end(process)


def _toml(folder: Path, url: str, given: argparse.Namespace, http: str, telemetry: str) -> str:
    lanes = f"workers.live_lanes = {given.lanes}\n" if given.lanes else ""
    streams = "".join(f'[stream.camera{number}]\nsource = "{url}"\n' for number in range(given.cameras))
    return (
        f'state_dir = "{folder}/state"\ncontrol.socket = "{folder}/sock"\nhttp.address = "{http}"\n'
        f'bus.address = "ipc://{folder}/bus"\n{lanes}[telemetry]\n{telemetry}\n{streams}'
    )


def end(process: subprocess.Popen[Any]) -> None:
    """Ask the service to go; kill it where it does not."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _watch(
    place: Path, process: subprocess.Popen[bytes], given: argparse.Namespace, each: Callable[[Path, int], None]
) -> dict[str, Any]:
    deadline_s = time.monotonic() + START_S
    while not all_stream(place):
        if process.poll() is not None or time.monotonic() > deadline_s:
            log = (place.parent / "log").read_text()[-2000:]
            raise SystemExit(f"live_cameras: the service did not get all cameras to stream; its log:\n{log}")
        time.sleep(0.5)
    time.sleep(2 * given.cameras / given.fps + 5.0)  # caches warm, first detections over
    each(place, process.pid)
    samples = [_sample(place, process.pid)]
    ends_s = time.monotonic() + 60 * given.minutes
    while (left_s := ends_s - time.monotonic()) > 0:
        time.sleep(min(EVERY_S, left_s))
        samples.append(_sample(place, process.pid))
    ask(place, "drain")
    deadline_s = time.monotonic() + END_S
    while any(stream["state"] == "streaming" for stream in status(place)["streams"]) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    last = status(place)
    first, end = samples[0], samples[-1]
    frames = _total(end, "done") - _total(first, "done")
    return {
        "asked": {key: value if isinstance(value, float | int) else str(value) for key, value in vars(given).items()},
        "seconds": end["at_s"] - first["at_s"],
        "frames": frames,
        "cpu_ms_per_frame": 1e3 * (end["cpu_s"] - first["cpu_s"]) / max(frames, 1),
        "pss_mb": [first["pss_mb"], end["pss_mb"]],
        "adds_up": all(adds_up(stream) for stream in last["streams"]),
        "streams": [_figures(stream, samples, number) for number, stream in enumerate(last["streams"])],
        "samples": samples,
    }


def _figures(stream: dict[str, Any], samples: list[dict[str, Any]], number: int) -> dict[str, Any]:
    ages = {key: [sample["streams"][number][key] for sample in samples] for key in ("age_p50_ms", "age_p99_ms")}
    worst = {
        f"{key}_worst": max((age for age in found if age is not None), default=None) for key, found in ages.items()
    }
    last = {key: found[-1] for key, found in ages.items()}
    kept = {key: stream[key] for key in ("name", "state", "frames", "reconnects", "restarts", "lost", "corrupt")}
    return {**kept, **last, **worst}


def adds_up(stream: dict[str, Any]) -> bool:
    """Whether it is known of every picture of a stream that has ended what became of it."""
    frames = stream["frames"]
    known = frames["done"] + frames["failed"] + sum(frames["dropped"].values())
    return bool(frames["in"] == known and frames["under_way"] == 0)


def frames_done(place: Path) -> int:
    """Of all streams, so far."""
    return sum(stream["frames"]["done"] for stream in status(place)["streams"])


def _total(sample: dict[str, Any], key: str) -> int:
    return sum(stream["frames"][key] for stream in sample["streams"])


def all_stream(place: Path) -> bool:
    """Whether each stream has given a result."""
    try:
        return all(stream["frames"]["done"] > 0 for stream in status(place)["streams"])
    except OSError:  # it does not listen yet
        return False


def status(place: Path) -> dict[str, Any]:
    """As `auflow ctl status --json` tells it."""
    told: dict[str, Any] = ask(place, "status")["status"]
    return told


def ask(place: Path, operation: str) -> dict[str, Any]:
    """As `auflow ctl` asks: a line of JSON, and one back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, connection.makefile("rwb") as lines:
        connection.settimeout(END_S)
        connection.connect(str(place))
        lines.write(json.dumps({"op": operation}).encode() + b"\n")
        lines.flush()
        answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def _sample(place: Path, root: int) -> dict[str, Any]:
    pids = tree(root)
    spent_s, pss_mb = sum(map(cpu_s, pids)), sum(map(_pss_mb, pids))
    return {"at_s": time.monotonic(), "cpu_s": spent_s, "pss_mb": pss_mb, "streams": status(place)["streams"]}


def tree(root: int) -> list[int]:
    """The process and all below it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(folder.name)):
            parents[int(folder.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return []


def cpu_s(pid: int) -> float:
    """That a process has used, its ended threads included."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def _show(found: dict[str, Any]) -> None:
    print_ = sys.stdout.write
    print_("| stream | in | done | superseded | too_old | failed | p50 ms (worst) | p99 ms (worst) | reconnects |\n")
    print_("|---|---|---|---|---|---|---|---|---|\n")
    for stream in found["streams"]:
        frames, dropped = stream["frames"], stream["frames"]["dropped"]
        print_(
            f"| {stream['name']} | {frames['in']} | {frames['done']} | {dropped['superseded']} | {dropped['too_old']} "
            f"| {frames['failed']} | {stream['age_p50_ms']} ({stream['age_p50_ms_worst']}) "
            f"| {stream['age_p99_ms']} ({stream['age_p99_ms_worst']}) | {stream['reconnects']} |\n"
        )
    before, after = found["pss_mb"]
    print_(
        f"\n{found['frames']} frames in {found['seconds']:.0f} s, {found['cpu_ms_per_frame']:.1f} ms of CPU each (all "
        f"processes); memory (PSS) {before:.0f} MB at the start, {after:.0f} MB at the end; "
        f"in == done + dropped + failed: {'yes' if found['adds_up'] else 'NO'}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
