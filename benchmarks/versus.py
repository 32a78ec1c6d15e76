"""Another program beside auflow on the same clip, in pairs whose order alternates: ours theirs, theirs ours, ...

A machine that is busy for a while spoils both of a pair; the ratio of each pair is taken, and their spread told.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auflow.benchmarks.runs import Finished, execute, run_command
from auflow.benchmarks.spread import Spread
from auflow.errors import UsageError

__all__ = ["Side", "Versus", "compare", "fill", "parse"]

CLIP, OUT = "{clip}", "{out}"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two programs over all pairs."""

    program: str
    command: str
    wall_s: Spread
    cpu_s: Spread
    pss_mb: float  # largest


@dataclass(frozen=True, slots=True)
class Versus:
    """Ours against theirs on one clip."""

    cores: int | None  # pinned to so many
    ours: Side
    theirs: Side
    wall_ratio: Spread  # theirs by ours, pair by pair: above 1 we are faster
    cpu_ratio: Spread


def parse(command: str) -> list[str]:
    """The words of a command line with {clip} and {out} in it, as a shell would split them.

    Raises
    ------
    UsageError
        It cannot be split, {clip} is nowhere in it, or there is no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--versus {command!r}: {error}; check its quotes") from error
    if not any(CLIP in word for word in words):
        raise UsageError(
            f"--versus {command!r}: expected {CLIP} where the video goes (and {OUT} for the folder of its results), "
            "as in 'FeatureExtraction -f {clip} -out_dir {out}'"
        )
    if shutil.which(words[0]) is None:
        raise UsageError(f"--versus: there is no program {words[0]!r} here; check its name and path")
    return words


def fill(words: Sequence[str], clip: Path, out: Path) -> list[str]:
    """The words with the paths in place; one word stays one, whatever the paths hold."""
    return [word.replace(CLIP, str(clip.resolve())).replace(OUT, str(out)) for word in words]


def compare(clip: Path, words: Sequence[str], *, pairs: int, cores: int | None, say: Callable[[str], None]) -> Versus:
    """Run both programs `pairs` times each; `say` is told before each pair.

    Raises
    ------
    UsageError
        There is no such program.
    StageError
        One of them failed; the end of what it said is told.
    """
    ours: list[Finished] = []
    theirs: list[Finished] = []
    for pair in range(pairs):
        say(f"versus: pair {pair + 1} of {pairs}")
        sides = [(ours, True), (theirs, False)]
        for results, is_ours in sides if pair % 2 == 0 else reversed(sides):
            results.append(_run(clip, None if is_ours else words, cores))
    return Versus(
        cores,
        _side("auflow", "auflow run {clip} -o {out}", ours),
        _side(Path(words[0]).name, shlex.join(words), theirs),
        Spread.of([b.wall_s / a.wall_s for a, b in zip(ours, theirs, strict=True)]),
        Spread.of([b.cpu_s / a.cpu_s for a, b in zip(ours, theirs, strict=True)]),
    )


def _run(clip: Path, words: Sequence[str] | None, cores: int | None) -> Finished:
    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder:
        out = Path(folder)
        command = run_command([clip.resolve()], out) if words is None else fill(words, clip, out)
        done = execute(command, cores=cores)
    done.require_success()
    return done


def _side(program: str, command: str, runs: Sequence[Finished]) -> Side:
    return Side(
        program,
        command,
        Spread.of([run.wall_s for run in runs]),
        Spread.of([run.cpu_s for run in runs]),
        max(run.trace.peak_pss_bytes for run in runs) / 1e6,
    )
