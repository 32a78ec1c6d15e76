"""`auflow bench`: the sub-parser and its handler. What measures is imported only when it is used."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.errors import OutputError, UsageError

if TYPE_CHECKING:
    from auflow.benchmarks.results import Result

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser", "run_bench"]

SECTIONS = ("kernels", "stages", "run")
WATCHED = ("run", "versus", "memory")  # sections that look at processes from outside

DESCRIPTION = """\
Measure auflow on this machine: its kernels one by one, the CPU time of its stages, and whole runs: speed, CPU time,
memory, time to the first AUs, latency, which process waits for which, and a model of more cores.

The results are tables here, JSON with --json, and in a checkout a file in benchmarks/results, with which later
results of the same machine, clip and options are compared. docs/benchmarks.md tells what each number means."""

EPILOG = """\
examples:
  auflow bench                                       the demo clip, about two minutes
  auflow bench interview.avi --cores 1,2 --inline    pinned to one core and to two; also all stages in one process
  auflow bench interview.avi --only run --jobs 4     four copies at once
  auflow bench interview.avi --size 1280x720         the same clip in another size
  auflow bench interview.avi --versus 'FeatureExtraction -f {clip} -out_dir {out}'
                                                     another program beside auflow, in turns
  auflow bench interview.avi --memory 10000          does memory grow over 10,000 frames?

exit codes: 0 measured, 1 memory grows, 2 wrong usage, 3 output cannot be written, 4 no model files, 5 a run failed"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add `bench`; its `handler` is a function of the namespace to the exit code."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed, memory and latency on this machine",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=run_bench)
    parser.add_argument("clips", metavar="CLIP", nargs="*", type=Path, help="video (default: the demo clip)")
    what = parser.add_argument_group("what to measure")
    what.add_argument("--only", metavar="SECTION[,SECTION]", type=_sections, help=f"some of {', '.join(SECTIONS)}")
    what.add_argument("--quick", action="store_true", help="once and coarsely; not kept in the history")
    what.add_argument("--repeat", metavar="N", type=_positive, help="runs of each kind (default: 3)")
    what.add_argument("--size", metavar="WxH", type=_size, help="scale the clips to this size first")
    what.add_argument(
        "--versus", metavar="COMMAND", help="time another program beside auflow on {clip}, its results in {out};"
        " instead of the sections unless --only names some",
    )  # fmt: skip
    what.add_argument(
        "--memory", metavar="N", type=_positive, help="watch memory over N frames; exit code 1 when it grows; instead"
        " of the sections unless --only names some",
    )  # fmt: skip
    how = parser.add_argument_group("how whole runs are done")
    how.add_argument("--cores", metavar="N[,N]", type=_numbers, default=(), help="pinned to the first N cores")
    how.add_argument("--jobs", metavar="N[,N]", type=_numbers, default=(), help="also N copies of the clip at once")
    how.add_argument("--inline", action="store_true", help="also with all stages in one process")
    how.add_argument(
        "--run-options",
        metavar="WORDS",
        default="",
        help="more options for `auflow run`, such as --run-options=--multi-face",
    )
    kept = parser.add_argument_group("where results go")
    kept.add_argument("--json", metavar="FILE", type=Path, help="write the results to FILE as well")
    history = kept.add_mutually_exclusive_group()
    history.add_argument("--results", metavar="DIR", type=Path, help="the history (default: benchmarks/results)")
    history.add_argument(
        "--no-history", action="store_true", help="neither compare with earlier results nor keep these"
    )
    return parser


def _sections(text: str) -> tuple[str, ...]:
    wanted = [word.strip() for word in text.split(",")]
    unknown = [word for word in wanted if word not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(SECTIONS)}, got {unknown[0]!r}")
    return tuple(section for section in SECTIONS if section in wanted)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({_positive(word.strip()) for word in text.split(",")}))


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(width, height) < 16 or width % 2 or height % 2:
        raise argparse.ArgumentTypeError(f"expected even numbers of pixels from 16, such as 1280x720, got {text!r}")
    return width, height


