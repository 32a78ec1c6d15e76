"""The check against a running Prometheus: what it finds, and what it says when there is none."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from auflow.errors import UsageError
from auflow.grafana import check_live, try_live
from auflow.grafana.check_live import Prometheus, check
from auflow.grafana.try_live import LocalPrometheus, configuration
from auflow.tests.grafana.fake_exporter import Exporter

Answer = tuple[int, object]
ONE = {"metric": {"stream": "door"}, "value": [0, "1"]}
RULES = [
    {"name": "Down", "type": "alerting", "query": "up < 1", "health": "ok"},
    {"name": "a:b", "type": "recording", "query": "sum(up)", "health": "ok"},
]


def vector(*series: object) -> Answer:
    return 200, {"status": "success", "data": {"resultType": "vector", "result": list(series)}}


@pytest.fixture
def stub() -> Iterator[Callable[[Callable[[str], Answer], object], str]]:
    """Makes a Prometheus that answers a query as told; its rules as told."""
    servers = []

    def make(query: Callable[[str], Answer], rules: object = RULES) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                if asked.path.endswith("/rules"):
                    code, body = 200, {"status": "success", "data": {"groups": [{"rules": rules}]}}
                else:
                    code, body = query(parse_qs(asked.query)["query"][0])
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield make
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_all_is_there(stub: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    url = stub(lambda query: vector(ONE))
    assert check_live.main([url]) == 0
    said = capsys.readouterr().out
    assert "0 empty" in said
    assert "alerting rule            | Down                           | up  " in said
    assert "EMPTY" not in said


def test_what_is_empty_or_no_number_is_found(stub: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    nan = {"metric": {}, "value": [0, "NaN"]}

    def answer(query: str) -> Answer:
        if "auflow_ready" in query:
            return vector()
        return vector(nan) if "auflow_web_viewers" in query else vector(ONE)

    url = stub(answer)
    assert check_live.main([url]) == 1
    assert "2 empty, 2 of them" in capsys.readouterr().out
    assert check_live.main([url, "--may-be-empty", "auflow_web_"]) == 1
    assert "2 empty, 1 of them" in capsys.readouterr().out
    assert check_live.main([url, "--may-be-empty", "auflow_web_", "--may-be-empty", "auflow_ready"]) == 0


def test_variables_are_filled_in(stub: Callable[..., str]) -> None:
    asked: list[str] = []
    check(Prometheus(stub(lambda query: asked.append(query) or vector(ONE))), "hall", "30s")
    assert not [query for query in asked if "$" in query]
    assert any('stream="hall"' in query for query in asked)
    assert any("[30s]" in query for query in asked)


def test_rules_that_are_missing_or_ill_are_found(stub: Callable[..., str]) -> None:
    none = check(Prometheus(stub(lambda query: vector(ONE), [])), "door", "1m")
    assert [one.panel for one in none if one.empty] == ["(none is loaded)"]
    ill = [{**RULES[0], "health": "err", "lastError": "many-to-many"}]
    found = check(Prometheus(stub(lambda query: vector(ONE), ill)), "door", "1m")
    assert [(one.panel, one.error) for one in found if one.empty] == [("Down", "many-to-many")]


def test_a_query_that_is_refused_is_told_with_its_reason(
    stub: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(query: str) -> Answer:
        bad = "auflow_ready" in query
        return (400, {"status": "error", "error": "parse error"}) if bad else vector(ONE)

    assert check_live.main([stub(answer)]) == 1
    assert "parse error" in capsys.readouterr().out


@pytest.mark.parametrize("body", [b"<html>", {"status": "error"}, []], ids=str)
def test_somebody_else_answers(stub: Callable[..., str], body: object) -> None:
    with pytest.raises(UsageError, match="does not answer as a Prometheus does"):
        Prometheus(stub(lambda query: (200, body))).query("up")


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_live.main(["http://127.0.0.1:9"]) == UsageError.exit_code
    assert "does not answer" in capsys.readouterr().err


def test_there_is_no_stream(stub: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check_live.main([stub(lambda query: vector())]) == UsageError.exit_code
    assert "knows no stream" in capsys.readouterr().err


def test_a_scalar_is_one_series(stub: Callable[..., str]) -> None:
    url = stub(lambda query: (200, {"status": "success", "data": {"resultType": "scalar", "result": [0, "3"]}}))
    assert Prometheus(url).query("scalar(up)") == [{"metric": {}, "value": [0, "3"]}]


def test_the_configuration_for_another_target(tmp_path: Path) -> None:
    text = configuration("127.0.0.1:1234", 1)
    assert "targets: ['127.0.0.1:1234']" in text
    assert "8717" not in text
    assert "scrape_interval: 1s" in text
    assert "5s" not in text
    listed = configuration(str(tmp_path / "targets.json"), 2)
    assert f"files: ['{tmp_path}/targets.json']" in listed
    assert "refresh_interval: 2s" in listed


def test_without_prometheus_it_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert try_live.main([]) == UsageError.exit_code
    assert "apt-get install prometheus" in capsys.readouterr().err


def test_a_prometheus_that_does_not_start_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match="does not start: no room"), LocalPrometheus("127.0.0.1:9"):
        pass


@pytest.mark.slow
def test_every_expression_has_data_where_every_metric_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: it comes with Debian's package of that name")
    with Exporter() as exporter, LocalPrometheus(exporter.address) as prometheus:
        until = time.monotonic() + 60.0
        while (code := check_live.main([prometheus.url])) and time.monotonic() < until:
            capsys.readouterr()
            time.sleep(2.0)  # rates need two scrapes, rules of rules one more evaluation
    assert code == 0, capsys.readouterr().out
