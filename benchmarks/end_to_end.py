"""What a whole run costs: `python benchmarks/end_to_end.py CLIP... [--inline] [--repeat N] [--json FILE]`.

Each clip is given to a fresh `auflow run`, so start-up is part of the wall time: take clips of a minute or more to
learn the speed. Numba's cache should be full: run once before the first measurement of a new installation. Needs
/proc, so Linux.

    wall s     from the command's start to its end
    fps        as the run itself reports it: from the opening of the input, while other processes may still be loading
    wall fps   frames by the wall time
    CPU ms     user and system time of all processes, start-up included, per frame
    peak MB    largest sum of the proportional set sizes (PSS) of all processes, sampled: shared pages count once
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLE_S = 0.1
REPORTED = re.compile(r"\d+ frames? in ([0-9.]+) s")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run over one clip."""

    clip: str
    inline: bool
    frames: int  # rows of the CSV
    wall_s: float
    input_s: float  # what the run reports for the input
    cpu_s: float  # user and system, all processes
    peak_bytes: int  # PSS of all processes

    @property
    def row(self) -> tuple[float, ...]:
        """The columns of the table after the frames."""
        fps = self.frames / self.input_s if self.input_s else float("nan")
        return self.wall_s, fps, self.frames / self.wall_s, 1e3 * self.cpu_s / self.frames, self.peak_bytes / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every clip and print a table; 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="CLIP", nargs="+", type=Path)
    parser.add_argument("--inline", action="store_true", help="one process instead of one per stage")
    parser.add_argument("--repeat", metavar="N", type=int, default=3, help="runs of each clip (default: 3)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every run to FILE")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat: expected 1 or more")
    measurements = []
    print(f"{'clip':28} {'frames':>6} {'wall s':>8} {'fps':>8} {'wall fps':>8} {'CPU ms':>8} {'peak MB':>8}")
    for clip in options.clips:
        try:
            runs = [measure(clip, inline=options.inline) for _ in range(options.repeat)]
        except subprocess.CalledProcessError as error:
            print(f"{clip}: exit code {error.returncode}\n{error.stderr}", file=sys.stderr)
            return 1
        measurements += runs
        _print_rows(clip.name, runs)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(run) for run in measurements], indent=1) + "\n")
    return 0


def measure(clip: Path, *, inline: bool) -> Measurement:
    """Run `auflow run` on `clip` into a temporary folder.

    Raises
    ------
    subprocess.CalledProcessError
        The run failed; `stderr` has what it said.
    """
    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder, tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-P", "-m", "auflow", "run", str(clip), "-o", folder]
        cpu_before_s = _children_cpu_s()
        began_s = time.monotonic()
        with subprocess.Popen(command + ["--inline"] * inline, stderr=said) as process:
            peak_bytes = _watch(process)
            wall_s = time.monotonic() - began_s
        said.seek(0)
        text = said.read()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=text)
        reported = REPORTED.search(text)
        (output,) = Path(folder).glob("*.csv")
        with output.open("rb") as lines:
            frames = sum(1 for _ in lines) - 1
        return Measurement(
            clip=str(clip),
            inline=inline,
            frames=frames,
            wall_s=wall_s,
            input_s=float(reported[1]) if reported else 0.0,
            cpu_s=_children_cpu_s() - cpu_before_s,
            peak_bytes=peak_bytes,
        )


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for `process`; the largest memory of its tree in bytes."""
    peak_bytes = 0
    while True:
        peak_bytes = max(peak_bytes, sum(_pss_bytes(pid) for pid in _tree(process.pid)))
        try:
            process.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
        return peak_bytes


def _tree(root: int) -> Iterator[int]:
    """The process `root` and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _read(entry / "stat")):
            # The name in parentheses may hold anything; the parent is the second field behind it.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    todo = [root]
    while todo:
        pid = todo.pop()
        yield pid
        todo += children.get(pid, [])


def _pss_bytes(pid: int) -> int:
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended meanwhile
        return ""


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _print_rows(name: str, runs: Sequence[Measurement]) -> None:
    columns = list(zip(*(run.row for run in runs), strict=True))
    _print_row(name, runs[0].frames, [statistics.median(column) for column in columns])
    if len(runs) > 1:
        _print_row("  least", "", [min(column) for column in columns])
        _print_row("  most", "", [max(column) for column in columns])


def _print_row(name: str, frames: int | str, values: Sequence[float]) -> None:
    wall_s, fps, wall_fps, cpu_ms, peak_mb = values
    print(f"{name:28.28} {frames:>6} {wall_s:8.2f} {fps:8.1f} {wall_fps:8.1f} {cpu_ms:8.2f} {peak_mb:8.0f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
