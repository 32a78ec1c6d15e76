"""What is secret about a stream is shown nowhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from auflow.errors import UsageError
from auflow.serve.describe import describe
from auflow.serve.loading import parse_config
from auflow.serve.stream_config import parse_stream

BASE = Path("/etc/auflow")
SECRET = "hunter2"
ENVIRON = {"DOOR_PASSWORD": SECRET, "STATE_DIRECTORY": "/state", "XDG_RUNTIME_DIR": "/run/user/1"}


@pytest.mark.parametrize(
    "table",
    [
        {"source": f"rtsp://bob:{SECRET}@10.0.0.7/1"},
        {"source": f"http://10.0.0.7/video?user=bob&password={SECRET}"},
        {"source": "rtsp://10.0.0.7/1", "username": "bob", "password_env": "DOOR_PASSWORD"},
    ],
)
def test_of_a_good_stream(table: dict[str, str]) -> None:
    stream = parse_stream("door", table, BASE, ENVIRON)
    told = describe(parse_config({"stream": {"door": table}}, BASE, "t", ENVIRON))
    for text in (repr(stream), stream.shown_source, told):
        assert SECRET not in text
        assert "bob" not in text
    assert "10.0.0.7" in stream.shown_source
    assert "10.0.0.7" in told


def test_the_reader_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", SECRET)
    table = {"source": "rtsp://10.0.0.7/1", "username": "bob", "password_env": "DOOR_PASSWORD"}
    live = parse_stream("door", table, BASE).live
    assert live is not None
    assert live.address() == f"rtsp://bob:{SECRET}@10.0.0.7/1"


@pytest.mark.parametrize(
    "table",
    [
        {"source": f"rtsp://bob:{SECRET}@[10.0.0.7/1"},
        {"source": f"rtsp://bob:{SECRET}@10.0.0.7/1", "username": "bob"},
        {"source": f"rtsp://bob:1/{SECRET}@10.0.0.7/1"},
        {"source": f"ftp://bob:{SECRET}@10.0.0.7/1"},
        {"source": f"rtsp:/bob:{SECRET}@10.0.0.7/1"},
        {"source": f"rtsp://bob:{SECRET}@10.0.0.7/1", "policy": "file"},
        {"source": f"rtsp://bob:{SECRET}@10.0.0.7/1\n"},
        {"source": [f"rtsp://bob:{SECRET}@10.0.0.7/1"]},
        {"source": "rtsp://10.0.0.7/1", "password": SECRET},
        {"source": "rtsp://10.0.0.7/1", "username": ["bob", SECRET]},
        {"source": "rtsp://10.0.0.7/1", "username": "bob", "password_env": SECRET},
        {"source": "rtsp://10.0.0.7/1", "username": "bob", "password_env": f"{SECRET}!"},
    ],
)
def test_of_a_stream_with_a_mistake(table: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_stream("door", table, BASE, ENVIRON)
    assert SECRET not in str(caught.value)
    assert "stream.door." in str(caught.value)


def test_what_is_printed_says_the_same() -> None:
    document = {
        "state_dir": 's"\\t',
        "workers": {"live_lanes": 3},
        "http": {"address": ""},
        "bus": {"address": "tcp://10.0.0.1:1", "keys_dir": "keys"},
        "stream": {
            "a": {"source": "webcam:0", "csv": "ü-{start}.csv", "camera": [1, 2, 3.5, 4], "columns": ["aus", "gaze"]},
            "b": {"source": "file:b.mp4", "loop": True, "clnf_iterations": 3},
            "c": {"source": "rtsp://h/1", "transport": "udp"},
            "d": {"source": "d.mp4", "csv": "of {name}.csv"},
        },
    }
    config = parse_config(document, BASE, "t", ENVIRON)
    again = parse_config(tomllib.loads(describe(config)), Path("/elsewhere"), "t", {})
    assert again == config
