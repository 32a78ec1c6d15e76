"""The page: what matters first, then the plots, the worst frames, and where it all comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import auflow
from auflow.plots.html import page, plots_section
from auflow.plots.series import Series
from auflow.stages.sink.au_names import AU_NAMES
from auflow.stages.sink.provenance import models_digest
from auflow.video_report.origin import Origin
from auflow.video_report.summary import AuSummary, Summary, notes_on, summarise
from auflow.video_report.worst import Stretch, WorstFrame

__all__ = ["Pictures", "report_page"]

PARTS = ("heatmap", "intensities", "pose", "gaze")


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the page shows of the video."""

    video: str  # its name; "" for none
    by_frame: Mapping[int, str]  # inline SVG
    why_not: str  # there are none, or not of all


def report_page(
    table: Path,
    series: Series,
    origin: Origin,
    worst: Sequence[WorstFrame],
    lost: Sequence[Stretch],
    pictures: Pictures,
) -> str:
    """The whole page."""
    summary = summarise(series)
    parts = [
        f"<h1>{escape(series.name)}</h1>",
        f'<p class="faint">{escape(_subtitle(table, series))}</p>',
        _tiles(summary),
        _notes(notes_on(summary, static=origin.static, faces=len(series.faces))),
        "<h2>Over time</h2>",
        plots_section(series, PARTS),
        *_aus(summary),
        *_worst(worst, lost, pictures),
        *_origin(origin),
    ]
    return page(f"{series.name}: report", parts)


def _subtitle(table: Path, series: Series) -> str:
    face = f", face {series.face} of {len(series.faces)}" if len(series.faces) > 1 else ""
    return f"Report on {table.name}{face}, made with auflow {auflow.__version__}."


def _tiles(summary: Summary) -> str:
    tiles = [
        (f"{summary.frames:,}", "frames"),
        (_duration(summary.duration_s), "duration"),
        (_number(summary.fps, 1), "frames a second"),
        (f"{summary.tracked / summary.frames:.1%}", "with a face"),
        (_number(summary.confidence, 2), "mean confidence"),
        (_share(summary.far), "head turned far"),
    ]
    cells = "".join(f'<div class="tile"><b>{value}</b><span class="faint">{name}</span></div>' for value, name in tiles)
    return f'<div class="tiles">{cells}</div>'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return '<p class="faint">Nothing stands out that would speak against using these values.</p>'
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes" aria-label="What to know before using these values">{items}</ul>'


def _aus(summary: Summary) -> Iterator[str]:
    if not summary.aus:
        return
    head = "".join(f"<th>{name}</th>" for name in ("Action Unit", "mean", "largest", "at frame", "time present", ""))
    rows = "".join(_au_row(au, of_au) for au, of_au in summary.aus.items())
    yield "<h2>Action Units</h2>"
    yield '<p class="faint">Over the frames with a face. Intensities from 0 to 5.</p>'
    yield f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _au_row(au: str, of_au: AuSummary) -> str:
    frame = "-" if of_au.at_frame is None else f"{of_au.at_frame}"
    meter = ""
    if of_au.present is not None:
        meter = f'<span class="meter"><i style="width:{100 * of_au.present:.0f}%"></i></span>'
    cells = (_number(of_au.mean, 2), _number(of_au.largest, 2), frame, _share(of_au.present), meter)
    return f"<tr><td>{au} {AU_NAMES[au]}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _worst(worst: Sequence[WorstFrame], lost: Sequence[Stretch], pictures: Pictures) -> Iterator[str]:
    yield "<h2>Frames to look at</h2>"
    if pictures.why_not:
        yield f'<p class="faint">{escape(pictures.why_not)}</p>'
    cards = "".join(_card(frame, pictures) for frame in worst)
    yield f'<div class="faces">{cards}</div>' if cards else '<p class="faint">No frame has a face.</p>'
    if lost:
        items = "".join(f"<li>{_stretch(each)}</li>" for each in lost)
        yield f'<div class="card"><b>Longest stretches without a face</b><ul>{items}</ul></div>'


def _card(frame: WorstFrame, pictures: Pictures) -> str:
    time = f", {frame.time_s:.2f} s" if frame.time_s is not None else ""
    picture = pictures.by_frame.get(frame.frame, "")
    return (
        f'<figure class="card">{picture}<figcaption><b>frame {frame.frame}{time}</b><br>'
        f'<span class="faint">{escape(frame.why)}</span></figcaption></figure>'
    )


def _stretch(stretch: Stretch) -> str:
    if stretch.rows == 1:
        text = f"frame {stretch.first}"
    else:
        text = f"frames {stretch.first} to {stretch.last}, {stretch.rows} in all"
    return text + (f", from {stretch.from_s:.2f} s" if stretch.from_s is not None else "")


def _origin(origin: Origin) -> Iterator[str]:
    yield "<h2>Where it comes from</h2>"
    if origin.source:
        yield f'<p class="faint">From {escape(origin.source)}.</p>'
        yield _facts(origin.facts)
        yield f"<details><summary>Settings</summary>{_facts(origin.settings)}</details>"
    else:
        yield (
            '<p class="faint">A CSV of OpenFace\'s form does not say how it was made. Give the summary of the run '
            "(auflow run --summary, then --summary here), or write Parquet (auflow run --format csv,parquet).</p>"
        )
    yield _facts({"this page": f"auflow {auflow.__version__}", "its model files": f"SHA-256 {models_digest()}"})


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f'<div class="card scroll"><table class="facts"><tbody>{rows}</tbody></table></div>'


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(seconds, 60)
    return f"{rest:.1f} s" if not minutes else f"{minutes:.0f} min {rest:02.0f} s"
