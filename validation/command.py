"""`auflow validate`: the sub-parser and its handler."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import OutputError, UsageError
from auflow.validation.json_output import write_json

if TYPE_CHECKING:
    from auflow.validation.budgets import Budgets, Verdict
    from auflow.validation.comparison import Comparison, Match

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_budget_limits", "add_parser", "run_validate"]

DESCRIPTION = """\
Compare two CSV files in OpenFace's format, REFERENCE (say, the C++ program's) and OURS, and tell how far they agree:
per column group the absolute error, per AU correlation, concordance, ICC(3,1), presence agreement and F1.

Rows are matched by frame and face: the same number, or with --match overlap the same place. Values count where
REFERENCE has success 1; success is compared on all rows. What is missing in OURS is a miss, never a match.
Names ending in .gz are read compressed."""

EPILOG = """\
examples:
  auflow validate openface.csv ours.csv                       the tables, on the terminal
  auflow validate openface.csv ours.csv --html report.html    plots of both beside each other
  auflow validate openface.csv ours.csv --html report.html --video clip.mp4
                                                              also pictures of the worst frames
  auflow validate openface.csv ours.csv --max-landmark-px 5 --min-au-r 0.9
                                                              a check for a script: exit code 1 when missed
  auflow validate build1.csv build2.csv --json floor.json     how far a program differs from itself, its noise floor;
  auflow validate build1.csv ours.csv --floor floor.json      then: is ours within twice that?
  auflow validate --budget clip.mp4                           what coherent tracking saves on a clip, and what it costs

