"""The picture of a CSV."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.errors import InputError, OutputError, UsageError
from auflow.plot import plot_csv, read_aus

SMALL = """frame, face_id, timestamp, success, AU01_r, AU12_r, AU01_c, AU28_c
1,  1,  0.0,  1, 0.5, 4.0, 0.00, 1.00
1,  0,  0.0,  1, 1.5, 2.0, 1.00, 0.00
2,  0,  0.1,  0, 0.0, 0.0, 0.00, 0.00
3,  0,  0.2,  1, 2.5, 1.0, 1.00, 0.00
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.csv").write_text(SMALL)
    return tmp_path / "small.csv"


def test_first_face_is_read(small: Path) -> None:
    series = read_aus(small)
    assert series.intensities["AU01"].tolist() == [1.5, 0.0, 2.5]
    assert series.presences["AU28"].tolist() == [False] * 3
    assert series.success.tolist() == [True, False, True]
    assert (series.time.tolist(), series.time_label) == ([0.0, 0.1, 0.2], "seconds")


def test_images_have_frames_for_time(small: Path) -> None:
    small.write_text(SMALL.replace("0.1,", "0.0,").replace("0.2,", "0.0,"))
    assert (read_aus(small).time.tolist(), read_aus(small).time_label) == ([1, 2, 3], "frame")


def test_demo_figures_are_drawn(demo_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plot_csv(demo_dir / "std.csv", tmp_path / "a.png") == tmp_path / "a.png"
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    assert picture.shape[1] == 1650
    coloured = np.ptp(picture.astype(int), axis=2) > 40
    # Every one of the 18 rows shows its name or curve in colour.
    assert np.count_nonzero(np.diff(coloured[:, :200].any(axis=1).astype(int)) == 1) >= 18


def test_single_row_is_drawn(small: Path) -> None:
    pytest.importorskip("matplotlib")
    small.write_text("\n".join(SMALL.splitlines()[:2]))
    assert plot_csv(small, small.with_suffix(".png")).stat().st_size > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "found no AU columns"),
        ("frame, x_0\n1, 2\n", "found no AU columns"),
        ("face, confidence, AU01_r\n0, 1, 2\n", "is of a single picture: there is no time"),
        (SMALL.splitlines()[0], "a header and no rows"),
        (SMALL.replace("2.5", "abc"), "not a CSV of numbers"),
        ("\udcff".encode("utf-8", "surrogateescape"), "not a CSV of numbers"),
    ],
)
def test_what_is_no_csv_is_named(tmp_path: Path, text: str | bytes | None, message: str) -> None:
    path = tmp_path / "a.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        plot_csv(path, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("output", "message"), [("gone/a.png", "No such file"), ("a.nonsense", "nonsense")])
def test_output_that_cannot_be_written(small: Path, output: str, message: str) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(OutputError, match=message):
        plot_csv(small, small.parent / output)


def test_without_matplotlib_it_says_what_to_install(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'auflow\[plot\]'"):
        plot_csv(small, small.with_suffix(".png"))
