"""Each stage of `auflow run` killed in the middle: is the CSV the same to the byte, and what does it cost?

By hand: python -m auflow.benchmarks.kill_stages CLIP
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

STAGES = ("decode", "detect", "clnf", "au", "sink")
DESCRIPTION = """\
Kill (SIGKILL) each stage of `auflow run CLIP` in the middle, once and twice, and the whole group, followed by --resume.
The cost is the wall time of the run that was disturbed (of both runs, for the group) minus the median of undisturbed
ones. Linux only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 when a CSV differs."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--plain", type=int, default=3, metavar="N", help="undisturbed runs (default: 3)")
    parser.add_argument("--run-options", default="", metavar="WORDS", help="more options for `auflow run`")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="auflow-kill-") as folder:
        bench = _Bench(given.clip, given.run_options.split(), Path(folder))
        plain = [bench.run(()) for _ in range(given.plain + 1)][1:]  # the first one warms the caches
        reference, usual_s = bench.reference, statistics.median(plain)
        if not reference:
            raise SystemExit(f"kill_stages: `auflow run {given.clip}` gives no CSV when it is left alone")
        sys.stdout.write(
            f"undisturbed: median {usual_s:.2f} s of {given.plain} (from {min(plain):.2f} to {max(plain):.2f})\n\n"
        )
        sys.stdout.write("| killed | when | CSV | cost s |\n|---|---|---|---|\n")
        same = [_row(bench, stage, times, usual_s, reference) for stage in STAGES for times in (1, 2)]
        same.append(_row(bench, "the whole group, then --resume", 1, usual_s, reference))
    return 0 if all(same) else 1


def _row(bench: _Bench, what: str, times: int, usual_s: float, reference: bytes) -> bool:
    at_s = [usual_s * share for share in ((0.6,) if times == 1 else (0.5, 0.75))]
    if what in STAGES:
        took_s = bench.run([(moment, what) for moment in at_s])
    else:
        took_s = bench.run([(at_s[0], "")]) + bench.run((), resume=True)
    same = bench.reference == reference
    when = " and ".join(f"{moment:.1f} s" for moment in at_s)
    missed = "" if bench.missed == 0 else f" ({bench.missed} came too late)"
    verdict = "identical" if same else "DIFFERS"
    sys.stdout.write(f"| {what} | {when}{missed} | {verdict} | {took_s - usual_s:+.2f} |\n")
    sys.stdout.flush()
    return same


class _Bench:
    def __init__(self, clip: Path, options: list[str], folder: Path) -> None:
        self._clip, self._options, self._folder = clip, options, folder
        self.reference = b""  # the CSV of the last run
        self.missed = 0  # kills of the last run that found nobody

    def run(self, kills: Sequence[tuple[float, str]], *, resume: bool = False) -> float:
        """Wall seconds of one run; a kill is (seconds after its start, stage, "" for the whole group)."""
        out = self._folder / "out"
        if not resume:
            shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "auflow", "run", str(self._clip), "-o", str(out), "--quiet", *self._options]
        began_s, self.missed = time.monotonic(), 0
        process = subprocess.Popen(
            [*command, *(["--resume"] if resume else [])], start_new_session=True, stderr=subprocess.DEVNULL
        )
        for moment_s, stage in kills:
            time.sleep(max(0.0, began_s + moment_s - time.monotonic()))
            self.missed += not _kill(process.pid, stage)
        process.wait()
        took_s = time.monotonic() - began_s
        csv = out / f"{self._clip.stem}.csv"
        self.reference = csv.read_bytes() if csv.exists() else b""
        return took_s


def _kill(root: int, stage: str) -> bool:
    """Kill the first worker of a stage among the session of `root`, or the whole of it; False: there is none."""
    if not stage:
        os.killpg(root, signal.SIGKILL)
        return True
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "comm").read_text()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == root and name.startswith(f"{stage}-0"):
            os.kill(int(folder.name), signal.SIGKILL)
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
