"""Many texts become one, which says the same with the worker's name in each sample."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from auflow.telemetry.gather import fetch, fetch_all, merged
from auflow.telemetry.http import SmallServer, metrics_at
from auflow.tests.telemetry.kit import read

ODD = 'a b{c="d"} # HELP\n\\"'


def text_of(number: int) -> bytes:
    registry = CollectorRegistry()
    Counter("auflow_odd", 'Told in "many" \\ ways {x}.', ["stream"], registry=registry).labels(ODD).inc(number)
    Histogram("auflow_t_seconds", "Times.", ["stage"], registry=registry, buckets=(0.1, 1.0)).labels("au").observe(0.5)
    Gauge("auflow_plain", "None.", registry=registry).set(1e-300 * number)
    return generate_latest(registry)


def test_each_sample_says_whose_it_is_and_nothing_else_changes() -> None:
    texts = {f"clnf-{number}": text_of(number) for number in range(3)}
    found = read(merged({worker: text.decode() for worker, text in texts.items()}))
    expected = {
        (name, labels | {("worker", worker)}): value
        for worker, text in texts.items()
        for (name, labels), value in read(text).items()
    }
    assert found == expected


def test_samples_of_a_metric_stand_together_below_one_head() -> None:
    lines = merged({"a": text_of(1).decode(), "b": text_of(2).decode()}).decode().splitlines()
    heads = [line for line in lines if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    order = [line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")]
    families = [name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in order]
    seen: list[str] = []
    for family in families:
        if not seen or seen[-1] != family:
            seen.append(family)
    assert len(seen) == len(set(seen))


def test_what_does_not_answer_is_left_out() -> None:
    server = SmallServer(("127.0.0.1", 0), metrics_at({"/metrics": lambda: text_of(1)}), "test")
    nobody = socket.create_server(("127.0.0.1", 0))
    gone = nobody.getsockname()[1]
    nobody.close()
    try:
        assert set(fetch_all({"there": server.port, "gone": gone})) == {"there"}
        assert fetch_all({}) == {}
    finally:
        server.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"\xff\xfe\r\n\r\n"])
def test_a_worker_that_talks_nonsense_or_nothing_costs_a_limited_time(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            client, _ = listener.accept()
            client.sendall(answer)
            over.wait(10)
            client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        began_s = time.monotonic()
        assert fetch(listener.getsockname()[1], timeout_s=0.3) is None
        assert time.monotonic() - began_s < 3
        over.set()
        thread.join()
