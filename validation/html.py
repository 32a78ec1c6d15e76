"""The report as one HTML file that needs nothing else: tables, plots, worst frames with their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import auflow
from auflow.stages.records import AU_PRESENCES
from auflow.stages.sink.au_names import AU_NAMES
from auflow.validation import figures, worst
from auflow.validation.budgets import Verdict
from auflow.validation.comparison import LANDMARKS, Comparison, Match
from auflow.validation.pictures import Crop, cut_faces, picture_svg
from auflow.validation.style import CSS
from auflow.validation.text import Sheet, au_sheet, group_sheet, headline
from auflow.validation.worst import WorstFrame

__all__ = ["build_page"]

WORST_FRAMES = 6
# A page with the curves of more faces is too long to read; their figures are in the tables.
MOST_FACES = 6


def build_page(rows: Match, result: Comparison, verdict: Verdict, *, clip: Path | None = None) -> str:
    """The whole report; decodes `clip` for the pictures of the worst frames.

    Raises
    ------
    InputError
        The clip cannot be opened or decoded.
    """
    by_landmarks = worst.worst_frames(rows, WORST_FRAMES)
    by_aus = worst.worst_by_aus(rows, WORST_FRAMES)
    crops = cut_faces(clip, [*by_landmarks, *by_aus]) if clip is not None else {}
    title = f"{rows.ours.path.name} against {rows.reference.path.name}"
    parts = [
        *_head(rows, result, title),
        _verdict(verdict),
        _tiles(result),
        *_gaps(rows),
        *_tables(result),
        *_landmarks(rows),
        *_worst("Worst frames by landmarks", by_landmarks, crops, clip),
        *_aus(rows, result),
        *_worst("Worst frames by Action Units", by_aus, crops, clip),
        _floor(verdict),
        DEFINITIONS.format(match=MATCHES[rows.by]),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


DEFINITIONS = """<h2>How it is counted</h2>
<div class="note"><p>Rows are matched by frame and face{match}. Values count on the rows where the reference has
success 1; success itself is compared on all rows of the reference. A row or value that is missing in ours lowers the
coverage and never agrees. Landmark errors are distances of points, all others absolute differences of values.</p>
<p>r: Pearson's correlation; of two constant series 1, of a constant and a moving one 0. CCC: Lin's concordance, lowered
also by a shift or another scale. ICC(3,1): consistency of single ratings, not lowered by a shift. MAE: mean absolute
difference, of intensities from 0 to 5. Presence: share of rows that agree. F1: of presence, the reference taken as
truth; 1 where neither has the AU.</p></div>"""

MATCHES = {"id": "", "overlap": " (the same place, whatever its number)"}


def _head(rows: Match, result: Comparison, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield (
        f'<p class="files"><span class="reference">reference</span> {escape(str(rows.reference.path))}<br>'
        f'<span class="ours">ours</span> {escape(str(rows.ours.path))}</p>'
    )
    yield f'<p class="faint wide">{escape(headline(result))}. auflow {escape(auflow.__version__)}.</p>'


def _verdict(verdict: Verdict) -> str:
    if not verdict.asked:
        return ""
    lines = [escape(line) for line in verdict.missed]
    if verdict.held:
        count = len(verdict.held)
        lines.append(f"{count - verdict.short} of {count} figures hold at {verdict.factor:g} times the noise floor")
    word = "Everything asked for is met." if verdict.good else "Not everything asked for is met."
    points = "".join(f"<li>{line}</li>" for line in lines)
    return f'<div class="verdict {"good" if verdict.good else "bad"}"><b>{word}</b><ul>{points}</ul></div>'


def _tiles(result: Comparison) -> str:
    tiles = [("rows found", f"{result.row_coverage:.2%}"), ("success agrees", f"{result.success_agreement:.2%}")]
    landmarks = result.groups.get(LANDMARKS.key)
    if landmarks is not None and landmarks.mean is not None:
        tiles.append(("2-D landmarks, mean", f"{landmarks.mean:.3g} px"))
    if result.intensities:
        name, lowest = min(result.intensities.items(), key=lambda item: item[1].r)
        mean = np.mean([au.r for au in result.intensities.values()])
        tiles += [("AU intensity, mean r", f"{mean:.4f}"), (f"lowest r, {name[:4]}", f"{lowest.r:.4f}")]
    if result.presences:
        tiles.append(("AU presence agrees", f"{np.mean([p.agreement for p in result.presences.values()]):.2%}"))
    cells = "".join(f'<div class="tile"><b>{value}</b><span class="faint">{name}</span></div>' for name, value in tiles)
    return f'<div class="tiles">{cells}</div>'


def _gaps(rows: Match) -> Iterator[str]:
    missing, differs = worst.missing_rows(rows), worst.success_differs(rows)
    if missing:
        yield f"<p>{len(missing)} rows of the reference are missing in ours: frames {worst.ranges(missing)}.</p>"
    if differs:
        yield f"<p>Success differs in {len(differs)} rows: frames {worst.ranges(differs)}.</p>"


def _tables(result: Comparison) -> Iterator[str]:
    for title, sheet in (("Absolute error by column group", group_sheet(result)), ("Action Units", au_sheet(result))):
        if sheet.rows:
            yield f"<h2>{title}</h2>"
            yield _table(sheet)


def _table(sheet: Sheet, short: Sequence[bool] = ()) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in sheet.head)
    lines = []
    for place, (name, *cells) in enumerate(sheet.rows):
        label = f"{name} {AU_NAMES[name]}" if name in AU_NAMES else name
        mark = ' class="short"' if short and short[place] else ""
        figures_ = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr{mark}><td>{escape(label)}</td>{figures_}</tr>")
    return (
        f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _landmarks(rows: Match) -> Iterator[str]:
    distance = worst.landmark_errors(rows)
    if distance is None or not np.isfinite(distance).any():
        return
    yield "<h2>2-D landmarks over time</h2>"
    for face, chosen in _faces(rows):
        time, label = _time(rows, chosen)
        usable = chosen & np.isfinite(distance).all(axis=1)
        missing = rows.our_rows[chosen] < 0
        plot = figures.landmark_figure(time, distance[chosen], rows.success[chosen], missing, time_label=label)
        picture, where = "", ""
        if usable.any():
            by_point = distance[usable].mean(axis=0)
            picture = figures.landmark_map(_mean_shape(rows, usable), by_point)
            most = ", ".join(f"{by_point[k]:.3g} px at landmark {k}" for k in np.argsort(-by_point)[:3])
            where = f"<figcaption>Right: where on the face, by the area of the discs; most {most}.</figcaption>"
        yield (
            f'<figure class="card">{_face_title(rows, face)}'
            f'<div class="pair"><div>{plot}</div><div>{picture}</div></div>{where}</figure>'
        )


def _mean_shape(rows: Match, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The reference's landmarks, each frame centred and scaled to unit size, averaged: (68, 2)."""
    points = rows.columns(LANDMARKS.names)[0][chosen].reshape(-1, 2, 68)
    points = points - points.mean(axis=2, keepdims=True)
    points /= np.maximum(points.std(axis=(1, 2), keepdims=True), 1e-9)
    shape: NDArray[np.float64] = points.mean(axis=0).T
    return shape


