"""`auflow validate --budget`: its options, beside those of the comparison of two files, and its handler."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.errors import AuflowError, UsageError
from auflow.face_options import add_coherence_bounds, coherence_bounds
from auflow.kernel_cache import COMPILING, kernels_are_ready, place_kernel_cache
from auflow.option_values import positive
from auflow.stages.settings import StageSettings, Tracking
from auflow.threads import pin_threads
from auflow.validation.json_output import write_json

if TYPE_CHECKING:
    from auflow.coherence.runs import Plan
    from auflow.coherence.verdict import Outcome
    from auflow.inline import Stages
    from auflow.report import Reporter, StreamSummary
    from auflow.validation.budgets import Budgets

__all__ = ["MAX_LANDMARK_PX", "MIN_AU_MEAN_R", "add_budget_options", "budgets_of", "run_budget"]

MAX_LANDMARK_PX = 0.3
MIN_AU_MEAN_R = 0.99

_OWN = ("multi_face", "identities", "detect_every", "reuse_below", "repeat", "keep")
_FOREIGN = ("html", "video", "floor")


def add_budget_options(validate: argparse.ArgumentParser, files: Sequence[argparse.Action]) -> None:
    """Add `--budget` and what goes with it to `validate`, whose own options stay as they are.

    Parameters
    ----------
    files : its arguments that `--budget` stands in for
    """
    compared = validate.get_default("handler")
    validate.usage = (
        "auflow validate [-h] REFERENCE OURS [options]\n       auflow validate --budget CLIP [CLIP ...] [options]"
    )
    group = validate.add_argument_group(
        "coherent tracking against exact",
        "Run each clip both ways, in this process, and compare the tables: what is saved, and is it within"
        f" --max-landmark-px (here {MAX_LANDMARK_PX} where it is not given) and --min-au-mean-r ({MIN_AU_MEAN_R})?",
    )
    group.add_argument(
        "--budget", metavar="CLIP", nargs="+", type=Path, action=_budget(files), help="videos or folders of images, in"
        " place of REFERENCE and OURS",
    )  # fmt: skip
    group.add_argument(
        "--multi-face", action="store_true", help="follow up to four faces in both, with --identities in both"
    )
    group.add_argument(
        "--identities", action=argparse.BooleanOptionalAction, help="number faces by the person in both (default: with"
        " --multi-face)",
    )  # fmt: skip
    add_coherence_bounds(group)
    group.add_argument(
        "--repeat", metavar="N", type=positive, help="runs of each, in turn; the least time counts (default: 1)"
    )
    group.add_argument(
        "--keep", metavar="DIR", type=Path, help="keep the tables: DIR/exact/NAME.csv and DIR/coherent/NAME.csv"
    )

    def handle(args: argparse.Namespace) -> int:
        if args.budget:
            return run_budget(args)
        alone = next((name for name in _OWN if getattr(args, name) not in (None, False)), None)
        if alone is not None:
            raise UsageError(f"{_option(alone)} goes with --budget CLIP: two files are compared as they are")
        code: int = compared(args)
        return code

    validate.set_defaults(handler=handle)


def _budget(files: Sequence[argparse.Action]) -> type[argparse.Action]:
    class Budget(argparse.Action):
        """Takes the clips; `files` need not come then."""

        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: str | Sequence[Any] | None,
            option_string: str | None = None,
        ) -> None:
            setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *(values or ())])
            for action in files:
                action.required = False

    return Budget


def run_budget(args: argparse.Namespace) -> int:
    """Run, compare, show. Exit code 1 where a budget is missed, that of the first error where a clip cannot be run."""
    _check(args)
    pin_threads()
    warning = place_kernel_cache()
    from auflow.models import store
    from auflow.report import make_reporter

    root = store.default_root()
    store.require(root)
    budgets = budgets_of(args)
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auflow-budget-")))
        plan = _plan(args, root, folder)
        plan.check(tuple(args.budget))
        reporter = make_reporter(quiet=False, words=_nothing, threaded=False)
        stack.callback(reporter.close)
        if warning:
            reporter.warning(warning)
        if not kernels_are_ready("clnf"):
            reporter.note(COMPILING)
        try:
            outcomes.extend(_outcomes(args, plan, budgets, reporter))
        except KeyboardInterrupt:
            reporter.close()
            _show(args, outcomes, budgets, plan)  # of the clips that are through
            raise
    _show(args, outcomes, budgets, plan)
    return next((outcome.exit_code for outcome in outcomes if outcome.error), int(not all(o.met for o in outcomes)))


def _check(args: argparse.Namespace) -> None:
    if args.reference is not None or args.ours is not None:
        raise UsageError(
            "--budget CLIP stands in for REFERENCE and OURS: give the clips right behind --budget, and no tables"
        )
    foreign = next((name for name in _FOREIGN if getattr(args, name) is not None), None)
    if foreign is not None:
        raise UsageError(
            f"{_option(foreign)} is for two files: run --budget with --keep DIR, then compare DIR/exact/NAME.csv with "
            "DIR/coherent/NAME.csv"
        )
    if Path("-") in args.budget:
        raise UsageError("--budget reads each clip twice, and what came through a pipe is gone; write it to a file")
    if args.json is not None and any(Path(args.json).resolve() == clip.resolve() for clip in args.budget):
        raise UsageError(f"{args.json}: would be written over a clip; choose another name")


def budgets_of(args: argparse.Namespace) -> Budgets:
    """The budgets that were asked for, and those that hold where nothing was."""
    from auflow.validation.budgets import Budgets

    return Budgets(
        max_landmark_px=MAX_LANDMARK_PX if args.max_landmark_px is None else args.max_landmark_px,
        min_au_r=args.min_au_r,
        min_presence=args.min_presence,
        min_success=args.min_success,
        min_au_mean_r=MIN_AU_MEAN_R if args.min_au_mean_r is None else args.min_au_mean_r,
    )


def _plan(args: argparse.Namespace, root: Path, folder: Path) -> Plan:
    from auflow.coherence.runs import Plan

    exact = StageSettings(
        faces="all" if args.multi_face else "widest",
        identities=args.multi_face if args.identities is None else args.identities,
        precision="full",
    )
    coherent = replace(exact, tracking="coherent", **coherence_bounds(args))
    settings: dict[Tracking, StageSettings] = {"openface": exact, "coherent": coherent}
    return Plan(settings, root, folder, repeat=args.repeat or 1)


def _outcomes(args: argparse.Namespace, plan: Plan, budgets: Budgets, reporter: Reporter) -> Iterator[Outcome]:
    """Each clip by itself: one that cannot be run does not keep the others from it."""
    from auflow.coherence.runs import run_clip
    from auflow.coherence.verdict import failed, judge
    from auflow.coherence.warm import warm_stages

    made: dict[StageSettings, Stages] = {}

    def load(root: Path, settings: StageSettings) -> Stages:
        if not made:
            made.update(warm_stages(root, plan.settings.values()))
        return made[settings]

    for clip in args.budget:
        try:
            pair = run_clip(clip, plan, reporter, load)
            yield judge(clip, pair, budgets, skip=args.skip, by=args.match)
        except AuflowError as error:
            yield failed(clip, str(error), error.exit_code)


def _show(args: argparse.Namespace, outcomes: Sequence[Outcome], budgets: Budgets, plan: Plan) -> None:
    from auflow.coherence.sheet import lines, sheet
    from auflow.validation.text import print_sheet

    if args.json is not None:
        _write_json(args.json, outcomes, len(args.budget), budgets, plan)
    said = list(lines(outcomes, len(args.budget)))
    if args.json == "-":
        sys.stderr.write("".join(f"{line}\n" for line in said))
        return
    with _read_to_its_end():
        if outcomes:
            print_sheet(sheet(outcomes), sys.stdout)
        sys.stdout.write("\n" * bool(said) + "".join(f"{line}\n" for line in said))


def _write_json(place: str, outcomes: Sequence[Outcome], asked: int, budgets: Budgets, plan: Plan) -> None:
    import auflow
    from auflow.coherence.sheet import as_dict

    document = {
        "version": auflow.__version__,
        "budgets": asdict(budgets),
        "settings": asdict(plan.settings["coherent"]),
        "repeat": plan.repeat,
        "met": len(outcomes) == asked and all(outcome.met for outcome in outcomes),
        "clips": [as_dict(outcome) for outcome in outcomes],
    }
    write_json(place, document)


@contextmanager
def _read_to_its_end() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough; the exit code still counts, and Python must not try to flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nothing(_: StreamSummary) -> str:
    """A run has no paragraph of its own: the table has its figures."""
    return ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
