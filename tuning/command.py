"""`auflow tune`: its options, and what is checked before minutes are spent."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.coherence.command import MAX_LANDMARK_PX, MIN_AU_MEAN_R, budgets_of
from auflow.errors import InputError, UsageError
from auflow.kernel_cache import COMPILING, kernels_are_ready, place_kernel_cache
from auflow.option_values import positive
from auflow.stages.settings import StageSettings
from auflow.threads import pin_threads
from auflow.validation.command import add_budget_limits
from auflow.validation.json_output import write_json

if TYPE_CHECKING:
    from auflow.backends.availability import Availability
    from auflow.profiles.profile import Figure, Profile
    from auflow.report import Reporter, StreamSummary
    from auflow.tuning.bench import Bench, Clip
    from auflow.tuning.candidates import Trial
    from auflow.tuning.session import Session

__all__ = ["add_parser"]

FRAMES, QUICK_FRAMES = 300, 60  # of each clip, at most
ROUNDS, QUICK_ROUNDS = 3, 1
FIRST_FRAMES = 24  # to warm up, and to tell who is hopeless
LOOKS, QUICK_LOOKS = 12, 4  # pictures of each clip in which faces are looked for

DESCRIPTION = f"""\
Measure what this machine allows on your own clip: the compute backends of each stage, detection batches, tracking
settings and numbers of processes. What is best is saved as a profile that `auflow run` and `auflow serve` take up
where you say nothing.

Only what stays within the accuracy budget may be chosen: landmarks within {MAX_LANDMARK_PX} px of the exact run's, AU
intensities that correlate with {MIN_AU_MEAN_R} on average. And it must cost less by more than the noise, else
OpenFace's numbers on the reference backends stay. Take a clip like those that you will work on, and a quiet machine."""