def _faces(rows: Match) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The faces in the reference and their rows, (n,) each."""
    faces = np.array([face for face, _ in rows.keys])
    for face in np.unique(faces)[:MOST_FACES]:
        yield int(face), faces == face


def _face_title(rows: Match, face: int) -> str:
    return f"<h3>Face {face}</h3>" if len({key[0] for key in rows.keys}) > 1 else ""


def _time(rows: Match, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], str]:
    time = rows.column("timestamp")[0][chosen]
    if np.isfinite(time).all() and (len(time) < 2 or np.diff(time).min() > 0):
        return time, "seconds"
    return np.array([frame for _, frame in rows.keys], dtype=np.float64)[chosen], "frame"


def _aus(rows: Match, result: Comparison) -> Iterator[str]:
    if not result.intensities and not result.presences:
        return
    yield "<h2>Action Units over time</h2>"
    yield (
        '<p class="faint">Wide line: <span class="reference">reference</span>; thin line on it: '
        '<span class="ours">ours</span>. Bands below: where each has the AU as present. Right: ours over the '
        "reference, equal values on the line.</p>"
    )
    several = len({face for face, _ in rows.keys}) > 1
    for place, (face, chosen) in enumerate(_faces(rows)):
        cards = "".join(_au_card(rows, result, au, chosen) for au in AU_PRESENCES)
        state = " open" if place == 0 else ""
        yield f"<details{state}><summary>Face {face}</summary>{cards}</details>" if several else cards
    if len({face for face, _ in rows.keys}) > MOST_FACES:
        yield f'<p class="faint">Only the first {MOST_FACES} faces are drawn.</p>'


def _au_card(rows: Match, result: Comparison, au: str, chosen: NDArray[np.bool_]) -> str:
    intensity, presence = result.intensities.get(f"{au}_r"), result.presences.get(f"{au}_c")
    if intensity is None and presence is None:
        return ""
    facts = []
    if intensity is not None:
        facts.append(f"r {intensity.r:.4f}")
        if intensity.max is not None and intensity.worst is not None:
            facts.append(f"largest difference {intensity.max:.3f} at frame {intensity.worst[1]}")
    if presence is not None:
        facts.append(f"presence agrees in {presence.agreement:.2%}")
    time, label = _time(rows, chosen)
    plot = figures.au_figure(
        time,
        _shown(rows, f"{au}_r", chosen) if intensity is not None else None,
        _shown(rows, f"{au}_c", chosen) if presence is not None else None,
        time_label=label,
        label=f"{au}, reference and ours over time",
    )
    words = "".join(f'<span class="faint">{fact}</span>' for fact in facts)
    return f'<figure class="card"><div class="au"><h3>{au} {AU_NAMES[au]}</h3>{words}</div>{plot}</figure>'


def _shown(rows: Match, name: str, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reference and ours of one column, NaN where values do not count."""
    reference, ours = (np.where(rows.success, column, np.nan)[chosen] for column in rows.column(name))
    return reference, ours


