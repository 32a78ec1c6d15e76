"""`auflow plot`: its options and its handler."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from auflow.errors import OutputError

__all__ = ["ALL", "add_parser", "write_page"]

ALL = ("heatmap", "intensities", "pose", "gaze")

EPILOG = """\
examples:
  auflow plot interview.csv                         interview.png beside it: everything, below each other
  auflow plot interview.csv -o figures/aus.html     one page with values under the cursor and zoom, for any browser
  auflow plot interview.csv --what heatmap          all Action Units in one picture
  auflow plot interview.csv --what pose,gaze -o head.pdf
  auflow plot meeting.csv --face 2                  of several faces, this one

The ending decides the format: .png, .svg, .pdf and others that matplotlib knows (extra `plot`); .html needs nothing.
Reads CSVs of auflow and OpenFace, also .csv.gz, and auflow's Parquet.
exit codes: 0 drawn, 2 wrong usage or a file that cannot be read, 3 the picture cannot be written"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `plot` to the command line."""
    plot = commands.add_parser(
        "plot",
        help="draw Action Units, head pose and gaze of a CSV over time",
        description="Draw a table over time: a heat map of the Action Units, their intensities with presence shaded, "
        "head rotation and position, gaze and confidence.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plot.add_argument("csv", metavar="CSV", type=Path, help="a file that `auflow run` (or OpenFace) has written")
    plot.add_argument("-o", "--output", metavar="FILE", type=Path, help="default: the CSV's name with .png, beside it")
    plot.add_argument(
        "--what",
        metavar="PART[,PART]",
        type=_parts,
        default=ALL,
        help=f"all (default), or some of {', '.join(ALL)}",
    )
    plot.add_argument("--face", metavar="N", type=int, help="of several faces the one of this number (default: lowest)")
    plot.set_defaults(handler=_plot)


def _parts(text: str) -> tuple[str, ...]:
    wanted = [word.strip() for word in text.split(",")]
    if wanted == ["all"]:
        return ALL
    unknown = [word for word in wanted if word not in ALL]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected all or some of {', '.join(ALL)}, got {unknown[0]!r}")
    return tuple(part for part in ALL if part in wanted)


def _plot(parsed: argparse.Namespace) -> int:
    from auflow.plots.series import read_series

    output = parsed.output or _beside(parsed.csv)
    series = read_series(parsed.csv, parsed.face)
    if output.suffix.lower() in (".html", ".htm"):
        from auflow.plots.html import page, plots_section

        head = f"<h1>{_escaped(series.name)}</h1>"
        write_page(output, page(series.name, [head, plots_section(series, parsed.what)]))
    else:
        from auflow.plots.drawing import draw

        draw(series, output, parsed.what)
    sys.stdout.write(f"{output}\n")
    return 0


def _beside(csv: Path) -> Path:
    return csv.with_name(csv.name.removesuffix(".gz")).with_suffix(".png")


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def write_page(path: Path, text: str) -> None:
    """Write a page all at once.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # What is no UTF-8 in the name of a file is shown as a question mark.
        temporary.write_text(text, encoding="utf-8", errors="replace")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another place with -o") from error
