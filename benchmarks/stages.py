"""What each stage costs: `python benchmarks/stages.py CLIP [--json FILE]`.

Runs `auflow run --inline` in this process with a clock around each stage's calls, and takes their CPU time. Compiling
and loading come before. Detection is called from within CLNF and is counted apart from it. The first fit of a face
tries eleven head rotations: it is the largest CLNF call, and the median leaves it out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from auflow.threads import pin_threads

pin_threads()  # before anything below imports NumPy

REST = "sink and loop"


@dataclass(slots=True)
class StageClock:
    """CPU time of the calls of one stage, less that of the stage it calls."""

    calls_s: list[float] = field(default_factory=list)
    inner: StageClock | None = None

    def watch(self, target: Any, method: str) -> None:
        """From now on count the calls of `target.method`."""
        setattr(target, method, partial(self._call, getattr(target, method)))

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before_s, inner_before_s = time.process_time(), self._inner_s()
        result = function(*args, **kwargs)
        self.calls_s.append(time.process_time() - before_s - (self._inner_s() - inner_before_s))
        return result

    def _inner_s(self) -> float:
        return sum(self.inner.calls_s) if self.inner else 0.0


def measure(clip: Path) -> tuple[int, dict[str, StageClock]]:
    """Run the stages over `clip`: frames done, and a clock per stage.

    Raises
    ------
    RuntimeError
        The run failed.
    """
    from auflow import inline
    from auflow.models.store import default_root, require
    from auflow.options import RunOptions
    from auflow.report import make_reporter
    from auflow.stages.decode import open_source as real_open

    root = default_root()
    require(root)
    clocks = {name: StageClock() for name in ("decode", "detect", "clnf", "au", "au, whole video")}
    clocks["clnf"].inner = clocks["detect"]
    loaded_s = [0.0]
    real_load = inline.load_stages

    def open_source(path: Path) -> Any:
        source = real_open(path)
        clocks["decode"].watch(source, "read_into")
        return source

    def load(*args: Any) -> Any:
        from auflow.stages import au, clnf

        clnf.warm_up(root)
        au.warm_up(root)
        stages = real_load(*args)
        clocks["detect"].watch(stages.detector, "detect")
        clocks["clnf"].watch(stages.clnf, "process")
        clocks["au"].watch(stages.au, "process")
        clocks["au, whole video"].watch(stages.au, "finish")
        loaded_s[0] = time.process_time()
        return stages

    with (
        tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder,
        mock.patch.object(inline, "open_source", open_source),
    ):
        options = RunOptions(inputs=(clip,), output_dir=Path(folder), models_root=root, inline=True, quiet=True)
        (summary,) = inline.run(options, make_reporter(quiet=True), load=load)
    if summary.error is not None:
        raise RuntimeError(summary.error)
    total_s = time.process_time() - loaded_s[0]
    counted_s = sum(sum(clock.calls_s) for clock in clocks.values())
    clocks[REST] = StageClock([total_s - counted_s])
    return summary.frames, clocks


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the clip and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", metavar="CLIP", type=Path)
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write the time of every call in seconds to FILE"
    )
    options = parser.parse_args(arguments)
    try:
        frames, clocks = measure(options.clip)
    except RuntimeError:
        return 1  # the reporter has told why
    total_s = sum(sum(clock.calls_s) for clock in clocks.values())
    print(f"{options.clip.name}: {frames} frames, {1e3 * total_s / max(frames, 1):.2f} ms CPU a frame in all stages")
    print(f"{'stage':16} {'ms a frame':>10} {'share':>7} {'calls':>6} {'ms a call: median':>18} {'largest':>8}")
    for name, clock in clocks.items():
        if clock.calls_s:
            _print_row(name, clock.calls_s, frames, total_s)
    if options.json is not None:
        options.json.write_text(json.dumps({name: clock.calls_s for name, clock in clocks.items()}) + "\n")
    return 0


def _print_row(name: str, calls_s: Sequence[float], frames: int, total_s: float) -> None:
    total_ms, median_ms, largest_ms = 1e3 * sum(calls_s), 1e3 * statistics.median(calls_s), 1e3 * max(calls_s)
    text = f"{name:16} {total_ms / frames:10.3f} {0.1 * total_ms / total_s:5.1f} %"
    if name != REST:
        text += f" {len(calls_s):6} {median_ms:18.3f} {largest_ms:8.2f}"
    print(text)


if __name__ == "__main__":
    sys.exit(main())
