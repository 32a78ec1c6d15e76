"""The HTML report: complete, of one piece, and what it says where something is missing."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow import cli
from auflow.validation.figures import BINS, _spans, _thin

from .conftest import POINTS, Columns

VOID = {"meta", "path", "rect", "circle", "image", "use", "br"}


class Outline(HTMLParser):
    """Checks that every tag is closed, and keeps all attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder of 40 pictures, each of its own gray."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for k in range(40):
        cv2.imwrite(str(folder / f"{k:03d}.png"), np.full((300, 320, 3), 5 * k, np.uint8))
    return folder


AUS = ("AU09_r", "AU09_c", "AU12_r", "AU12_c", "AU28_c")


@pytest.fixture
def columns(columns: Columns) -> Columns:
    """Three AUs are enough: drawing all of them takes a second and a half."""
    return {name: values for name, values in columns.items() if name[:2] != "AU" or name in AUS}


@pytest.fixture
def pair(columns: Columns, write) -> tuple[str, str]:
    ours = columns | {"x_3": columns["x_3"].copy(), "AU09_r": columns["AU09_r"].copy()}
    ours["x_3"][10] += 30
    ours["AU09_r"][20] += 2
    ours = {name: values[:39] for name, values in ours.items()}
    return str(write("the <reference> & co.csv", columns)), str(write("ours.csv", ours))


def report(pair: tuple[str, str], folder: Path, *options: str) -> str:
    pytest.importorskip("matplotlib")
    assert cli.main(["validate", *pair, "--html", str(folder / "report.html"), *options]) in (0, 1)
    return (folder / "report.html").read_text()


def test_page_needs_no_other_host(pair, tmp_path: Path, clip: Path) -> None:
    page = report(pair, tmp_path, "--video", str(clip))
    assert "http" not in page
    outline = Outline(page)
    assert outline.open == []
    for tag, name, value in outline.attributes:
        if name in ("href", "src", "xlink:href", "srcset", "data", "action"):
            assert value.startswith(("#", "data:image/")), (tag, name, value[:60])
        assert not re.search(r"url\((?!#)", value), (tag, name, value[:60])
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", page)
    assert {tag for tag, *_ in outline.attributes} >= {"svg", "circle", "image"}


def test_page_has_what_was_asked(pair, tmp_path: Path, clip: Path) -> None:
    page = report(pair, tmp_path, "--video", str(clip), "--max-landmark-px", "0.001", "--min-success", "0.9")
    assert page.count("reference and ours over time") == 3
    assert "distance of the 2-D landmarks over time" in page
    assert "most 0.769 px at landmark 3" in page
    assert "1 rows of the reference are missing in ours: frames 40." in page
    assert "Not everything asked for is met." in page
    assert "--max-landmark-px 0.001: 2.5% of the 2-D landmarks are missing" in page
    assert "the &lt;reference&gt; &amp; co.csv" in page
    assert "<reference>" not in page
    assert "frame 11, 0.40 s" in page
    assert "AU09 " in page
    # Light and dark, with every colour of the plots from the page.
    assert "prefers-color-scheme: dark" in page
    assert "var(--reference)" in page
    assert "#0102" not in page


def test_pictures_are_those_of_the_worst_frames(pair, tmp_path: Path, clip: Path) -> None:
    import base64

    page = report(pair, tmp_path, "--video", str(clip))
    pictures = re.findall(r'<svg class="face".*?base64,([^"]+)".*?</svg>', page)
    grays = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in pictures]
    # By landmarks frame 11, by AUs frame 21: the gray tells which picture it is.
    assert [round(float(gray.mean()) / 5) for gray in grays] == [10, 20]
    first = re.search(r'<svg class="face".*?</svg>', page)
    assert first is not None
    assert (first[0].count('class="ring"'), first[0].count('class="dot"')) == (68, 68)


