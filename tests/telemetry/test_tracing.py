"""Traces: which frames, what arrives at a collector, and that nobody waits for one that is away."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import multiprocessing
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auflow.errors import UsageError
from auflow.telemetry import tracing
from auflow.telemetry.tracing import Sampler, Tracer, require_otel

from .otlp_collector import Collector

MakeTracer = Callable[..., Tracer]
_ENVIRONMENT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in _ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    logger = logging.getLogger("opentelemetry")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def make_collector() -> Iterator[Callable[..., Collector]]:
    made: list[Collector] = []

    def make(*values: Any, **keys: Any) -> Collector:
        made.append(Collector(*values, **keys))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


@pytest.fixture
def collector(make_collector: Callable[..., Collector]) -> Collector:
    return make_collector()


@pytest.fixture
def make_tracer() -> Iterator[MakeTracer]:
    made: list[Tracer] = []

    def make(*values: Any, **keys: Any) -> Tracer:
        made.append(Tracer(*values, **keys))
        return made[-1]

    yield make
    for tracer in made:
        tracer.close()
        tracer._thread.join(15)  # those whose collector was slow


def test_the_sampler_takes_one_of_each_block_and_no_fixed_turn() -> None:
    sampler = Sampler(4)
    traced = [bool(sampler.traceparent()) for _ in range(4 * 500)]
    blocks = [traced[start : start + 4] for start in range(0, len(traced), 4)]
    assert all(sum(block) == 1 for block in blocks)
    # Four streams that take turns all have their share.
    assert all(sum(block[place] for block in blocks) > 60 for place in range(4))


def test_every_frame_and_none() -> None:
    every, none = Sampler(1), Sampler(0)
    traceparents = {every.traceparent() for _ in range(100)}
    assert len(traceparents) == 100
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", text) for text in traceparents)
    assert {none.traceparent() for _ in range(100)} == {""}


def test_a_frame_that_is_not_traced_costs_less_than_a_microsecond() -> None:
    sampler, many = Sampler(1_000_000_000), 20_000
    took_s = []
    for _ in range(7):  # the best of them: the machine is shared
        began_s = time.perf_counter()
        for _ in range(many):
            sampler.traceparent()
        took_s.append(time.perf_counter() - began_s)
    assert min(took_s) / many < 1e-6


def _work(worker: str, endpoint: str, traceparent: str, began_s: float, steps: list[str]) -> None:
    """What a process does with one frame: each step takes 10 ms."""
    importlib.import_module("auflow.telemetry.otel")  # on a busy machine that alone may take the second of `close`
    tracer = Tracer(worker, endpoint, {"process.pid": 1})
    for number, step in enumerate(steps):
        tracer.span(step, traceparent, began_s + 0.01 * number, began_s + 0.01 * (number + 1), {"auflow.waited_s": 0.5})
    if worker == "sink-0":
        tracer.root(traceparent, began_s - 0.02, began_s + 0.1, {"auflow.stream": "door", "auflow.frame": 7})
    tracer.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of Python 3.12 on: the collector is a thread
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_spans_of_all_processes_make_one_trace(collector: Collector, method: str) -> None:
    traceparent, began_s, began_unix_s = Sampler(1).traceparent(), time.monotonic(), time.time()
    _, trace, root, _ = traceparent.split("-")
    made_by = {"decode-0": ["decode"], "clnf-0": ["clnf"], "detect-0": ["detect"], "sink-0": ["sink"]}
    context = multiprocessing.get_context(method)
    processes = [
        context.Process(target=_work, args=(worker, collector.endpoint, traceparent, began_s, steps))
        for worker, steps in made_by.items()
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    spans = {span.name: span for span in collector.wait_for(5)}
    assert sorted(spans) == ["clnf", "decode", "detect", "frame", "sink"]
    assert {span.trace for span in spans.values()} == {trace}
    assert (spans["frame"].span, spans["frame"].parent) == (root, "")
    assert {span.parent for name, span in spans.items() if name != "frame"} == {root}
    assert len({span.span for span in spans.values()}) == 5
    assert spans["frame"].attributes == {"auflow.stream": "door", "auflow.frame": 7}
    for worker, (step, *_) in made_by.items():
        assert spans[step].resource["auflow.worker"] == worker
    assert len({span.resource["service.instance.id"] for span in spans.values()}) == 4
    # To Unix time, within what two readings of the clock are apart.
    for name, from_s, to_s in (("clnf", 0.0, 0.01), ("frame", -0.02, 0.1)):
        assert spans[name].began_ns / 1e9 == pytest.approx(began_unix_s + from_s, abs=0.005)
        assert (spans[name].ended_ns - spans[name].began_ns) / 1e9 == pytest.approx(to_s - from_s, abs=1e-6)


def test_the_resource_and_the_environment(
    collector: Collector, make_tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import auflow

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=faces")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=hall")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # discard: none of OpenTelemetry's variables
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # which frames is not decided again
    tracer = make_tracer("au-3", "", {"process.pid": 4711})
    tracer.span("au", Sampler(1).traceparent(), 1.0, 2.0, {})
    (span,) = collector.wait_for(1)
    told = {name: span.resource[name] for name in ("service.name", "service.version", "auflow.worker", "process.pid")}
    assert told == {
        "service.name": "auflow", "service.version": auflow.__version__, "auflow.worker": "au-3", "process.pid": 4711
    }  # fmt: skip
    assert span.resource["deployment.environment"] == "hall"
    assert collector.headers[0]["x-tenant"] == "faces"
    assert tracer.dropped == 0


@pytest.mark.parametrize("tail", ["/", "/v1/traces", "/v1/traces/"])
def test_the_endpoint_may_have_the_path(collector: Collector, make_tracer: MakeTracer, tail: str) -> None:
    make_tracer("au-0", collector.endpoint + tail).span("au", Sampler(1).traceparent(), 1.0, 2.0)
    assert collector.wait_for(1)[0].name == "au"


def test_what_waits_is_sent_at_the_end(collector: Collector, make_tracer: MakeTracer) -> None:
    tracer, traceparent = make_tracer("au-0", collector.endpoint), Sampler(1).traceparent()
    tracer.span("au", traceparent, 1.0, 2.0)
    collector.wait_for(1)  # the libraries are loaded
    for _ in range(700):  # more than one batch
        tracer.span("au", traceparent, 1.0, 2.0)
    tracer.close()
    assert len(collector.spans) == 701
    assert tracer.dropped == 0
    tracer.close()
    tracer.span("au", traceparent, 1.0, 2.0)
    assert tracer.dropped == 1  # after the end


def _closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def _slowest_call_s(tracer: Tracer, count: int) -> float:
    """Of `count` spans, but for a few: the scheduler of a shared machine may take a thread's core away."""
    traceparent, took_s = Sampler(1).traceparent(), []
    for _ in range(count):
        began_s = time.perf_counter()
        tracer.span("au", traceparent, began_s, began_s, {"auflow.waited_s": 0.0})
        took_s.append(time.perf_counter() - began_s)
    return sorted(took_s)[-10]


