"""One look at a service over its real socket, with its metrics at a real port, and with neither."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from auflow.serve.top import looks
from auflow.serve.top.looks import look
from auflow.telemetry.http import Answer, SmallServer, metrics_answer
from auflow.tests.serve.conftest import FakeService

from .top_tools import metrics_text, status_at


class Page:
    """What the service answers at its HTTP address."""

    def __init__(self) -> None:
        self.answer = metrics_answer(metrics_text(1200).encode())
        self.delay_s = 0.0

    def __call__(self, path: str) -> Answer:
        assert path == "/metrics"
        time.sleep(self.delay_s)
        return self.answer


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def address(page: Page) -> Iterator[str]:
    server = SmallServer(("127.0.0.1", 0), page, "page")
    yield server.address
    server.close()


@pytest.fixture
def status(service: FakeService, address: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    told = status_at(1200, 60.0, http={"address": address})
    monkeypatch.setattr(service, "status", lambda: told)
    return told


def test_status_and_metrics(running: Path, status: dict[str, Any]) -> None:
    seen = look(running)
    assert seen.status == status
    assert (seen.fault, seen.metrics_fault) == ("", "")
    assert set(seen.metrics) == {"clnf-0", "sink-0", "decode-0", "bus-0", "orchestrator"}


def test_an_address_of_everywhere_is_asked_here(running: Path, status: dict[str, Any], address: str) -> None:
    status["http"]["address"] = f"0.0.0.0:{address.rpartition(':')[2]}"
    assert look(running).metrics_fault == ""


@pytest.mark.parametrize(
    ("http", "told"),
    [
        ({"address": ""}, '[http] address is ""'),
        (None, '[http] address is ""'),  # a service of an older version
        ({"address": "nonsense"}, "an address of its metrics that is none"),
        ({"address": 7}, "an address of its metrics that is none"),
    ],
)
def test_no_address(running: Path, status: dict[str, Any], http: Any, told: str) -> None:
    status["http"] = http
    seen = look(running)
    assert told in seen.metrics_fault
    assert (seen.status, seen.metrics) == (status, {})


def test_nobody_listens_there(running: Path, status: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        status["http"]["address"] = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "cannot be reached: Connection refused" in look(running).metrics_fault


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(HTTPStatus.NOT_FOUND, "text/plain", b""), "[telemetry] metrics is false"),
        (Answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b""), "answers 503"),
        (metrics_answer(b"auflow_credits{"), "has none that can be read"),
        (metrics_answer(b"\xff\xfe"), "has none that can be read"),
    ],
)
def test_metrics_that_are_none(running: Path, status: dict[str, Any], page: Page, answer: Answer, told: str) -> None:
    page.answer = answer
    seen = look(running)
    assert told in seen.metrics_fault
    assert seen.status == status


def test_metrics_that_take_too_long(
    running: Path, status: dict[str, Any], page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_METRICS_S", 0.2)
    page.delay_s = 1.0
    assert "does not answer within 0.2 s" in look(running).metrics_fault


def test_no_service(tmp_path: Path) -> None:
    seen = look(tmp_path / "none.sock")
    assert seen.status is None
    assert "no service is running" in seen.fault


def test_a_service_that_refuses(running: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("broken")

    monkeypatch.setattr(service, "status", fails)
    seen = look(running)
    assert seen.status is None
    assert "the service failed (RuntimeError)" in seen.fault


def test_a_socket_that_is_silent(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_STATUS_S", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short_tmp / "s"))
        silent.listen()
        began_s = time.monotonic()
        assert "did not answer within 0.2 s" in look(short_tmp / "s").fault
        assert time.monotonic() - began_s < 5.0
