"""`auflow run`: its options, in auflow's spelling and OpenFace's, and what is checked before any work starts."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from auflow.backends.names import BACKENDS
from auflow.backends.ort_files import require_ort_files
from auflow.errors import OutputError, UsageError
from auflow.face_options import add_face_options, face_settings
from auflow.flow.nursery import Nursery
from auflow.kernel_cache import COMPILING, kernels_are_ready, place_kernel_cache
from auflow.openface_options import add_openface_options
from auflow.option_values import address, backends, positive
from auflow.stages.settings import COLUMN_CHOICES, FORMATS, Columns, Format, Precision, StageSettings
from auflow.stages.sink.encoders import ASKED, ENCODERS
from auflow.stages.sink.formats import require_formats
from auflow.threads import pin_threads

if TYPE_CHECKING:
    from auflow.options import RunOptions
    from auflow.report import Reporter, StreamSummary
    from auflow.run_timeline import RunTimeline

__all__ = ["add_parser"]

EPILOG = """\
examples:
  auflow run interview.mp4                          one video: interview.csv in this folder
  auflow run *.mp4 -o results                       many: results/NAME.csv each, all independent of each other
  auflow run frames/ --precision full               a folder of .jpg, .png or .bmp in the order of their names
  auflow run meeting.mp4 --multi-face               up to four faces, one row per face and frame
  auflow run meeting.mp4 --multi-face --identities  face_id is the person's, through crossings and absences
  auflow run interview.mp4 --tracking coherent      less work where the picture says nothing new
  auflow run portraits/ --images -o results         each picture by itself: results/NAME.csv with a row per face
  auflow run interview.mp4 --format parquet,jsonl   interview.parquet and interview.jsonl instead of the CSV
  auflow run interview.mp4 --overlay                also interview.overlay.mp4 with what was found drawn in

A script for OpenFace's FeatureExtraction needs one word changed: `auflow run -f a.avi -out_dir results -aus -pose`.
Ctrl-C stops at the picture in hand; the rows so far are in NAME.partial.csv. A process that crashes is started again;
when all were killed, the same command with --resume goes on.
exit codes: 0 all written, 2 wrong usage or an input that cannot be read, 3 output cannot be written,
            4 model files missing or damaged, 5 a stage failed, 130 interrupted"""

# OpenFace's switches that ask for column groups: all of them when none is given.
_COLUMN_SWITCHES: dict[str, Columns] = {
    "-gaze": "gaze",
    "-pose": "pose",
    "-2Dfp": "landmarks2d",
    "-3Dfp": "landmarks3d",
    "-pdmparams": "shape",
    "-aus": "aus",
}
_Choice = TypeVar("_Choice", bound=str)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` to the command line."""
    run = commands.add_parser(
        "run",
        help="read videos or images, write a CSV for each",
        description="Read videos, folders of images or single images and write OpenFace's CSV for each, or other"
        " formats (--format).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.set_defaults(handler=_run, inputs=[], openface_inputs=[])
    _add_input_and_output(run)
    add_face_options(run)
    _add_files(run)
    _add_how(run)
    add_openface_options(run)


def _add_input_and_output(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "inputs", metavar="INPUT", nargs="*", type=Path, help="video file, image file or folder of"
        " images; - is a video through standard input",
    )  # fmt: skip
    run.add_argument(
        "-f", "-fdir", dest="openface_inputs", metavar="INPUT", type=Path, action="append", help="an input, as OpenFace"
        " has it; may come more than once",
    )  # fmt: skip
    run.add_argument(
        "-o", "--output-dir", "-out_dir", metavar="DIR", type=Path, default=Path(), help="where the results go"
        " (default: here)",
    )  # fmt: skip
    run.add_argument(
        "--format", dest="formats", metavar="FORMAT[,FORMAT]", type=_formats, default=("csv",), help="files that the"
        f" results are written as, some of {', '.join(FORMATS)} (default: csv); parquet needs `pip install"
        " 'auflow[parquet]'`",
    )  # fmt: skip
    run.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="openface",
        help="decimals of the CSV: those that OpenFace writes (default), or six everywhere",
    )
    run.add_argument(
        "--columns",
        metavar="GROUP[,GROUP]",
        type=_column_groups,
        help=f"only these of {', '.join(COLUMN_CHOICES)} (default: all); OpenFace's own switches:",
    )
    for switch, group in _COLUMN_SWITCHES.items():
        run.add_argument(switch, dest="switches", action="append_const", const=group, help=f"columns: {group}")