@pytest.mark.parametrize("fault", ["away", "slow", "500", "503"])
def test_nobody_waits_for_a_collector(
    fault: str, make_collector: Callable[..., Collector], make_tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")  # longer than the end may take
    count = tracing.MOST_WAITING + 1000
    if fault == "away":
        endpoint = _closed_port()
    else:
        slow = make_collector(200, 30.0) if fault == "slow" else make_collector(int(fault))
        endpoint = slow.endpoint
    tracer = make_tracer("au-0", endpoint, None, lambda text: None)
    assert _slowest_call_s(tracer, count) < 0.005
    began_s = time.monotonic()
    tracer.close()
    assert time.monotonic() - began_s < 1.0 + 0.3
    assert tracer.dropped == count


def test_losses_are_told_by_the_caller_once_in_a_while(
    make_collector: Callable[..., Collector], make_tracer: MakeTracer
) -> None:
    import threading

    refusing, told = make_collector(400), []  # 400: no further attempt
    tracer = make_tracer("au-0", refusing.endpoint, {}, lambda text: told.append((threading.current_thread(), text)))
    traceparent = Sampler(1).traceparent()
    deadline_s = time.monotonic() + 20
    while not told and time.monotonic() < deadline_s:
        tracer.span("au", traceparent, 1.0, 2.0)
        time.sleep(0.01)
    for _ in range(10_000):
        tracer.span("au", traceparent, 1.0, 2.0)
    ((thread, text),) = told
    assert thread is threading.current_thread()  # its socket is this thread's
    assert refusing.endpoint in text
    assert "spans of traces have been lost" in text


def test_a_collector_that_comes_back_gets_the_next_spans(collector: Collector, make_tracer: MakeTracer) -> None:
    collector.status = 400
    tracer, traceparent = make_tracer("au-0", collector.endpoint, {}, lambda text: None), Sampler(1).traceparent()
    tracer.span("early", traceparent, 1.0, 2.0)
    deadline_s = time.monotonic() + 20
    while not tracer.dropped:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    collector.status = 200
    tracer.span("late", traceparent, 1.0, 2.0)
    assert [span.name for span in collector.wait_for(1)] == ["late"]
    assert tracer.dropped == 1


@pytest.mark.parametrize("traceparent", ["", "00-0-0-01", "nonsense", "00-" + "g" * 32 + "-" + "0" * 16 + "-01"])
def test_a_traceparent_that_is_none_is_a_loss_and_no_error(
    collector: Collector, make_tracer: MakeTracer, traceparent: str
) -> None:
    tracer = make_tracer("au-0", collector.endpoint, {}, lambda text: None)
    tracer.span("bad", traceparent, 1.0, 2.0)
    tracer.span("good", Sampler(1).traceparent(), 2.0, 1.0)  # ends before it begins: made empty
    (span,) = collector.wait_for(1)
    assert (span.name, span.ended_ns - span.began_ns) == ("good", 0)
    tracer.close()
    assert tracer.dropped == 1


def test_settings_that_the_library_refuses_are_told_and_end_nothing(
    make_tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    told: list[str] = []
    tracer = make_tracer("au-0", "http://bob:secret@127.0.0.1:1", {}, told.append)
    tracer._thread.join(20)
    tracer.span("au", Sampler(1).traceparent(), 1.0, 2.0)
    assert "ValueError" in told[0]
    assert "http://127.0.0.1:1" in told[0]
    assert "secret" not in told[0]


def test_without_the_libraries_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    require_otel()  # they are here

    def find(name: str, package: str | None = None) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(UsageError, match=r"pip install 'auflow\[otel\]'"):
        require_otel()
    with pytest.raises(UsageError, match=r"pip install 'auflow\[otel\]'"):
        Tracer("au-0", "", {})


def test_the_module_alone_loads_no_opentelemetry() -> None:
    code = (
        "import sys, auflow.telemetry.tracing as t; t.Sampler(2).traceparent(); print('opentelemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
