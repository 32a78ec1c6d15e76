"""The drawn figure, and `auflow plot` around it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from auflow.cli import main
from auflow.errors import OutputError, UsageError
from auflow.plots.command import ALL
from auflow.plots.drawing import draw
from auflow.plots.series import read_series
from auflow.tests.plots.kit import SMALL, picture_of, write_table

VIRIDIS_LOW = (84, 1, 68)  # BGR of intensity 0


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.csv").write_text(SMALL)
    return tmp_path / "small.csv"


def test_demo_figures_are_drawn(demo_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(read_series(demo_dir / "std.csv"), tmp_path / "a.png", ("intensities",))
    picture = picture_of(tmp_path / "a.png")
    assert picture.shape[1] == 1650
    coloured = np.ptp(picture, axis=2) > 40
    # Every one of the 18 rows shows its name in colour.
    assert np.count_nonzero(np.diff(coloured[:, :200].any(axis=1).astype(int)) == 1) >= 18


def test_the_heat_map_has_the_colours_of_the_values(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = write_table(tmp_path / "t.csv", AU01_r=[0.0] * 50 + [5.0] * 50, AU12_r=[0.0] * 100)
    draw(read_series(path), tmp_path / "a.png", ("heatmap",))
    picture = picture_of(tmp_path / "a.png")
    yellow = (np.abs(picture - (37, 231, 253)) < 12).all(axis=2)
    purple = (np.abs(picture - VIRIDIS_LOW) < 12).all(axis=2)
    rows = np.flatnonzero(yellow.sum(axis=1) > 300)  # of AU01: yellow on the right, purple on the left
    columns = np.flatnonzero(yellow[rows[0]])
    assert 0.4 < (columns[0] - 0.215 * 1650) / (0.71 * 1650) < 0.6
    assert purple[rows[0]].sum() > 300
    assert purple[rows[-1] + 20].sum() > 1000  # AU12


@pytest.mark.parametrize("what", [*((part,) for part in ALL), ALL])
@pytest.mark.parametrize("rows", [1, 2, 5000])
def test_every_part_is_drawn_for_short_and_long_tables(tmp_path: Path, what: tuple[str, ...], rows: int) -> None:
    pytest.importorskip("matplotlib")
    wave = np.sin(np.arange(rows) / 7)
    poses = dict.fromkeys(("pose_Rx", "pose_Ry", "pose_Rz", "pose_Tx", "pose_Ty", "pose_Tz"), wave)
    gaze = {"gaze_angle_x": wave, "gaze_angle_y": wave}
    away = (np.arange(rows) % 3 > 0).astype(int)
    path = write_table(tmp_path / "t.csv", success=away, AU01_r=2 + wave, AU28_c=away, **poses, **gaze)
    draw(read_series(path), tmp_path / "a.png", what)
    assert np.ptp(picture_of(tmp_path / "a.png")) > 200


def test_formats_by_the_ending(small: Path) -> None:
    pytest.importorskip("matplotlib")
    for ending, start in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")):
        assert main(["plot", str(small), "-o", str(small.with_suffix(ending))]) == 0
        assert small.with_suffix(ending).read_bytes().startswith(start)


def test_without_a_name_it_lies_beside_the_table(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["plot", str(small), "--face", "1"]) == 0
    assert capsys.readouterr().out == f"{small.with_suffix('.png')}\n"


@pytest.mark.parametrize(("output", "message"), [("gone/a.png", "No such file"), ("a.nonsense", "nonsense")])
def test_output_that_cannot_be_written(small: Path, output: str, message: str) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(OutputError, match=message):
        draw(read_series(small), small.parent / output, ALL)


def test_a_part_that_the_table_does_not_have(small: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError, match="no columns for gaze"):
        draw(read_series(small), small.with_suffix(".png"), ("gaze",))


def test_without_matplotlib_it_says_what_to_install(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'auflow\[plot\]'"):
        draw(read_series(small), small.with_suffix(".png"), ALL)
    assert main(["plot", str(small), "-o", str(small.with_suffix(".html"))]) == 0  # which needs none


def test_parts_that_are_none_are_refused(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plot", str(small), "--what", "pose,noses"])
    assert "expected all or some of heatmap, intensities, pose, gaze, got 'noses'" in capsys.readouterr().err


def test_presence_without_a_face_is_not_shaded(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    none, some = np.zeros(200), np.ones(200)
    shaded = []
    for name, success in (("none", none), ("some", some)):
        path = write_table(tmp_path / f"{name}.csv", success=success, AU28_c=some)
        draw(read_series(path), tmp_path / "a.png", ("intensities",))
        panel = picture_of(tmp_path / "a.png")[165:195, 400:1500]  # below the caption
        shaded.append(np.mean(np.ptp(panel, axis=2) > 10))
    assert shaded == [0.0, 1.0]


@pytest.mark.parametrize("rows", [1000, 100_000])
def test_the_caption_fits_on_the_figure(tmp_path: Path, rows: int) -> None:
    pytest.importorskip("matplotlib")
    draw(read_series(write_table(tmp_path / "t.csv", AU01_r=np.ones(rows))), tmp_path / "a.png", ("heatmap",))
    assert (picture_of(tmp_path / "a.png")[:150, -20:] > 250).all()


@pytest.mark.parametrize("ending", [".png", ".html"])
def test_a_table_that_cannot_be_read_leaves_no_picture(small: Path, ending: str) -> None:
    small.write_text(SMALL.replace("2.5", "abc"))
    assert main(["plot", str(small), "-o", str(small.with_suffix(ending))]) == 2
    assert [path.name for path in small.parent.iterdir()] == ["small.csv"]