def _add_files(run: argparse.ArgumentParser) -> None:
    files = run.add_argument_group("more files")
    files.add_argument("--overlay", "-tracked", action="store_true", help="NAME.overlay.mp4 with what was found")
    files.add_argument(
        "--overlay-encoder", metavar="ENCODER", choices=ASKED, help="of that video: auto takes the graphics hardware"
        " where that works (default), software never; or one of FFmpeg's by name: "
        f"{', '.join(ENCODERS)}",
    )  # fmt: skip
    files.add_argument("--hog", "-hogalign", action="store_true", help="NAME.hog, the FHOG descriptors")
    files.add_argument("--aligned", "-simalign", action="store_true", help="NAME_aligned/, the aligned faces as .bmp")
    files.add_argument(
        "--summary",
        metavar="FILE",
        type=Path,
        help="figures of the whole run as JSON: frames, speed, latency, convergence, errors",
    )


def _add_how(run: argparse.ArgumentParser) -> None:
    how = run.add_argument_group("how to run")
    how.add_argument("--inline", action="store_true", help="one process instead of one per stage: same CSV")
    how.add_argument("--jobs", metavar="N", type=positive, help="inputs worked on at the same time (default: by CPUs)")
    how.add_argument(
        "--backend", metavar="[STAGE=]NAME[,...]", type=backends, default={}, help="what computes detect, clnf and au:"
        " auto (default: what `auflow tune` found best here, else OpenFace's numbers on the CPU) or"
        f" {', '.join(BACKENDS)}; `auflow doctor` tells which this machine has",
    )  # fmt: skip
    how.add_argument(
        "--profile", metavar="FILE", help="what `auflow tune` has found, for backends, batches, precision and jobs that"
        " are not given here; none: without (default: $AUFLOW_PROFILE, else the one that it saves)",
    )  # fmt: skip
    how.add_argument(
        "--resume", action="store_true", help="go on after a crash: inputs that are finished are left alone, one that"
        " was interrupted goes on from its last checkpoint",
    )  # fmt: skip
    how.add_argument(
        "--metrics", metavar="HOST:PORT", type=address, help="tell Prometheus metrics at http://HOST:PORT/metrics"
        " while it runs; of this machine only, such as 127.0.0.1:8717",
    )  # fmt: skip
    how.add_argument(
        "--timeline", metavar="FILE", type=Path, help="what each process did when, as JSON for ui.perfetto.dev or"
        " chrome://tracing, and how well the stages overlapped",
    )  # fmt: skip
    how.add_argument("--quiet", "-q", action="store_true", help="no progress and no summary; errors are still told")


def _column_groups(text: str) -> tuple[Columns, ...]:
    return _some_of(COLUMN_CHOICES, text)


def _formats(text: str) -> tuple[Format, ...]:
    return _some_of(FORMATS, text)


def _some_of(choices: tuple[_Choice, ...], text: str) -> tuple[_Choice, ...]:
    """Those that are named, in the order of `choices`."""
    wanted = [word.strip() for word in text.split(",")]
    unknown = [word for word in wanted if word not in choices]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(choices)}, got {unknown[0]!r}")
    return tuple(choice for choice in choices if choice in wanted)


def _run(parsed: argparse.Namespace) -> int:
    began_s = time.monotonic()  # what is imported from here on is part of the run
    pin_threads()
    warning = place_kernel_cache()
    with ExitStack() as stack:
        # Before anything else: its imports take as long as all that is done here until it is needed.
        stdin = Path("-") in (*parsed.openface_inputs, *parsed.inputs)
        nursery = None if parsed.inline else stack.enter_context(Nursery(stdin=stdin))
        from auflow.report import describe, exit_code, make_reporter

        options, notes = _with_encoder(parsed, _checked_options(parsed, began_s))
        conflict = require_ort_files()
        options, said = _with_backends(parsed, options)
        reporter = make_reporter(quiet=options.quiet, words=partial(describe, coherent=options.settings.coherent))
        stack.callback(reporter.close)
        for text in filter(None, (warning, conflict)):
            reporter.warning(text)
        for note in (*notes, *said):
            reporter.note(note)
        if options.resume:
            options = _without_finished(options, reporter)
        if not kernels_are_ready(options.settings.model):
            reporter.note(COMPILING)
        timeline = _timeline(options, stack)
        runner = _runner(nursery, timeline)
        if options.summary is None:
            return exit_code(runner(options, reporter))
        from auflow.run_summary import run_and_summarise

        return exit_code(run_and_summarise(runner, options, reporter, timeline=timeline))


def _timeline(options: RunOptions, stack: ExitStack) -> RunTimeline | None:
    if options.timeline is None:
        return None
    from auflow.run_timeline import RunTimeline

    timeline = RunTimeline(options.timeline, options.began_s, [str(path) for path in options.inputs])
    stack.callback(timeline.close)
    return timeline


def _runner(
    nursery: Nursery | None, timeline: RunTimeline | None
) -> Callable[[RunOptions, Reporter], list[StreamSummary]]:
    # Each brings what the other does not need: the transport here, the stages there.
    if nursery is None:
        from auflow import inline

        return inline.run
    from auflow import orchestrator

    return partial(orchestrator.run, nursery=nursery, timeline=timeline)


