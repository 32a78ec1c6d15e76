"""The probe of a worker: off it does nothing, on it tells at a port of this machine."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading

from auflow import metrics
from auflow.telemetry.probe import Probe, Telemetry, make_probe
from auflow.tests.telemetry.kit import aus, face, read, value


def use(probe: Probe) -> None:
    probe.worked("clnf", 10.0, 10.5, since_s=9.75)
    probe.worked("decode", 10.0, 10.5)
    probe.fitted([face(optimisations=1, iterations=5)])
    probe.result("door", 9.0, 10.0, [face()], [aus()])
    probe.traced("door", 1, probe.traceparent(), 9.0, 10.0)
    probe.gauge(metrics.RING_SLOTS, lambda: 10)
    probe.counter(metrics.MESSAGES_REFUSED, lambda: 0)
    probe.ended("door")


def test_off_it_does_nothing() -> None:
    probe = make_probe(Telemetry(), "clnf-0", print)
    use(probe)
    assert probe.listen() == 0
    assert probe.traceparent() == ""
    probe.close()


def test_off_nothing_is_loaded() -> None:
    script = (
        "import sys; from auflow.telemetry.probe import Telemetry, make_probe\n"
        "make_probe(Telemetry(), 'clnf-0', print)\n"
        "print([name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry', 'http'))])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_on_it_tells_at_a_port_of_this_machine_until_it_is_closed() -> None:
    threads = threading.active_count()
    probe = make_probe(Telemetry(metrics=True, models="cafe"), "clnf-0", print)
    use(probe)
    port = probe.listen()
    assert probe.listen() == port > 0

    def get(path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    code, text = get("/metrics")
    assert code == 200
    found = read(text)
    assert value(found, "auflow_stage_duration_seconds_sum", stage="clnf") == 0.5
    assert value(found, "auflow_queue_wait_seconds_sum", stage="clnf") == 0.25
    assert ("auflow_queue_wait_seconds_sum", frozenset({("stage", "decode")})) not in found
    assert value(found, "auflow_frame_age_seconds_sum", stream="door") == 1.0
    assert get("/") == (404, b"there is /metrics\n")
    probe.close()
    assert threading.active_count() <= threads
