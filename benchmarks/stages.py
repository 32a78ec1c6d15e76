"""What each stage costs: `python benchmarks/stages.py CLIP [--frames N] [--json FILE]`.

Runs the stages of a clip in this process, one after the other, and takes the CPU time of each call. Compiling and
loading come before the first measured frame. Detection is called from within CLNF and is counted apart from it. The
first fit of a face tries eleven head rotations: it is the largest CLNF call, and the median leaves it out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from auflow.threads import pin_threads

P = ParamSpec("P")
T = TypeVar("T")

pin_threads()  # before anything below imports NumPy


class StageClock:
    """CPU time of the calls of one stage, less that of the stages it calls."""

    def __init__(self) -> None:
        self.calls_s: list[float] = []
        self.inner: list[StageClock] = []

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` and take its time."""
        before_s, inner_before_s = time.process_time(), self._inner_s()
        result = function(*args, **kwargs)
        self.calls_s.append(time.process_time() - before_s - (self._inner_s() - inner_before_s))
        return result

    def _inner_s(self) -> float:
        return sum(sum(clock.calls_s) for clock in self.inner)


def measure(clip: Path, frames: int | None) -> tuple[int, dict[str, StageClock]]:
    """Run the stages over `clip`: frames done, and a clock per stage."""
    import numpy as np

    from auflow.models.store import default_root, require
    from auflow.stages import au, clnf
    from auflow.stages.decode import open_source
    from auflow.stages.detect import MtcnnDetector
    from auflow.stages.records import Frame
    from auflow.stages.sink import CsvSink

    root = default_root()
    require(root)
    clnf.warm_up(root)
    au.warm_up(root)
    detector, clnf_stage, au_stage = MtcnnDetector(root), clnf.ClnfStage(root), au.AuStage(root)
    clocks = {name: StageClock() for name in ("decode", "detect", "clnf", "au", "au, offline", "sink", "sink, writing")}
    clocks["clnf"].inner.append(clocks["detect"])
    done = 0
    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder, open_source(clip) as source:
        sink = CsvSink(Path(folder) / "out.csv", precision="openface")
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while done != frames and (read := clocks["decode"].call(source.read_into, bgr)) is not None:
            frame = Frame(read[0], read[1], bgr)
            fit = clocks["clnf"].call(clnf_stage.process, frame, lambda: clocks["detect"].call(detector.detect, bgr))
            values = clocks["au"].call(au_stage.process, frame, fit)
            clocks["sink"].call(sink.add, fit, values)
            done += 1
        table = clocks["au, offline"].call(au_stage.finish)
        clocks["sink, writing"].call(sink.finish, table)
    return done, clocks


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the clip and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", metavar="CLIP", type=Path)
    parser.add_argument("--frames", metavar="N", type=int, help="stop after N frames")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write the time of every call in seconds to FILE"
    )
    options = parser.parse_args(arguments)
    frames, clocks = measure(options.clip, options.frames)
    total_s = sum(sum(clock.calls_s) for clock in clocks.values())
    print(f"{options.clip.name}: {frames} frames, {1e3 * total_s / max(frames, 1):.2f} ms CPU a frame in all stages")
    print(f"{'stage':14} {'ms a frame':>10} {'share':>7} {'calls':>6} {'ms a call: median':>18} {'largest':>8}")
    for name, clock in clocks.items():
        if clock.calls_s:
            _print_row(name, clock.calls_s, frames, total_s)
    if options.json is not None:
        options.json.write_text(json.dumps({name: clock.calls_s for name, clock in clocks.items()}) + "\n")
    return 0


def _print_row(name: str, calls_s: Sequence[float], frames: int, total_s: float) -> None:
    total_ms, median_ms, largest_ms = 1e3 * sum(calls_s), 1e3 * statistics.median(calls_s), 1e3 * max(calls_s)
    share = 0.1 * total_ms / total_s
    print(f"{name:14} {total_ms / frames:10.3f} {share:5.1f} % {len(calls_s):6} {median_ms:18.3f} {largest_ms:8.2f}")


if __name__ == "__main__":
    sys.exit(main())
