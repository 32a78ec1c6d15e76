"""What the limit and the tolerance of the landmark fit cost, and what they change: a table as in docs/convergence.md.

    python -m auflow.benchmarks.convergence CLIP=REFERENCE.csv [CLIP=REFERENCE.csv ...] [--repeat N] [--json FILE]

Runs all stages in this process, once for each pair of `--clnf-iterations` and `--clnf-tolerance`, and compares each
CSV with the reference as `auflow validate` does. Times are CPU time of the CLNF stage without detection: compiling
comes before, the pairs take turns, and the round that took least counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.benchmarks.patching import replaced
from auflow.threads import pin_threads

if TYPE_CHECKING:
    from auflow.inline import Stages
    from auflow.stages.settings import StageSettings

__all__ = ["Outcome", "main", "measure"]

ITERATIONS = (1, 2, 3, 5, 10)
TOLERANCES_PX = (0.0, 0.01, 0.1, 1.0)
HEAD: tuple[str, ...] = ("iterations", "tolerance, px", "CPU ms a frame", "iterations a fit", "converged")
HEAD += ("landmarks p50, px", "p90, px", "AU_r mean r", "AU_c agrees")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clip with one pair of settings."""

    clip: str
    iterations: int
    tolerance_px: float
    cpu_ms: float  # of the CLNF stage, a frame
    iterations_per_fit: float
    converged: float  # share of the optimisations
    landmarks_p50_px: float
    landmarks_p90_px: float
    au_r: float  # mean correlation
    au_c: float  # mean agreement

    def row(self) -> tuple[str, ...]:
        """The cells below `HEAD`."""
        return (
            str(self.iterations),
            f"{self.tolerance_px:g}",
            f"{self.cpu_ms:.2f}",
            f"{self.iterations_per_fit:.1f}",
            f"{100 * self.converged:.1f} %",
            f"{self.landmarks_p50_px:.3f}",
            f"{self.landmarks_p90_px:.3f}",
            f"{self.au_r:.4f}",
            f"{self.au_c:.4f}",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a Markdown table per clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="CLIP=REFERENCE", nargs="+", type=_pair)
    parser.add_argument("--repeat", metavar="N", type=int, default=1, help="rounds over all pairs (default: 1)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to FILE")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat: expected 1 or more")
    pin_threads()  # before NumPy is imported
    outcomes = [outcome for pair in options.clips for outcome in measure(*pair, repeat=options.repeat)]
    for clip, _ in options.clips:
        rows = [outcome.row() for outcome in outcomes if outcome.clip == str(clip)]
        lines = [HEAD, ("---",) * len(HEAD), *rows]
        sys.stdout.write(f"\n**{clip.name}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    return 0


def _pair(text: str) -> tuple[Path, Path]:
    clip, equals, reference = text.partition("=")
    if not (clip and equals and reference):
        raise argparse.ArgumentTypeError(f"expected CLIP=REFERENCE.csv, got {text!r}")
    return Path(clip), Path(reference)


def _pairs() -> list[tuple[int, float]]:
    """Iterations and tolerances; with one iteration there is nothing that a tolerance could change."""
    return [(n, px) for n in ITERATIONS for px in TOLERANCES_PX if n > 1 or px == TOLERANCES_PX[0]]


def measure(clip: Path, reference: Path, *, repeat: int = 1) -> list[Outcome]:
    """The clip with every pair of settings, limits outside, tolerances inside.

    Raises
    ------
    AuflowError
        Models, clip or reference cannot be read.
    """
    from auflow.inline import load_stages
    from auflow.models.store import default_root, require
    from auflow.stages import au, clnf
    from auflow.stages.settings import StageSettings

    root = default_root()
    require(root)
    clnf.warm_up(root)
    au.warm_up(root)
    stages = load_stages(root, StageSettings())  # detection and AUs are the same for all
    best: dict[tuple[int, float], Outcome] = {}
    for _ in range(repeat):
        for pair in _pairs():
            settings = StageSettings(precision="full", clnf_iterations=pair[0], clnf_tolerance_px=pair[1])
            outcome = _run(clip, reference, settings, replace(stages, clnf=clnf.ClnfStage(root, settings)))
            if pair not in best or outcome.cpu_ms < best[pair].cpu_ms:
                best[pair] = outcome
    return list(best.values())


def _run(clip: Path, reference: Path, settings: StageSettings, stages: Stages) -> Outcome:
    from auflow import inline
    from auflow.errors import StageError
    from auflow.options import RunOptions, output_path
    from auflow.report import make_reporter
    from auflow.validation.comparison import compare, match
    from auflow.validation.table import read_table

    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder:
        options = RunOptions((clip,), Path(folder), Path(), settings=settings, inline=True, quiet=True)
        with _clocked(stages) as spent_s:
            (summary,) = inline.run(options, make_reporter(quiet=True), load=lambda *_: stages)
        convergence = summary.statistics.convergence
        if summary.error is not None or not convergence.fits:
            raise StageError(f"{clip}: {summary.error or 'not one face was fitted'}; give another clip")
        figures: Any = compare(match(read_table(reference), read_table(output_path(options, clip)))).as_dict()
    return Outcome(
        clip=str(clip),
        iterations=settings.clnf_iterations or 0,
        tolerance_px=settings.clnf_tolerance_px or 0.0,
        cpu_ms=1e3 * spent_s["clnf"] / summary.frames,
        iterations_per_fit=convergence.iterations / convergence.fits,
        converged=convergence.converged / convergence.optimisations,
        landmarks_p50_px=figures["landmarks2d_px"]["p50"],
        landmarks_p90_px=figures["landmarks2d_px"]["p90"],
        au_r=figures["au_r_mean_r"],
        au_c=figures["au_c_agreement"],
    )


@contextmanager
def _clocked(stages: Stages) -> Iterator[dict[str, float]]:
    """CPU seconds in "clnf" (less detection, which it calls) and "detect" while the context is open."""
    spent_s = {"clnf": 0.0, "detect": 0.0}

    def clock(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            before_s, inner_s = time.process_time(), spent_s["detect"]
            try:
                return function(*args)
            finally:
                spent_s[name] += time.process_time() - before_s - (spent_s["detect"] - inner_s)

        return call

    detect = clock("detect", stages.detector.detect)
    process = clock("clnf", stages.clnf.process)
    with replaced(stages.detector, "detect", detect), replaced(stages.clnf, "process", process):
        yield spent_s


if __name__ == "__main__":
    sys.exit(main())
