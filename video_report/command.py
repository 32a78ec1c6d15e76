"""`auflow report`: its options and its handler."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import AuflowError, InputError, OutputError, UsageError
from auflow.plots.command import write_page

if TYPE_CHECKING:
    from auflow.video_report.page import Pictures
    from auflow.video_report.worst import WorstFrame

__all__ = ["add_parser"]

EACH = 6  # frames by confidence, and as many by movement
STRETCHES = 8

EPILOG = """\
examples:
  auflow report interview.csv                          interview.report.html beside it; the video is looked for there
  auflow report results/*.csv -o reports               many: reports/NAME.report.html each
  auflow report interview.csv --video raw/interview.mp4 --summary run.json
  auflow report interview.parquet                      Parquet has its settings and versions inside

Each page is one file that needs nothing else: summary, what to be careful with, plots to look closer, the worst frames
with the landmarks drawn in, settings and versions. It shows faces: keep it where you keep the videos.
exit codes: 0 all written, 2 wrong usage or a file that cannot be read (the others are written), 3 cannot be written"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report` to the command line."""
    report = commands.add_parser(
        "report",
        help="one page about each video: summary, plots, worst frames, settings",
        description="Write one self-contained HTML page for each table: can its numbers be used, and where not?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument(
        "tables", metavar="CSV", nargs="+", type=Path, help="what `auflow run` has written: CSV, Parquet"
    )
    report.add_argument(
        "-o", "--output-dir", metavar="DIR", type=Path, help="where the pages go (default: beside each)"
    )
    report.add_argument("--video", metavar="FILE", type=Path, help="the video, for pictures of the worst frames")
    report.add_argument("--no-pictures", action="store_true", help="show no faces; the video is not opened")
    report.add_argument("--summary", metavar="JSON", type=Path, help="what `auflow run --summary` has written")
    report.add_argument("--face", metavar="N", type=int, help="of several faces the one of this number")
    report.set_defaults(handler=_report)


def _report(parsed: argparse.Namespace) -> int:
    if parsed.video is not None and len(parsed.tables) > 1:
        raise UsageError("--video goes with one table; videos of the same names are found beside the tables")
    if parsed.video is not None and not parsed.video.is_file():
        raise InputError(f"{parsed.video}: there is no such video")
    pages = [_page_path(table, parsed.output_dir) for table in parsed.tables]
    twice = next((page for page in pages if pages.count(page) > 1), None)
    if twice is not None:
        raise UsageError(f"two tables would both write {twice}; make their reports one at a time with different -o")
    if parsed.output_dir is not None:
        _make_folder(parsed.output_dir)
    code = 0
    for table, page in zip(parsed.tables, pages, strict=True):
        try:
            write_page(page, _page(table, parsed))
            sys.stdout.write(f"{page}\n")
        except AuflowError as error:
            if len(parsed.tables) == 1:
                raise
            sys.stderr.write(f"auflow: error: {error}\n")
            code = code or error.exit_code
    return code


def _page_path(table: Path, folder: Path | None) -> Path:
    stem = table.name.removesuffix(".gz").rpartition(".")[0] or table.name
    return (folder or table.parent) / f"{stem}.report.html"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another place with -o") from error


def _page(table: Path, parsed: argparse.Namespace) -> str:
    from auflow.plots.series import read_series
    from auflow.video_report.origin import origin_of
    from auflow.video_report.page import report_page
    from auflow.video_report.worst import lost_stretches, worst_frames

    series = read_series(table, parsed.face, landmarks=True)
    origin = origin_of(table, parsed.summary)
    worst = worst_frames(series, EACH)
    pictures = _pictures(table, parsed, worst)
    return report_page(table, series, origin, worst, lost_stretches(series, STRETCHES), pictures)


def _pictures(table: Path, parsed: argparse.Namespace, worst: list[WorstFrame]) -> Pictures:
    from auflow.video_report.page import Pictures
    from auflow.video_report.thumbnails import find_video, thumbnails

    if parsed.no_pictures:
        return Pictures("", {}, "Without pictures, as asked for.")
    video = parsed.video or find_video(table)
    if video is None:
        return Pictures("", {}, f"No video named {table.stem} lies beside the table: give it with --video to see them.")
    if all(frame.landmarks_px is None for frame in worst):
        return Pictures("", {}, "The table has no 2-D landmarks, so there is no telling where the faces are.")
    try:
        with _progress(video) as progress:
            found = thumbnails(video, worst, progress)
    except InputError as error:
        if parsed.video is not None:
            raise
        return Pictures(video.name, {}, f"No pictures: {error}")
    missing = len(worst) - len(found)
    why = f"From {video.name}."
    if missing:
        why += f" {missing} of the {len(worst)} frames have no picture there: is it the right video?"
    return Pictures(video.name, found, why)


@contextmanager
def _progress(video: Path) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal while the video is decoded, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _at, _of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"frames of {video.name}", total=None)
        yield lambda at, of: bar.update(task, completed=at, total=of)
