"""What the timeline costs: CPU time a frame of runs with and without it, by turns, and of the records alone.

By hand, from a checkout: python -m auflow.benchmarks.timeline_cost CLIP --rounds 10
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from auflow.telemetry.probe import Probe, Telemetry, make_probe

__all__ = ["main"]

_FRAMES = 20_000
_STAGES = ("decode", "clnf", "au", "sink")


def main(argv: list[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", metavar="CLIP", type=Path)
    parser.add_argument("--rounds", metavar="N", type=int, default=10)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        records_us = _records_us(Path(folder))
        with_ms: list[float] = []
        without_ms: list[float] = []
        for number in range(given.rounds):
            for on in (number % 2 == 0, number % 2 == 1):  # whatever warms or heats up does so for both
                (with_ms if on else without_ms).append(_cpu_ms(given.clip, Path(folder), on=on))
    ratios = [one / other for one, other in zip(with_ms, without_ms, strict=True)]
    sys.stdout.write(
        f"records of a frame, four stages, in a loop: {records_us:.1f} us of CPU\n"
        f"CPU a frame, all processes, start-up and the writing of the file included, medians of {given.rounds} runs: "
        f"{statistics.median(with_ms):.3f} ms with, {statistics.median(without_ms):.3f} ms without; "
        f"median of the rounds' ratios {statistics.median(ratios):.4f} ({min(ratios):.3f} to {max(ratios):.3f})\n"
    )
    return 0


def _records_us(folder: Path) -> float:
    """What the four stages of a lane note of a frame, less what the calls take when nothing is noted."""
    asked = Telemetry(timeline=str(folder), timeline_records=4 * _FRAMES)
    times = []
    for _ in range(5):
        noting = make_probe(asked, "clnf-0", sys.exit)
        times.append(_frames_s(noting) - _frames_s(Probe()))
        noting.close()
        (folder / "clnf-0.records").unlink()
    return 1e6 * statistics.median(times) / _FRAMES


def _frames_s(probe: Probe) -> float:
    began_s = time.process_time()
    for frame in range(_FRAMES):
        for stage in _STAGES:
            probe.worked(stage, 1.0, 2.0, since_s=0.5, stream=0, frame=frame)
    return time.process_time() - began_s


def _cpu_ms(clip: Path, folder: Path, *, on: bool) -> float:
    command = [sys.executable, "-m", "auflow", "run", str(clip), "-o", str(folder), "--quiet"]
    command += ["--summary", str(folder / "summary.json"), *(["--timeline", str(folder / "t.json")] if on else [])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    frames = json.loads((folder / "summary.json").read_text())["totals"]["frames"]
    return float(1e3 * took_s / frames)


if __name__ == "__main__":
    sys.exit(main())