Rounding counts: compare files of the same number of decimals (`auflow run --precision full` writes six).
Compare like with like: intensities after OpenFace's offline pass differ from those before it by 0.4 on average.
exit codes: 0 compared, everything asked for is met; 1 a budget is missed or the noise floor exceeded;
            2 wrong usage, a file that cannot be read or is of another format; 3 output cannot be written;
            with --budget also 4 model files missing or damaged, 5 a stage failed, 130 interrupted"""


def add_parser(subparsers: Subparsers) -> tuple[argparse.ArgumentParser, tuple[argparse.Action, argparse.Action]]:
    """Add `validate`; its `handler` is a function of the namespace to the exit code.

    Returns
    -------
    the parser, and its arguments REFERENCE and OURS
    """
    parser = subparsers.add_parser(
        "validate",
        help="compare a CSV with a reference: errors, correlations, a report with plots",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    files = (
        parser.add_argument("reference", metavar="REFERENCE", type=Path, help="the CSV that is taken as right"),
        parser.add_argument("ours", metavar="OURS", type=Path, help="the CSV that is held against it"),
    )
    parser.add_argument("--skip", metavar="N", type=_count, default=0, help="leave out the first N frames")
    parser.add_argument(
        "--match",
        choices=("id", "overlap"),
        default="id",
        help="several faces: those of the same number (default), or those whose landmarks overlap most",
    )
    shown = parser.add_argument_group("reports")
    shown.add_argument(
        "--json", metavar="FILE", help="write all figures as JSON; - for standard output, without tables"
    )
    shown.add_argument(
        "--html", metavar="FILE", type=Path, help="write a report with plots, one file (needs matplotlib)"
    )
    shown.add_argument(
        "--video", metavar="CLIP", type=Path, help="what was analysed: the report shows the worst frames"
    )
    limits = parser.add_argument_group("budgets (exit code 1 when one is missed; a missing value meets none)")
    add_budget_limits(limits)
    limits.add_argument(
        "--floor",
        metavar="FLOOR",
        type=Path,
        help="--json of the reference program against another build of itself: medians, 90th percentiles and every AU "
        "must stay within --factor times that",
    )
    limits.add_argument("--factor", metavar="X", type=_limit(0, math.inf), default=2.0, help="default: 2")
    parser.set_defaults(handler=run_validate)
    return parser, files


def add_budget_limits(limits: argparse._ArgumentGroup) -> None:
    """Add the options that `Budgets` are made of; each is None where it is not given."""
    limits.add_argument(
        "--max-landmark-px", metavar="PX", type=_limit(0, math.inf), help="mean distance of the 68 2-D landmarks"
    )
    limits.add_argument("--min-au-r", metavar="R", type=_limit(-1, 1), help="Pearson's r of every AU intensity")
    limits.add_argument(
        "--min-au-mean-r", metavar="R", type=_limit(-1, 1), help="mean of Pearson's r over the AU intensities"
    )
    limits.add_argument(
        "--min-presence", metavar="SHARE", type=_limit(0, 1), help="share of rows that agree, of every AU presence"
    )
    limits.add_argument("--min-success", metavar="SHARE", type=_limit(0, 1), help="share of rows whose success agrees")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _limit(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (low <= number <= high and math.isfinite(number)):
            top = f" to {high:g}" if math.isfinite(high) else ""
            raise argparse.ArgumentTypeError(f"expected a number from {low:g}{top}, got {text!r}")
        return number

    return read


def run_validate(args: argparse.Namespace) -> int:
    """Compare, show, judge. Exit code 1 where a budget is missed or the noise floor exceeded."""
    from auflow.validation.budgets import Budgets
    from auflow.validation.comparison import compare, match
    from auflow.validation.table import read_table

    _check(args)
    rows = match(read_table(args.reference), read_table(args.ours), skip=args.skip, by=args.match)
    result = compare(rows)
    budgets = Budgets(args.max_landmark_px, args.min_au_r, args.min_presence, args.min_success, args.min_au_mean_r)
    verdict = _judge(args, result, budgets)
    if args.html is not None:
        _write_html(args, rows, result, verdict)
    if args.json is not None:
        _write_json(args, result, verdict)
    lines = _verdict_lines(verdict)
    if args.json == "-":
        sys.stderr.write("".join(f"{line}\n" for line in lines))
    else:
        _print(result, lines)
    return 0 if verdict.good else 1


def _check(args: argparse.Namespace) -> None:
    if args.video is not None and args.html is None:
        raise UsageError("--video shows the worst frames in the report: also give --html FILE")
    inputs = [path for path in (args.reference, args.ours, args.floor, args.video) if path is not None]
    outputs = [Path(path) for path in (args.json, args.html) if path is not None and path != "-"]
    for place, output in enumerate(outputs):
        if any(output.resolve() == other.resolve() for other in (*inputs, *outputs[:place])):
            raise UsageError(f"{output}: would be written over another file of this command; choose another name")
    if args.html is not None:
        from auflow.validation.figures import require_matplotlib

        require_matplotlib()


def _judge(args: argparse.Namespace, result: Comparison, budgets: Budgets) -> Verdict:
    from auflow.validation.budgets import Verdict, hold, missed, read_floor

    floor = read_floor(args.floor) if args.floor is not None else None
    return Verdict(
        asked=budgets.any() or floor is not None,
        missed=tuple(missed(result, budgets)),
        held=tuple(hold(result, floor, args.factor)) if floor is not None else (),
        factor=args.factor,
    )


def _verdict_lines(verdict: Verdict) -> list[str]:
    lines = [f"missed  {line}" for line in verdict.missed]
    lines += [
        f"short   {held.what}: {held.ours_text}, allowed {held.allowed:.5g}" for held in verdict.held if not held.holds
    ]
    if verdict.held:
        count = len(verdict.held)
        lines.append(f"{count - verdict.short} of {count} figures hold at {verdict.factor:g} times the noise floor")
    if verdict.asked and verdict.good:
        lines.append("everything asked for is met")
    return lines


def _print(result: Comparison, lines: list[str]) -> None:
    from auflow.validation.text import print_report

    try:
        print_report(result, lines, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough; the exit code still counts, and Python must not try to flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_json(args: argparse.Namespace, result: Comparison, verdict: Verdict) -> None:
    figures = {"reference": str(args.reference), "ours": str(args.ours), "skip": args.skip, "match": args.match}
    figures |= result.as_dict()
    if verdict.asked:
        figures["met"] = verdict.good
        figures["missed"] = list(verdict.missed)
        figures["held"] = [held.as_dict() for held in verdict.held]
    write_json(args.json, figures)


def _write_html(args: argparse.Namespace, rows: Match, result: Comparison, verdict: Verdict) -> None:
    from auflow.validation.html import build_page

    _write(args.html, build_page(rows, result, verdict, clip=args.video))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
