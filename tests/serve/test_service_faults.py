"""What happens to a service whose workers are killed or hang, and whose cameras do what cameras do."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auflow.stages.records import Frame
from auflow.tests.decode.rtsp_server import RtspServer, encode
from auflow.tests.flow.fake_kit import FakeClnf, FakeDetector
from auflow.tests.serve.live_kit import FakePicture, LiveAu
from auflow.tests.serve.live_place import LIMITS, Place, Running, Subscriber


@pytest.mark.parametrize("worker", ["decode-0", "clnf-0", "au-0", "sink-0", "detect-0"])
def test_kill_9_of_a_worker(place: Place, worker: str) -> None:
    config = place.config({"a": place.camera("a"), "b": place.camera("b")}, workers={"live_lanes": 1})
    with place.serve(config) as running, Subscriber(config.bus.address) as bus:
        running.flows("a", "b")
        pid = running.kill(worker)
        running.until(lambda: running.service.crew.pids.get(worker, pid) != pid)
        running.flows("a", "b", frames=10)
        lane = worker != "detect-0"
        assert [running.stream(name)["restarts"] for name in "ab"] == [int(lane)] * 2
        assert running.status()["state"] in ("ready", "degraded")
        running.until(lambda: running.status()["state"] == "ready")
        running.do("drain")
        running.until(lambda: all(stream["state"] == "ended" for stream in running.status()["streams"]))
        for stream in running.status()["streams"]:
            assert stream["frames"]["under_way"] == 0
            assert stream["frames"]["failed"] <= int(lane)
        for name in "ab":
            frames = [message["frame"] for message in bus.of(name, "result")]
            assert frames == sorted(set(frames))  # numbers go on, and none comes twice
            numbers = [message["seq"] for message in bus.of(name)]
            assert numbers == sorted(set(numbers))


def test_kill_9_of_the_bus_and_its_listeners_go_on(place: Place) -> None:
    config = place.config({"a": place.camera("a")})
    with place.serve(config) as running, Subscriber(config.bus.address) as bus:
        running.until(lambda: len(bus.of("a", "result")) > 5)
        pid = running.kill("bus-0")
        running.until(lambda: running.service.crew.pids.get("bus-0", pid) != pid)
        heard = len(bus.of("a", "result"))
        running.until(lambda: len(bus.of("a", "result")) > heard + 10)
        assert running.stream("a")["restarts"] == 0


def test_kill_9_of_the_nursery_brings_everyone_back(place: Place) -> None:
    with place.serve(place.config({"a": place.camera("a")})) as running:
        running.flows("a")
        running.service.crew._nursery._process.kill()
        running.until(lambda: running.stream("a")["restarts"] == 1)
        running.flows("a")


def test_a_worker_that_hangs_is_replaced_and_ctl_answers_meanwhile(place: Place) -> None:
    limits = replace(LIMITS, silence_s=1.5)
    with place.serve(place.config({"a": place.camera("a")}), limits) as running:
        running.flows("a")
        running.kill("clnf-0", signal.SIGSTOP)
        asked_s = time.monotonic()
        running.status()
        assert time.monotonic() - asked_s < 5
        running.until(lambda: running.stream("a")["restarts"] == 1)
        running.flows("a")


def test_what_was_learned_before_a_kill_is_not_forgotten(place: Place) -> None:
    """No picture comes between a checkpoint and the kill: after it all is as in a stream that was not disturbed."""
    table = place.camera(hold=20) | {"jsonl": str(place.root / "{start}.jsonl")}
    config = place.config({"a": table}, limits={"checkpoint_s": 0.5})
    with place.serve(config) as running:
        running.until(lambda: _through(running, 20))
        checkpoint = place.root / "state" / "streams" / ".a.auflow" / "checkpoint"
        first = checkpoint.stat().st_mtime_ns
        running.until(lambda: checkpoint.stat().st_mtime_ns > first)
        running.kill("au-0")
        running.until(lambda: running.stream("a")["restarts"] == 1)
        (place.root / "camera.go").touch()
        running.until(lambda: running.stream("a")["frames"]["in"] >= 40)
    lines = [json.loads(line) for path in place.root.glob("*.jsonl") for line in path.read_text().splitlines()]
    online = {line["frame"]: line["au_r"]["AU01"] for line in lines if line["type"] == "result"}
    numbers = sorted(online)
    assert numbers[0] <= 20 < numbers[-1]
    assert [online[number] for number in numbers] == pytest.approx(undisturbed(numbers), abs=1e-4)


def undisturbed(numbers: list[int]) -> list[float]:
    """The online values of a stream of these pictures, in one process."""
    clnf, au, detector = FakeClnf(), LiveAu(), FakeDetector()
    values = []
    for number in numbers:
        bgr = np.empty((48, 64, 3), np.uint8)
        FakePicture(number, 0.0).write_into(bgr)
        bgr.flags.writeable = False
        frame = Frame(number, 0.0, bgr)
        (fit,) = clnf.process(frame, lambda bgr=bgr: detector.detect(bgr))
        online = au.process(frame, fit).online
        assert online is not None
        values.append(float(online[0]))
    return values


def _through(running: Running, frames: int) -> bool:
    found = running.stream("a")["frames"]
    return bool(found["in"] >= frames and not found["under_way"])


def test_a_full_disk_ends_no_stream(place: Place) -> None:
    (place.root / "full").write_text("no folder")
    table = place.camera("a") | {"csv": str(place.root / "full" / "{start}.csv")}
    with place.serve(place.config({"a": table})) as running:
        running.flows("a", frames=10)
        assert "full" in running.stream("a")["last_warning"]
        assert running.stream("a")["restarts"] == 0


# Cameras


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer(encode(fps=25.0)) as server:
        yield server


def rtsp(server: RtspServer) -> dict[str, object]:
    limits = {"open_timeout_s": 1.0, "read_timeout_s": 0.7, "stalled_after_s": 0.4}
    return {"source": server.url, **limits}


@pytest.mark.parametrize("kind", ["reset", "stall", "503", "garbage"])
def test_a_camera_that_fails_is_back_and_counted(place: Place, camera: RtspServer, kind: str) -> None:
    with place.serve(place.config({"cam": rtsp(camera), "other": place.camera()})) as running:
        running.flows("cam")
        assert running.stream("cam")["clock"] in (None, "rtcp", "arrival")
        camera.faults.kind = kind
        if kind == "503":
            camera.cut()
        running.until(lambda: running.stream("cam")["state"] in ("stalled", "backing_off", "connecting"))
        running.flows("other")
        camera.faults.kind = ""
        running.flows("cam")
        assert running.stream("cam")["restarts"] == 0
        assert running.stream("cam")["reconnects"] >= int(kind in ("reset", "503"))
        assert running.status()["state"] == "ready"


def test_a_wrong_password_is_told_and_goes_nowhere(
    place: Place, camera: RtspServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera.auth = "basic"
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2secret")
    table = rtsp(camera) | {"username": "viewer", "password_env": "CAMERA_PASSWORD"}
    with place.serve(place.config({"cam": table, "other": place.camera()})) as running:
        running.until(lambda: "user or password refused" in running.stream("cam")["reason"])
        running.flows("other")
        assert "hunter2secret" not in str(running.ask("status"))
        assert running.stream("cam")["frames"]["in"] == 0


def test_a_camera_that_never_answers_disturbs_nobody(place: Place, camera: RtspServer) -> None:
    camera.faults.kind = "mute"
    table = rtsp(camera) | {"open_timeout_s": 60.0}
    with place.serve(place.config({"cam": table, "other": place.camera()}, workers={"live_lanes": 1})) as running:
        running.flows("other", frames=20)
        assert running.stream("cam")["state"] == "connecting"
        running.do("remove", "cam")
        running.until(lambda: len(running.status()["streams"]) == 1)
        running.flows("other")
        began_s = time.monotonic()
    assert time.monotonic() - began_s < LIMITS.drain_s


def test_pictures_of_another_size(place: Place, camera: RtspServer) -> None:
    larger = encode((1024, 768), 25.0)
    config = place.config({"cam": rtsp(camera), "other": place.camera()}, workers={"live_lanes": 1})
    with place.serve(config) as running:
        running.flows("cam")
        camera.clip = larger
        camera.cut()
        running.flows("cam", "other", frames=10)
        assert running.stream("cam")["reconnects"] >= 1
        assert running.stream("cam")["restarts"] == 0


def test_a_clip_in_a_loop(place: Place) -> None:
    table = {"source": f"file:{place.clip(frames=10)}", "loop": True}
    with place.serve(place.config({"a": table})) as running:
        running.flows("a", frames=25)


def test_a_clip_that_ends_and_one_that_is_not_there(place: Place) -> None:
    clip: Path = place.clip(frames=10)
    gone = place.clip("gone", frames=1)
    config = place.config({"a": {"source": f"file:{clip}"}, "b": {"source": f"file:{gone}"}})
    gone.unlink()
    with place.serve(config) as running:
        running.until(lambda: running.stream("a")["state"] == "finished")
        frames = running.stream("a")["frames"]
        assert frames["in"] == 10
        running.until(lambda: running.stream("b")["state"] == "failed")
        assert running.stream("b")["reason"]