def _worst(title: str, found: list[WorstFrame], crops: dict[tuple[int, int], Crop], clip: Path | None) -> Iterator[str]:
    if not found:
        return
    yield f"<h2>{title}</h2>"
    if clip is None:
        yield '<p class="faint">Give the clip with --video to see them.</p>'
    else:
        yield (
            '<p class="faint">Rings: <span class="reference">reference</span>; dots: <span class="ours">ours</span>. '
            f"Of neighbouring frames only the worst is listed. From {escape(clip.name)}.</p>"
        )
    if not any(face.key in crops for face in found):
        if clip is not None:
            yield "<p>The clip ends before these frames, or the landmarks lie beside it. Is it the right one?</p>"
        items = "".join(f"<li><b>{escape(_where(face))}</b>: {escape(_what(face))}</li>" for face in found)
        yield f'<div class="card"><ul>{items}</ul></div>'
        return
    cards = []
    for face in found:
        picture = picture_svg(crops[face.key], face) if face.key in crops else "<p>no picture of this frame</p>"
        caption = f"<b>{escape(_where(face))}</b>: {escape(_what(face))}"
        cards.append(f'<figure class="card">{picture}<figcaption>{caption}</figcaption></figure>')
    yield f'<div class="faces">{"".join(cards)}</div>'


def _where(face: WorstFrame) -> str:
    number, frame = face.key
    time = f", {face.timestamp_s:.2f} s" if np.isfinite(face.timestamp_s) else ""
    return f"frame {frame}{time}" + (f", face {number}" if number else "")


def _what(face: WorstFrame) -> str:
    facts = []
    if face.mean_px is not None:
        facts.append(f"landmarks {face.mean_px:.3g} px apart on average, {face.max_px:.3g} px at most")
    if face.au is not None:
        facts.append(f"{face.au} {face.au_reference:.2f} in the reference, {face.au_ours:.2f} in ours")
    return "; ".join(facts)


def _floor(verdict: Verdict) -> str:
    if not verdict.held:
        return ""
    ordered = sorted(verdict.held, key=lambda held: held.holds)
    lines = tuple((h.what, h.ours_text, f"{h.allowed:.5g}", "yes" if h.holds else "no") for h in ordered)
    sheet = Sheet("", ("figure", "ours", "allowed", "holds"), lines)
    table = _table(sheet, [not held.holds for held in ordered])
    note = f"Allowed: {verdict.factor:g} times what the reference program differs from itself, and a small slack."
    return f'<h2>Against the noise floor</h2><p class="faint">{note}</p>{table}'
