"""What the metrics cost: a service with cameras, with and without them by turns, and a scraper that asks for all.

By hand, from a checkout: python -m auflow.benchmarks.metrics_cost --rounds 5 --minutes 0.5
"""

from __future__ import annotations

import argparse
import http.client
import importlib
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from auflow.benchmarks.live_cameras import add_arguments, measure
from auflow.telemetry.meter import Meter

__all__ = ["main"]

_REPEATS = 20_000


def main(argv: list[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5, help="each is once with metrics and once without")
    parser.add_argument("--scrape-every", type=float, default=5.0, metavar="S", help="seconds between two scrapes")
    parser.add_argument("--port", type=int, default=28717)
    parser.set_defaults(minutes=0.5)
    given = parser.parse_args(argv)
    print_ = sys.stdout.write
    calls_us = _calls_us()
    print_(f"calls for one frame with one face, in a loop: {calls_us:.1f} us\n\n")
    print_("| round | CPU ms a frame, with | without | ratio |\n|---|---|---|---|\n")
    ratios, withouts = [], []
    for number in range(given.rounds):
        # The order changes, so that a machine that grows slower or faster favours neither.
        order = (True, False) if number % 2 == 0 else (False, True)
        found = {on: _cpu_ms(given, on=on) for on in order}
        ratios.append(found[True] / found[False])
        withouts.append(found[False])
        print_(f"| {number + 1} | {found[True]:.3f} | {found[False]:.3f} | {ratios[-1]:.4f} |\n")
        sys.stdout.flush()
    print_(
        f"\nmedian ratio {statistics.median(ratios):.4f}; the calls alone are "
        f"{calls_us / 10 / statistics.median(withouts):.2f} % of a frame's CPU time\n"
    )
    return 0


def _cpu_ms(given: argparse.Namespace, *, on: bool) -> float:
    """CPU time of all processes a frame; with metrics they are scraped as Prometheus does it."""
    if not on:
        return float(measure(given)["cpu_ms_per_frame"])
    over = threading.Event()
    thread = threading.Thread(target=_scrape, args=(given.port, given.scrape_every, over))
    thread.start()
    try:
        return float(measure(given, f"127.0.0.1:{given.port}", "metrics = true")["cpu_ms_per_frame"])
    finally:
        over.set()
        thread.join()


def _scrape(port: int, every_s: float, over: threading.Event) -> None:
    while not over.wait(every_s):
        with suppress(OSError, http.client.HTTPException):  # it is not there yet, or no more
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            connection.close()


def _calls_us() -> float:
    """What all stages together tell of one frame."""
    kit: Any = importlib.import_module("auflow.tests.telemetry.kit")
    meter = Meter("cafe")
    fits, aus = [kit.face(optimisations=10, converged=1, iterations=55)], [kit.aus(online=1.0)]

    def frame() -> None:
        for stage in ("decode", "clnf", "au", "sink"):
            meter.worked(stage, 0.002)
            meter.waited(stage, 0.0005)
        meter.fitted(fits)
        meter.result("camera0", 0.006, fits, aus)

    return _median_us(frame)


def _median_us(call: Callable[[], None]) -> float:
    times = []
    for _ in range(5):
        began_s = time.perf_counter()
        for _ in range(_REPEATS):
            call()
        times.append(time.perf_counter() - began_s)
    return 1e6 * statistics.median(times) / _REPEATS


if __name__ == "__main__":
    sys.exit(main())