def test_landmarks_stand_where_they_are_in_the_picture(columns: Columns, write, tmp_path: Path) -> None:
    """A white pixel in the picture comes out under the ring drawn for it."""
    import base64

    x, y = 150, 120
    ours = columns | {name: columns[name].copy() for name in POINTS}
    ours["x_0"][0] += 3
    columns["x_30"][0], columns["y_30"][0] = x, y
    picture = np.zeros((300, 320, 3), np.uint8)
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    one = {name: values[:1] for name, values in columns.items()}
    pair = str(write("a.csv", one)), str(write("b.csv", {name: values[:1] for name, values in ours.items()}))
    page = report(pair, tmp_path, "--video", str(tmp_path / "one.png"))
    svg = re.search(r'<svg class="face".*?</svg>', page)
    assert svg is not None
    data = re.search(r"base64,([^\"]+)", svg[0])
    assert data is not None
    crop = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_GRAYSCALE)
    rings = re.findall(r'class="ring" cx="([\d.]+)" cy="([\d.]+)"', svg[0])
    rows, across = np.nonzero(crop > 128)
    # The middle of a pixel is half a pixel from its corner, where SVG counts from.
    assert [float(v) for v in rings[30]] == pytest.approx([across.mean() + 0.5, rows.mean() + 0.5], abs=0.06)


def test_clip_that_is_too_short(pair, tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    cv2.imwrite(str(tmp_path / "short/0.png"), np.zeros((300, 320, 3), np.uint8))
    assert "The clip ends before these frames" in report(pair, tmp_path, "--video", str(tmp_path / "short"))


def test_without_clip_the_frames_are_listed(pair, tmp_path: Path) -> None:
    page = report(pair, tmp_path)
    assert "Give the clip with --video" in page
    assert "<b>frame 11, 0.40 s</b>: landmarks 0.441 px apart" in page


def test_files_with_little_in_them(columns: Columns, write, tmp_path: Path) -> None:
    few = str(write("few.csv", {name: columns[name] for name in ("frame", "success", "AU12_r")}))
    assert "2-D landmarks over time" not in report((few, few), tmp_path)
    failed = str(write("failed.csv", columns | {"success": np.zeros(40)}))
    assert "Action Units over time" not in report((failed, failed), tmp_path)
    one = str(write("one.csv", {name: values[:1] for name, values in columns.items()}))
    assert "AU28" in report((one, one), tmp_path)


def test_several_faces_are_drawn_apart(columns: Columns, write, tmp_path: Path) -> None:
    both = {name: np.concatenate((values, values)) for name, values in columns.items()}
    both["face_id"] = np.repeat([0.0, 3.0], 40)
    path = str(write("both.csv", both))
    page = report((path, path), tmp_path)
    assert page.count("<details") == 2
    assert page.count("<h3>Face 3</h3>") == 1


def test_floor_in_the_report(pair, tmp_path: Path) -> None:
    floor = str(tmp_path / "floor.json")
    assert cli.main(["validate", pair[0], pair[0], "--json", floor]) == 0
    page = report(pair, tmp_path, "--floor", floor)
    assert "Against the noise floor" in page
    assert '<tr class="short"><td>row_coverage</td>' in page


def test_clip_that_cannot_be_read(pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["validate", *pair, "--html", str(tmp_path / "a.html"), "--video", str(tmp_path / "gone.mp4")]
    assert cli.main(arguments) == 2
    assert "gone.mp4: there is no such file" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(pair, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["validate", *pair, "--html", str(tmp_path / "a.html")]) == 2
    assert "pip install 'auflow[plot]'" in capsys.readouterr().err
    assert cli.main(["validate", *pair]) == 0


def test_long_curves_keep_their_extremes() -> None:
    time = np.arange(50_000.0)
    values = np.sin(time / 500)
    values[[12_345, 40_000]] = [9, -9]
    values[20_000:20_500] = np.nan
    short_time, short = _thin(time, values)
    assert len(short) <= 2 * BINS
    assert (np.nanmax(short), np.nanmin(short)) == (9, -9)
    assert short_time[np.nanargmax(short)] == 12_345
    assert np.isnan(short).any()  # the gap stays a gap
    assert (np.diff(short_time) > 0).all()


def test_spans() -> None:
    where = np.array([1, 1, 0, 1], bool)
    assert _spans(np.array([0.0, 1.0, 2.0, 3.0]), where) == [(-0.5, 1.5), (2.5, 3.5)]
    assert _spans(np.array([4.0]), np.array([True])) == [(3.5, 4.5)]
    assert _spans(np.arange(4.0), ~where & where) == []
