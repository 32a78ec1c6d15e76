"""Requests become calls, and errors become answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from auflow.serve.control import ServiceApi, dispatch

from .conftest import STATUS, FakeService

STREAM = {"source": "webcam:0", "max_age_s": 0.5}


def test_the_fake_keeps_to_the_protocol(service: FakeService) -> None:
    api: ServiceApi = service
    assert dispatch(api, {"op": "status"}) == {"ok": True, "status": STATUS}


def test_a_stream_comes_and_goes(service: FakeService) -> None:
    assert dispatch(service, {"op": "add", "name": "door", "stream": STREAM}) == {"ok": True}
    assert service.streams["door"].max_age_s == 0.5
    for operation in ("pause", "resume", "remove"):
        assert dispatch(service, {"op": operation, "name": "door"}) == {"ok": True}
    assert service.asked == ["pause door", "resume door"]
    assert service.streams == {}
    assert dispatch(service, {"op": "drain"}) == dispatch(service, {"op": "stop"}) == {"ok": True}
    assert service.asked[2:] == ["drain", "stop"]


def test_paths_count_from_the_folder_of_whoever_asks(service: FakeService) -> None:
    request = {"op": "add", "name": "tape", "stream": {"source": "tape.mp4"}, "base": "/home/bob"}
    assert dispatch(service, request)["ok"]
    assert service.streams["tape"].source == "/home/bob/tape.mp4"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "op: no such operation: nothing; there are status, add"),
        ({"op": "stauts"}, 'op: no such operation: "stauts"; did you mean status?'),
        ({"op": ["status"]}, "op: no such operation: a list of 1"),
        ({"op": "status", "name": "x"}, '"name": status takes no such field'),
        ({"op": "remove"}, "name: remove needs it, got nothing"),
        ({"op": "remove", "name": 3}, "name: expected the name of a stream, got 3"),
        ({"op": "remove", "name": "x"}, "x: no such stream"),
        ({"op": "add", "name": "x"}, "stream: add needs it, got nothing"),
        ({"op": "add", "name": "x", "stream": STREAM, "base": "home"}, "base: expected an absolute path"),
        ({"op": "add", "name": "x", "stream": {"source": "a\ud800.mp4"}}, "expected text without control characters"),
        ({"op": "add", "name": "x", "stream": 5}, "stream.x: expected a table, got 5"),
        ({"op": "add", "name": "../x", "stream": STREAM}, 'stream."../x": expected a name'),
        ({"op": "add", "name": "x", "stream": {"source": "webcam:0", "wyld": True}}, "did you mean wild?"),
    ],
)
def test_what_is_wrong_is_answered(service: FakeService, request_: dict[str, Any], expected: str) -> None:
    answer = dispatch(service, request_)
    assert (answer["ok"], answer["code"]) == (False, 2)
    assert expected in answer["error"]
    assert service.streams == {}


def test_a_fault_of_ours_is_logged_and_ends_nothing(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(service, "drain", fail)
    with caplog.at_level(logging.ERROR):
        answer = dispatch(service, {"op": "drain"})
    assert answer == {"ok": False, "error": "the service failed (ZeroDivisionError); its log has more", "code": 1}
    assert 'the request "drain" failed' in caplog.text
