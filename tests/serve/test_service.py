"""A service as its users see it: start, status, streams that come and go, its end. Real processes, fake stages."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auflow.errors import UsageError
from auflow.serve import service
from auflow.serve.loading import load_config
from auflow.tests.flow.live_lane import read_rows
from auflow.tests.serve.live_place import KIT, LIMITS, Place, Running, Subscriber
from auflow.transport.ring import SOURCE_STATES


def test_status_as_documented(place: Place) -> None:
    config = place.config({"door": place.camera(), "archive": place.file(frames=20)})
    with place.serve(config) as running:
        running.flows("door", frames=10)
        running.until(lambda: running.stream("archive")["state"] == "finished")
        status = running.until(lambda: (found := running.status())["streams"][0]["fps"] and found)
        assert status["state"] == "ready"
        door, archive = status["streams"]
        assert (door["policy"], door["state"], door["lane"], door["clock"]) == (
            "live",
            "streaming",
            "lane-0",
            "arrival",
        )
        assert (door["width_px"], door["height_px"], door["faces"]) == (64, 48, 1) or door["faces"] == 0
        assert door["age_p50_ms"] <= door["age_p99_ms"]
        assert archive["frames"] == {
            "in": 20,
            "done": 20,
            "failed": 0,
            "dropped": {"superseded": 0, "too_old": 0, "paused": 0},
            "under_way": 0,
        }
        assert archive["outputs"] == [str(place.root / "file.csv")]
        assert read_rows(place.root / "file.csv") == list(range(1, 21))
        lanes = {lane["name"]: [worker["name"] for worker in lane["workers"]] for lane in status["lanes"]}
        assert lanes["lane-0"] == ["decode-0", "sink-0", "au-0", "clnf-0"]
        assert all(worker["pss_mb"] > 0 for lane in status["lanes"] for worker in lane["workers"])
        assert status["bus"]["published"] >= door["frames"]["done"]
        documented = Path(__file__).parents[2].joinpath("docs", "serve.md").read_text()
        for key in {*status, *door, *door["frames"], *status["lanes"][0], *status["lanes"][0]["workers"][0]}:
            assert f"`{key}`" in documented, key


def test_streams_come_pause_and_go_while_it_runs(place: Place) -> None:
    with place.serve(place.config({"a": place.camera("a")})) as running:
        running.do("add", "b", stream=place.camera("b"))
        running.flows("a", "b")
        running.do("pause", "a")
        running.until(lambda: running.stream("a")["state"] == "paused")
        count = running.stream("a")["frames"]["in"]
        running.flows("b")
        running.until(lambda: running.stream("a")["frames"]["under_way"] == 0)
        assert running.stream("a")["frames"]["in"] - count <= 1
        running.do("resume", "a")
        running.flows("a")
        published = running.status()["bus"]["published"]
        running.do("remove", "b")
        running.until(lambda: [stream["name"] for stream in running.status()["streams"]] == ["a"])
        assert running.status()["bus"]["published"] >= published
        refused = running.ask("add", "a", stream=place.camera("a"))
        assert (refused["ok"], refused["code"]) == (False, 2)
        running.do("add", "b", stream=place.camera("b"))
        running.flows("b")
        assert running.stream("b")["restarts"] == 0


def test_a_stream_that_starts_paused_waits(place: Place) -> None:
    with place.serve(place.config({"a": place.camera() | {"paused": True}})) as running:
        running.until(lambda: running.stream("a")["state"] == "paused")
        assert running.stream("a")["frames"]["in"] == 0
        running.do("resume", "a")
        running.flows("a")


def test_files_are_lossless_and_done_one_after_the_other_beside_a_live_stream_with_a_slow_stage(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.1")  # five times as long as a camera's picture
    files = {name: place.file(name, frames=12) for name in ("one", "two")}
    config = place.config({"door": place.camera() | {"max_age_s": 0.3}, **files}, workers={"file_lanes": 1})
    with place.serve(config) as running, Subscriber(config.bus.address) as bus:
        running.until(lambda: running.stream("two")["state"] == "finished")
        running.flows("door", frames=10)
        running.do("drain")
        running.until(lambda: running.stream("door")["state"] == "ended")
        for name in files:
            frames = running.stream(name)["frames"]
            assert (frames["in"], frames["done"]) == (12, 12)
            assert read_rows(place.root / f"{name}.csv") == list(range(1, 13))
        frames = running.stream("door")["frames"]
        assert frames["dropped"]["superseded"] > frames["done"]
        assert (frames["failed"], frames["under_way"]) == (0, 0)
        assert frames["dropped"]["paused"] <= 1  # what waited when it was drained
        # A picture is with the stages for as long as they take, and waits for up to max_age_s before.
        assert max(message["age_s"] for message in bus.of("door", "result")) < 0.3 + 5.0


def test_a_recording_that_a_stop_interrupts_goes_on_where_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    config = place.config({"tape": place.file("tape", frames=60)})
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.05")
    with place.serve(config) as running:
        running.until(lambda: running.stream("tape")["frames"]["done"] >= 10)
    assert sorted(entry.name for entry in place.root.glob("*.csv")) == []  # no part of it stands in for the whole
    monkeypatch.delenv("AUFLOW_FAKE_DELAY_S")
    with place.serve(config) as running:
        running.until(lambda: running.stream("tape")["state"] == "finished")
        assert running.stream("tape")["frames"]["done"] == 60
        assert read_rows(place.root / "tape.csv") == list(range(1, 61))
    assert list(place.root.glob(".tape*")) == []


def test_segments(place: Place) -> None:
    table = place.camera() | {"csv": str(place.root / "{name}-{start}.csv"), "rotate_s": 1.1}
    config = place.config({"door": table})
    with place.serve(config) as running, Subscriber(config.bus.address) as bus:
        running.until(lambda: len(running.stream("door")["outputs"]) >= 2)
        running.do("drain")
        running.until(lambda: running.stream("door")["state"] == "ended")
        outputs = [Path(path) for path in running.stream("door")["outputs"]]
        done = running.done("door")
        running.until(lambda: len(bus.of("door", "segment")) == len(outputs))
        assert all(message["difference"]["AU01"] == 0.25 for message in bus.of("door", "segment"))
    rows = [row for path in outputs for row in read_rows(path)]
    assert rows == sorted(set(rows))
    assert len(rows) == done
    assert list(place.root.glob(".*")) == []
    assert list((place.root / "state" / "streams").iterdir()) == []


def notified(server: socket.socket) -> list[str]:
    told = []
    while True:
        try:
            told += server.recv(4096).decode().splitlines()
        except BlockingIOError:
            return told


def test_health_and_the_service_manager_hear_of_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{place.root.name}")
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{place.root.name}")
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        config = place.config({"door": place.camera()}, http={"address": "127.0.0.1:0"})
        before = len(os.listdir("/proc/self/fd"))
        with place.serve(config) as running:
            assert running.service._health is not None
            where = running.service._health.address

            def get(path: str) -> tuple[int, dict[str, object]]:
                connection = http.client.HTTPConnection(where, timeout=10)
                connection.request("GET", path)
                answer = connection.getresponse()
                found = answer.status, json.loads(answer.read())
                connection.close()
                return found

            running.until(lambda: get("/readyz")[0] == 200)
            assert get("/healthz") == (200, {"alive": True})
            assert get("/status")[1]["state"] == "ready"
        told = notified(manager)
        assert told[0] == f"EXTEND_TIMEOUT_USEC={round(LIMITS.startup_s * 1e6)}"
        assert "READY=1" in told
        assert "STATUS=ready, 1 streams" in told
        assert "STOPPING=1" in told
        assert told.count("WATCHDOG=1") >= 2
        assert len(os.listdir("/proc/self/fd")) == before


@contextlib.contextmanager
def spawn(place: Place, config_text: str) -> Iterator[subprocess.Popen[str]]:
    """A service as a process of its own."""
    path = place.root / "serve.toml"
    path.write_text(config_text)
    program = (
        "import sys, pathlib; from auflow.serve.service import Service; from auflow.serve.loading import load_config\n"
        f"with Service(load_config(pathlib.Path(sys.argv[1])), kit={KIT!r}) as service: service.until_done()"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def toml_of(place: Place, stream: str) -> str:
    root = place.root
    return (
        f'state_dir = "{root}/state"\nmodels_dir = "{root}"\ncontrol.socket = "{root}/c/sock"\nhttp.address = ""\n'
        f'bus.address = ""\n[limits]\ncheckpoint_s = 0.5\n[stream.door]\n{stream}\n'
    )


def asked(place: Place, stream: str) -> Running:
    (place.root / "serve.toml").write_text(toml_of(place, stream))
    return Running(load_config(place.root / "serve.toml"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_it(place: Place, number: int) -> None:
    stream = f'source = "{place.camera()["source"]}"\ncsv = "{place.root}/{{name}}-{{start}}.csv"'
    running = asked(place, stream)
    with spawn(place, toml_of(place, stream)) as process:
        running.until(lambda: running.config.control_socket.is_socket() and running.ask("status"))
        running.flows("door", frames=10)
        process.send_signal(number)
        assert process.wait(20) == 0
    (csv,) = place.root.glob("door-*.csv")
    assert len(read_rows(csv)) >= 10
    assert place.left_behind() == []
    assert not running.config.control_socket.exists()


def test_a_service_that_is_killed_goes_on_from_its_checkpoint_when_it_is_started_again(place: Place) -> None:
    stream = f'source = "{place.camera()["source"]}"\ncsv = "{place.root}/{{name}}-{{start}}.csv"'
    running = asked(place, stream)
    checkpoint = place.root / "state" / "streams" / ".door.auflow" / "checkpoint"
    with spawn(place, toml_of(place, stream)) as process:
        running.until(lambda: running.config.control_socket.is_socket() and running.ask("status"))
        running.flows("door", frames=20)
        first = checkpoint.stat().st_mtime_ns
        running.until(lambda: checkpoint.stat().st_mtime_ns > first)
        process.kill()
    running.until(lambda: not place.workers())
    with spawn(place, toml_of(place, stream)) as process:
        running.until(lambda: len(list(place.root.glob("door-*.csv"))) == 1)
        running.flows("door", frames=5)
        process.terminate()
        assert process.wait(20) == 0
    before, after = sorted(place.root.glob("door-*.csv"))
    assert read_rows(after)[0] < read_rows(before)[-1]  # numbers begin anew, in a file of their own
    assert list(place.root.glob(".*")) == []
    assert place.left_behind() == []


def test_an_address_that_is_taken_in_the_last_moment_ends_it_with_the_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "refuse_taken", lambda _config: None)  # it was free then
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with place.serve(place.config({}, bus={"address": address})) as running:
            running.may_fail = True
            running.until(lambda: place.errors)
    (error,) = place.errors
    assert isinstance(error, UsageError)
    assert f"bus.address: {address}: cannot be bound" in str(error)


def test_two_streams_cannot_write_the_same_file(place: Place) -> None:
    table = place.camera("a") | {"csv": str(place.root / "same-{start}.csv")}
    with place.serve(place.config({"a": table})) as running:
        refused = running.ask("add", "b", stream=place.camera("b") | {"csv": table["csv"]})
        assert "is written by stream.a.csv already" in refused["error"]
        assert [stream["name"] for stream in running.status()["streams"]] == ["a"]
        assert running.stream("a")["state"] in ("waiting", *SOURCE_STATES)


@pytest.mark.parametrize("door", ["bus", "web"])
def test_an_address_that_is_taken_is_refused_before_any_stream_begins(place: Place, door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        tables = {door: {"address": f"tcp://{address}" if door == "bus" else address}}
        config = place.config({"a": place.camera()}, **tables)
        with pytest.raises(UsageError, match=rf"{door}\.address: {address} cannot be listened on: .*choose another"):
            service.Service(config, kit=KIT)
    assert not place.left_behind()
    assert not (place.root / "state").exists()
