"""What the metrics cost: one service with cameras whose metrics are on and off by turns, and scraped while they are on.

By hand, from a checkout: python -m auflow.benchmarks.metrics_cost --minutes 6
"""

from __future__ import annotations

import argparse
import http.client
import importlib
import math
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from auflow.benchmarks import live_cameras
from auflow.benchmarks.toggled_kit import WINDOW_S, is_on
from auflow.telemetry.meter import Meter

__all__ = ["main"]

_REPEATS = 20_000
_KIT = "auflow.benchmarks.toggled_kit"


def main(argv: list[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    live_cameras.add_arguments(parser)
    parser.add_argument("--scrape-every", type=float, default=WINDOW_S, metavar="S", help="seconds between two scrapes")
    parser.add_argument("--port", type=int, default=28717)
    parser.set_defaults(minutes=6.0)
    given = parser.parse_args(argv)
    calls_us = _calls_us()
    watch = _Watch(given.port, given.scrape_every)
    found = live_cameras.measure(given, f"127.0.0.1:{given.port}", "metrics = true", kit=_KIT, each=watch.begin)
    watch.end()
    on, off = watch.cpu_ms(on=True), watch.cpu_ms(on=False)
    ratio, error = _ratio(on, off)
    sys.stdout.write(
        f"{found['frames']} frames; windows of {WINDOW_S:g} s: {len(on)} with metrics, {len(off)} without; "
        f"{watch.scrapes} scrapes of all processes\n"
        f"CPU a frame, all processes, medians: {statistics.median(on):.3f} ms with, {statistics.median(off):.3f} ms "
        f"without; ratio {ratio:.4f} (standard error about {error:.4f})\n"
        f"the calls for one frame with one face, in a loop: {calls_us:.1f} us, "
        f"{calls_us / 10 / statistics.median(off):.2f} % of that\n"
    )
    return 0


def _ratio(on: list[float], off: list[float]) -> tuple[float, float]:
    """Of the medians: other work on the machine makes some windows much dearer. The error is that of medians, too."""
    ratio = statistics.median(on) / statistics.median(off)
    spread = [_spread(each) / math.sqrt(len(each)) / statistics.median(each) for each in (on, off)]
    return ratio, ratio * 1.25 * math.hypot(*spread)


def _spread(values: list[float]) -> float:
    """The standard deviation, from the quartiles."""
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 1.35


class _Watch:
    """Looks at the service's CPU time and frames at the edge of each window, and scrapes it while metrics are on."""

    def __init__(self, port: int, every_s: float) -> None:
        self._port, self._every_s = port, every_s
        self.scrapes = 0
        self._windows: dict[bool, list[float]] = {True: [], False: []}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, place: Path, pid: int) -> None:
        """All cameras stream."""
        self._threads = [
            threading.Thread(target=self._look, args=(place, live_cameras.tree(pid))),
            threading.Thread(target=self._scrape),
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """The measurement is over."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def cpu_ms(self, *, on: bool) -> list[float]:
        """CPU a frame of each window."""
        return self._windows[on]

    def _look(self, place: Path, pids: list[int]) -> None:
        before: tuple[float, int] | None = None
        while not self._over.wait(WINDOW_S - time.monotonic() % WINDOW_S + 0.01):
            was_on = is_on(time.monotonic() - WINDOW_S / 2)
            with suppress(OSError, ValueError):  # the service ends
                now = sum(map(live_cameras.cpu_s, pids)), live_cameras.frames_done(place)
                if before is not None and now[1] > before[1]:
                    self._windows[was_on].append(1e3 * (now[0] - before[0]) / (now[1] - before[1]))
                before = now

    def _scrape(self) -> None:
        while not self._over.wait(self._every_s / 2):
            if is_on(time.monotonic()):
                with suppress(OSError, http.client.HTTPException):
                    connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                    connection.request("GET", "/metrics")
                    connection.getresponse().read()
                    connection.close()
                    self.scrapes += 1
                self._over.wait(self._every_s / 2)


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