EPILOG = """\
examples:
  auflow tune interview.mp4                     a few minutes; the profile is saved, and used from then on
  auflow tune interview.mp4 --quick --dry-run   what would be measured, and what this machine has not
  auflow tune day.mp4 night.mp4 --explain       within the budget on both; with the reason for each decision
  auflow tune --explain                         why the saved profile is as it is; nothing is measured
  auflow tune lecture.mp4 --allow-coherent      coherent tracking may be chosen too: numbers differ within the budget
  auflow run a.mp4 --profile none               a run without it

Without --allow-coherent coherent tracking is measured and shown, and not chosen.
exit codes: 0 measured and saved, 2 wrong usage or a clip that cannot be read, 3 output cannot be written,
            4 model files missing or damaged, 5 a stage failed, 130 interrupted: no profile is written then"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tune` to the command line."""
    tune = commands.add_parser(
        "tune",
        help="measure what is fastest on this machine within an accuracy budget, and keep it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    tune.set_defaults(handler=run_tune, skip=0)
    tune.add_argument("clips", metavar="CLIP", nargs="*", type=Path, help="videos or folders of images")
    what = tune.add_argument_group("what is measured")
    what.add_argument("--multi-face", action="store_true", help="with up to four faces and --identities")
    what.add_argument(
        "--allow-coherent", action="store_true", help="coherent tracking may be chosen: runs with this profile then"
        " follow faces differently, within the budget",
    )  # fmt: skip
    what.add_argument(
        "--streams", metavar="N", type=positive, help="inputs that you have at the same time: process counts are"
        " measured with N copies of the first clip (default: up to one more than cores)",
    )  # fmt: skip
    what.add_argument(
        "--frames", metavar="N", type=positive, help=f"the first N frames of each clip (default: {FRAMES})"
    )
    what.add_argument("--quick", action="store_true", help=f"fewer candidates, once, on {QUICK_FRAMES} frames")
    limits = tune.add_argument_group("budget (what misses it is not chosen; a missing value meets none)")
    add_budget_limits(limits)
    shown = tune.add_argument_group("what comes of it")
    shown.add_argument("--explain", action="store_true", help="a sentence for each decision; without CLIP of the saved")
    shown.add_argument("--json", metavar="FILE", help="all figures as JSON; - for standard output, without the table")
    shown.add_argument(
        "--profile", metavar="FILE", type=Path, help="where it is saved (default: $AUFLOW_PROFILE, else the user's"
        " configuration folder)",
    )  # fmt: skip
    shown.add_argument("--dry-run", action="store_true", help="tell what would be measured; measure and save nothing")


def run_tune(args: argparse.Namespace) -> int:
    """Measure, choose, show, save."""
    place = _place(args)
    if not args.clips:
        if not args.explain:
            raise UsageError("nothing to measure on: give a clip like those that you will work on, `auflow tune CLIP`")
        return _explain_saved(place)
    _check(args)
    pin_threads()
    warning = place_kernel_cache()
    from auflow.models import store
    from auflow.profiles.store import check_place

    root = store.default_root()
    store.require(root)
    if not args.dry_run:
        check_place(place)
    plan = _plan(args, root)
    if args.dry_run:
        _show_plan(plan)
        return 0
    profile = _measure(args, plan, root, warning)
    _finish(args, profile, place)
    return 0


def _place(args: argparse.Namespace) -> Path:
    from auflow.profiles.store import default_place

    place: Path | None = args.profile or default_place()
    if place is None:
        raise UsageError("AUFLOW_PROFILE is none, so there is no place for a profile: give one with --profile FILE")
    return place


def _check(args: argparse.Namespace) -> None:
    if Path("-") in args.clips:
        raise UsageError("a clip is read many times, and what came through a pipe is gone; write it to a file")
    for path in filter(None, (args.profile, None if args.json in (None, "-") else Path(args.json))):
        if any(path.resolve() == clip.resolve() for clip in args.clips):
            raise UsageError(f"{path}: would be written over a clip; choose another name")
    for clip in args.clips:
        if not clip.exists():
            raise InputError(f"{clip}: there is no such file or folder; check the spelling and the working folder")
    stems = [clip.stem for clip in args.clips]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise UsageError(f"two clips are called {twice}, so their tables would be one; give one of them another name")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is measured."""

    exact: StageSettings
    trials: list[Trial]
    counts: tuple[int, ...]  # of inputs at the same time, the reference first
    unusable: list[Availability]
    frames: int
    rounds: int
    looks: int


def _plan(args: argparse.Namespace, root: Path) -> _Plan:
    from auflow.backends.availability import look_at_all
    from auflow.models import store
    from auflow.profiles.machine import usable_cores
    from auflow.tuning.candidates import job_counts, trials, unusable

    exact = StageSettings(faces="all" if args.multi_face else "widest", identities=args.multi_face, precision="full")
    found = look_at_all()
    usable = [each.backend for each in found if each.usable]
    ceclm = not store.missing_ceclm_files(root)
    cores = len(usable_cores())
    return _Plan(
        exact=exact,
        trials=trials(exact, usable, quick=args.quick, coherent=args.allow_coherent, ceclm=ceclm),
        counts=job_counts(cores, args.streams, quick=args.quick),
        unusable=unusable(found),
        frames=args.frames or (QUICK_FRAMES if args.quick else FRAMES),
        rounds=QUICK_ROUNDS if args.quick else ROUNDS,
        looks=QUICK_LOOKS if args.quick else LOOKS,
    )


def _show_plan(plan: _Plan) -> None:
    from auflow.tuning.sheet import set_aside

    lines = [f"up to {plan.frames} frames of each clip, {plan.rounds} rounds, in turn:"]
    for trial in plan.trials:
        shown = "" if trial.allowed else " (shown only: without --allow-coherent it is not chosen)"
        others = "; ".join(each.name for each in trial.others)
        lines.append(f"  {trial.group}: {trial.reference.name} against {others}{shown}")
    first, *rest = plan.counts
    lines.append(f"  jobs: {first} against {', '.join(map(str, rest)) or 'nothing else'}")
    lines += set_aside(_set_aside(plan))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _set_aside(plan: _Plan) -> list[Figure]:
    from auflow.backends.names import STAGES
    from auflow.profiles.profile import Figure

    return [
        Figure(stage, found.backend, "not usable", why=f"{found.what}{f'; {found.remedy}' * bool(found.remedy)}")
        for found in plan.unusable
        for stage in STAGES
    ]


def _measure(args: argparse.Namespace, plan: _Plan, root: Path, warning: str | None) -> Profile:
    from auflow import inline
    from auflow.benchmarks.machine import OthersWatch, busy_warning
    from auflow.report import make_reporter
    from auflow.tuning.bench import Bench
    from auflow.tuning.estimate import estimate
    from auflow.tuning.session import Session, run_session

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auflow-tune-")))
        reporter = make_reporter(quiet=False, words=_nothing, threaded=False)
        stack.callback(reporter.close)
        if warning:
            reporter.warning(warning)
        if not kernels_are_ready("clnf"):
            reporter.note(COMPILING)
        clips = _clips(args.clips, plan, folder)
        bench = Bench(clips, budgets_of(args), root, folder / "tables", reporter, plan.rounds, inline.load_stages)
        session = Session(plan.exact, args.allow_coherent, figures=_set_aside(plan))
        others = OthersWatch()
        reporter.note(estimate(bench, plan.trials, plan.counts, plan.exact))
        _warn(reporter, busy_warning(others.share(), "just now"))
        others = OthersWatch()
        run_session(session, bench, plan.trials, reporter.note, _jobs(args, plan, bench, session, folder))
        _warn(reporter, busy_warning(others.share(), "meanwhile"))
    return session.profile(clips=[clip.name for clip in args.clips], budget=_in_words(args))


def _clips(paths: Sequence[Path], plan: _Plan, folder: Path) -> tuple[Clip, ...]:
    from auflow.tuning.bench import Clip
    from auflow.tuning.excerpts import excerpt, some_pictures

    places = folder / "clips", folder / "first"
    for place in places:
        place.mkdir()
    found = []
    for path in paths:
        cut, frames = excerpt(path, plan.frames, places[0])
        first, _ = excerpt(cut, FIRST_FRAMES, places[1])
        found.append(Clip(cut, first, frames, tuple(some_pictures(cut, plan.looks, frames))))
    return tuple(found)


def _jobs(
    args: argparse.Namespace, plan: _Plan, bench: Bench, session: Session, folder: Path
) -> Callable[[StageSettings], Any] | None:
    """What measures process counts: runs that take what was chosen so far from a profile of their own."""
    if len(plan.counts) < 2:
        return None
    from auflow.profiles.store import save_profile
    from auflow.tuning.throughput import Load, measure_jobs

    def measure(settings: StageSettings) -> Any:
        so_far = folder / "so-far.json"
        save_profile(session.profile(clips=(), budget=_in_words(args)), so_far)
        words = ["--profile", str(so_far), *["--multi-face", "--identities"] * args.multi_face]
        load = Load(bench.clips[0].path, bench.clips[0].frames, tuple(words), args.streams)
        return measure_jobs(load, plan.counts, plan.rounds, bench.reporter.note, settings)

    return measure


def _finish(args: argparse.Namespace, profile: Profile, place: Path) -> None:
    """Show and save. What cannot be shown must not cost the profile, for it took minutes."""
    from auflow.profiles.store import default_place, save_profile

    save_profile(profile, place)
    if args.json is not None:
        write_json(args.json, profile.as_dict())
    out = sys.stderr if args.json == "-" else sys.stdout
    _show(profile, out, explain=args.explain)
    used = "`auflow run` and `auflow serve` use it from now on"
    if place != default_place():
        used = f"`auflow run --profile {place}` uses it, and AUFLOW_PROFILE in the environment makes all do so"
    out.write(f"\nsaved as {place}: {used}\n")


def _show(profile: Profile, out: Any, *, explain: bool) -> None:
    from auflow.tuning.explaining import explained
    from auflow.tuning.sheet import set_aside, sheet
    from auflow.validation.text import print_sheet

    print_sheet(sheet(profile.figures), out)
    lines = list(set_aside(profile.figures))
    out.write("\n" * bool(lines) + "".join(f"{line}\n" for line in lines))
    if explain:
        out.write("\n" + "".join(f"{line}\n" for line in explained(profile)))


def _explain_saved(place: Path) -> int:
    from auflow.profiles.store import read_file

    try:
        profile = read_file(place)
    except ValueError as error:
        raise InputError(
            f"{place}: there is no profile to explain: {error}; make one with `auflow tune CLIP`"
        ) from error
    _show(profile, sys.stdout, explain=True)
    return 0


def _in_words(args: argparse.Namespace) -> str:
    budgets = budgets_of(args)
    words = {
        "max_landmark_px": "landmarks {:g} px",
        "min_au_mean_r": "mean r of AU intensities {:g}",
        "min_au_r": "r of each {:g}",
        "min_presence": "presences {:g}",
        "min_success": "success {:g}",
    }
    values = asdict(budgets)
    return ", ".join(text.format(values[name]) for name, text in words.items() if values[name] is not None)


def _warn(reporter: Reporter, text: str | None) -> None:
    if text:
        reporter.warning(text)


def _nothing(_: StreamSummary) -> str:
    """A run has no paragraph of its own: the table has its figures."""
    return ""
