"""Many damaged files through every reader, by hand: `python -m auflow.tests.fuzz.campaign --count 2000`.

Each batch runs in a forked child with a bound on its memory and on the time of one input, so a crash of a native
library, an endless loop and a giant allocation are findings like any other, and do not end the campaign. An input is
made again from its target, seed and number: `--only TARGET --seed S --first N --count 1 --keep FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from auflow.tests.fuzz.targets import Target, Verdict, model_targets, place_tree, try_one

__all__ = ["Hang", "inputs", "one", "run_batch"]

BATCH = 250
LIMIT_S = 30
SPARE_BYTES = 3 << 30  # address space that a batch may take: pictures of the largest size that is taken need 1.5 GB
MEASURED = 10  # the peak of every 10th input is looked at: it makes everything slower
FLOOR_BYTES = 4 << 20


class Hang(BaseException):
    """One input took longer than `LIMIT_S`; no reader may catch it as an error of the file."""


def one(target: Target, folder: Path, seed: int, number: int, *, measured: bool) -> Verdict:
    """Input `number` of this seed; `measured` also judges the peak of its memory."""
    rng = random.Random(f"{seed}/{target.name}/{number}")
    if not measured:
        return try_one(target, folder, rng)[0]
    tracemalloc.start()
    try:
        verdict, path = try_one(target, folder, rng)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    largest = max(path.stat().st_size, *(sample.stat().st_size for sample in target.samples))
    allowed = target.allowance * largest + FLOOR_BYTES
    if peak > allowed:
        return Verdict("fault", f"{peak:,} bytes for a file of {path.stat().st_size:,}")
    return verdict


def inputs(target: Target, folder: Path, seed: int, numbers: range) -> Iterator[tuple[int, Verdict]]:
    """The verdicts of these inputs, warnings being errors and each under a bound of time."""

    def stop(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, stop)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in numbers:
            signal.alarm(LIMIT_S)
            try:
                verdict = one(target, folder, seed, number, measured=number % MEASURED == 0)
            except Hang:
                verdict = Verdict("fault", f"not done after {LIMIT_S} s")
            finally:
                signal.alarm(0)
            yield number, verdict


def run_batch(target: Target, folder: Path, seed: int, numbers: range) -> tuple[Counter[str], list[str]]:
    """These inputs in a forked child: how many of each outcome, and a line for each fault."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(target, folder, seed, numbers, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as stream:
        lines = stream.read().splitlines()
    status = os.waitpid(child, 0)[1]
    counts = Counter(line.partition(" ")[0] for line in lines)
    faults = [line.partition(" ")[2] for line in lines if line.startswith("fault ")]
    if status:
        begun = numbers[min(len(lines), len(numbers) - 1)]
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        counts["fault"] += 1
        faults.append(f"{begun}: the process ended with {how}")
    return counts, faults


def _child(target: Target, folder: Path, seed: int, numbers: range, writing: int) -> None:
    code = 1
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)  # libpng and FFmpeg tell the console what is wrong with each file
        for number, verdict in inputs(target, folder, seed, numbers):
            detail = f"{number}: {' '.join(verdict.detail.split())[:300]}" if verdict.outcome == "fault" else ""
            os.write(writing, f"{verdict.outcome} {detail}\n".encode("utf-8", "replace"))
        code = 0
    finally:
        os._exit(code)


def _targets(scratch: Path) -> dict[str, Target]:
    from auflow.models.store import default_root
    from auflow.tests.fuzz.inputs import input_targets

    return model_targets(default_root(), scratch / "good") | input_targets(scratch / "good")


def main() -> int:
    """Run the campaign that the command line asks for; 1 where a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="inputs of each target; slow ones take fewer")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="targets, by the beginning of their names (default: all)")
    parser.add_argument("--json", type=Path, help="write the counts and faults of each target here")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave the last damaged file in it")
    args = parser.parse_args()
    scratch = args.keep or Path(tempfile.mkdtemp(prefix="auflow-fuzz-"))
    total: Counter[str] = Counter()
    report: dict[str, tuple[Counter[str], list[str]]] = {}
    try:
        for target in _targets(scratch).values():
            if args.only and not target.name.startswith(tuple(args.only)):
                continue
            report[target.name] = _report(target, scratch, args)
            total += report[target.name][0]
    finally:
        if args.keep is None:
            shutil.rmtree(scratch)
    if args.json is not None:
        args.json.write_text(json.dumps(report))
    print(f"{'all':28} {sum(total.values()):>8} inputs  {dict(total)}")
    return 1 if total["fault"] else 0


def _report(target: Target, scratch: Path, args: argparse.Namespace) -> tuple[Counter[str], list[str]]:
    folder = scratch / target.name
    place_tree(target, folder)
    started_s = time.monotonic()
    counts: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    last = args.first + max(1, round(args.count * target.share))
    for first in range(args.first, last, BATCH):
        numbers = range(first, min(first + BATCH, last))
        found, faults = run_batch(target, folder, args.seed, numbers)
        counts += found
        for fault in faults:
            kinds.setdefault(fault.partition(":")[2][:60], fault)
    print(f"{target.name:28} {sum(counts.values()):>8} inputs  {dict(counts)}  {time.monotonic() - started_s:.1f} s")
    for fault in kinds.values():
        print(f"    seed {args.seed}, input {fault}", flush=True)
    return counts, list(kinds.values())


if __name__ == "__main__":
    sys.exit(main())