def _checked_options(parsed: argparse.Namespace, began_s: float) -> RunOptions:
    from auflow.models import store
    from auflow.options import RunOptions, check_outputs
    from auflow.stages.decode.pipe import is_pipe

    inputs = (*parsed.openface_inputs, *parsed.inputs)
    if not inputs:
        raise UsageError(
            "nothing to run on: give a video, an image or a folder of images; `auflow run --help` has examples"
        )
    if parsed.resume and parsed.inline:
        raise UsageError("--resume and --inline do not go together: checkpoints are made by the separate processes")
    if parsed.resume and any(map(is_pipe, inputs)):
        raise UsageError("--resume: what came through a pipe is gone; write it to a file and run that")
    if parsed.metrics and parsed.inline:
        raise UsageError("--metrics and --inline do not go together: each process measures its own stage")
    if parsed.timeline is not None and parsed.inline:
        raise UsageError("--timeline and --inline do not go together: it shows how separate processes overlap")
    settings = _settings(parsed)
    require_formats(settings.formats)
    if parsed.images:
        from auflow.stages.decode import expand_pictures

        inputs = tuple(picture for path in inputs for picture in expand_pictures(path))
    if parsed.boxes is not None:
        from auflow.stages.decode.boxes import read_boxes

        for picture in inputs:
            read_boxes(parsed.boxes, picture)  # now, not in the middle of the run
    options = RunOptions(
        inputs=inputs,
        output_dir=parsed.output_dir,
        models_root=store.default_root(),
        settings=settings,
        inline=parsed.inline,
        resume=parsed.resume,
        jobs=parsed.jobs or min(len(inputs), _available_cpus()),
        quiet=parsed.quiet,
        metrics=parsed.metrics,
        summary=parsed.summary,
        timeline=parsed.timeline,
        began_s=began_s,
    )
    check_outputs(options)
    (store.require_ceclm if options.settings.model == "ceclm" else store.require)(options.models_root)
    _prepare_folder(options.output_dir, "-o")
    if options.summary is not None:
        _prepare_folder(options.summary.resolve().parent, "--summary")
    if options.timeline is not None:
        _prepare_folder(options.timeline.resolve().parent, "--timeline")
    return options


def _with_encoder(parsed: argparse.Namespace, options: RunOptions) -> tuple[RunOptions, list[str]]:
    """The options with the encoders that work here, and what is to be told of them; once, for all inputs."""
    if not options.settings.overlay:
        return options, []
    from auflow.stages.sink.encoders import choose_encoders

    choice = choose_encoders(parsed.overlay_encoder or "auto")
    settings = replace(options.settings, overlay_encoders=choice.encoders)
    return replace(options, settings=settings), [choice.note]


def _with_backends(parsed: argparse.Namespace, options: RunOptions) -> tuple[RunOptions, Sequence[str]]:
    """The options with the backend of each stage and what the profile says, and what is to be told of them."""
    from auflow.profiles.applying import resolve
    from auflow.profiles.store import load_profile

    several = parsed.jobs is None and not options.inline and len(options.inputs) > 1
    asked = {"tracking": parsed.tracking is not None, "cen_precision": parsed.cen_precision != "auto"}
    given = [name for name, is_given in asked.items() if is_given]
    applied = resolve(options.settings, parsed.backend, load_profile(parsed.profile), given=given, jobs=several)
    jobs = options.jobs if applied.jobs is None else min(applied.jobs, len(options.inputs))
    return replace(options, settings=applied.settings, jobs=jobs), applied.notes


def _without_finished(options: RunOptions, reporter: Reporter) -> RunOptions:
    """The run without the inputs whose results are there."""
    from auflow.options import output_path
    from auflow.stages.sink.finished import is_finished
    from auflow.stages.sink.paths import table_path

    left = []
    for path in options.inputs:
        output = output_path(options, path)
        if is_finished(output, options.settings):
            first = table_path(output, options.settings.formats[0])
            reporter.note(f"{path}: {first} is there already")
        else:
            left.append(path)
    return replace(options, inputs=tuple(left), jobs=max(1, min(options.jobs, len(left))))


def _settings(parsed: argparse.Namespace) -> StageSettings:
    if parsed.overlay_encoder is not None and not parsed.overlay:
        raise UsageError("--overlay-encoder is for the annotated video: add --overlay")
    wanted = {*(parsed.columns or ()), *(parsed.switches or ())}
    return StageSettings(
        **face_settings(parsed),
        precision=parsed.precision,
        formats=parsed.formats,
        columns=tuple(group for group in COLUMN_CHOICES if group in wanted) or COLUMN_CHOICES,
        overlay=parsed.overlay,
        hog=parsed.hog,
        aligned=parsed.aligned,
    )


def _available_cpus() -> int:
    # Not the machine's: a container or batch job may have been given fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prepare_folder(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only writing tells: permission bits know nothing of read-only or full file systems.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise OutputError(
            f"{folder}: no file can be written in this folder: {error.strerror}; choose another one with {option}"
        ) from error