def run_bench(args: argparse.Namespace) -> int:
    """Measure, show, keep. Exit code 1 where memory grows."""
    from auflow.kernel_cache import place_kernel_cache
    from auflow.threads import pin_threads

    pin_threads()  # before anything below imports NumPy
    warning = place_kernel_cache()
    from auflow.benchmarks import clips, machine, results
    from auflow.models import store

    sections = _wanted(args)
    paths = args.clips or [clips.default_clip()]
    store.require(store.default_root())
    found = machine.describe()
    _warn(warning)
    _warn(machine.busy_warning(found["others_before"], "just now"))
    folder = None if args.no_history else args.results or results.default_folder()
    done = [_bench_clip(args, path, sections, found, folder) for path in paths]
    if args.json is not None:
        results.write(done[0] if len(done) == 1 else done, args.json)
    grows = any(not check["holds"] for result in done for check in result.sections.get("memory", ()))
    return 1 if grows else 0


def _wanted(args: argparse.Namespace) -> tuple[str, ...]:
    """The sections to be measured; what cannot be done is refused before anything is."""
    extra = tuple(name for name in ("versus", "memory") if getattr(args, name) is not None)
    sections = (args.only or (() if extra else SECTIONS)) + extra
    if any(section in WATCHED for section in sections) and not Path("/proc/self/stat").exists():
        raise UsageError("whole runs are watched through /proc, which only Linux has: --only kernels,stages works here")
    try:
        shlex.split(args.run_options)
    except ValueError as error:
        raise UsageError(f"--run-options {args.run_options!r}: {error}; check its quotes") from error
    if args.versus is not None:
        from auflow.benchmarks.versus import parse

        parse(args.versus)
    from auflow.benchmarks.runs import plans

    plans(inline=False, cores=args.cores, jobs=(), no_cache=False)
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise OutputError(f"{args.json}: there is no folder {args.json.resolve().parent}; make it first")
    return sections


def _bench_clip(
    args: argparse.Namespace, path: Path, sections: Sequence[str], machine_found: dict[str, Any], folder: Path | None
) -> Result:
    from datetime import UTC, datetime

    import auflow
    from auflow.benchmarks import machine, results
    from auflow.benchmarks.clips import describe
    from auflow.benchmarks.sections import Bench

    others = machine.OthersWatch()
    with _sized(path, args.size) as clip:
        described = describe(clip)
        _print(f"\n{described.name}: {described.width_px}x{described.height_px}, {described.frames or '?'} frames")
        bench = Bench.from_arguments(args, clip, say=_say, show=_print)
        for section in sections:
            _say(section)
            bench.measure(section)
    found = machine_found | {"others_meanwhile": others.share()}
    _warn(machine.busy_warning(found["others_meanwhile"], "meanwhile"))
    result = results.Result(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=auflow.__version__,
        commit=machine.commit(),
        machine=found,
        clip=described,
        options={"run_options": args.run_options},
        figures=tuple(bench.figures),
        sections=bench.sections,
    )
    if folder is not None:
        _compare_and_keep(result, folder, keep=not args.quick)
    return result


@contextmanager
def _sized(path: Path, size: tuple[int, int] | None) -> Iterator[Path]:
    if size is None:
        yield path
        return
    from auflow.benchmarks.clips import resized

    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder:
        yield resized(path, *size, Path(folder))


def _compare_and_keep(result: Result, folder: Path, *, keep: bool) -> None:
    from auflow.benchmarks import results

    table = results.comparison(result.figures, *results.baseline(result, folder))
    if table is not None:
        _print(f"\n{table.text()}")
    if keep:
        _print(f"\nkept as {results.save(result, folder)}")


def _warn(text: str | None) -> None:
    if text:
        _say(f"warning: {text}")


def _say(text: str) -> None:
    sys.stderr.write(f"auflow bench: {text}\n")
    sys.stderr.flush()


def _print(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough; the results are still kept, and Python must not try to flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
