"""`auflow report` from end to end."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.cli import main
from auflow.tests.plots.kit import write_table
from auflow.video_report.origin import origin_of


@pytest.fixture
def demo(demo_dir: Path, tmp_path: Path) -> Path:
    """The reference's table of the demo clip, under the clip's name, with the clip beside it."""
    shutil.copy(demo_dir / "full.csv", tmp_path / "astronaut.csv")
    shutil.copy(demo_dir / "astronaut.mp4", tmp_path / "astronaut.mp4")
    return tmp_path / "astronaut.csv"


def page_of(table: Path, *options: str) -> str:
    assert main(["report", str(table), *options]) == 0
    return table.with_name(f"{table.stem}.report.html").read_text()


def test_the_demo_clip(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = page_of(demo)
    assert capsys.readouterr().out == f"{demo.with_name('astronaut.report.html')}\n"
    assert "<b>150</b>" in page
    assert "100.0%" in page
    assert "From astronaut.mp4." in page
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) >= 6
    for each in pictures:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert 100 < max(picture.shape) <= 320
    assert len(page) < 1_000_000
    assert "does not say how it was made" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""", page)


def test_landmarks_lie_on_the_picture(demo: Path) -> None:
    for svg in re.findall(r'<svg viewBox="0 0 (\d+) (\d+)".*?</svg>', page_of(demo), re.DOTALL):
        width, height = map(int, svg)
        assert width > 0
        assert height > 0
    (box, circles) = re.findall(r'<svg viewBox="0 0 (\d+ \d+)"(.*?)</svg>', page_of(demo), re.DOTALL)[0]
    width, height = map(int, box.split())
    dots = np.array([[float(v) for v in dot] for dot in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', circles)])
    assert dots.shape == (68, 2)
    assert (dots > 0).all()
    assert (dots < (width, height)).all()


def test_without_the_video_the_frames_are_listed_with_the_reason(demo: Path) -> None:
    demo.with_name("astronaut.mp4").unlink()
    page = page_of(demo)
    assert "No video named astronaut lies beside the table" in page
    assert "data:image" not in page
    assert "confidence 0." in page or "confidence 1." in page


def test_no_pictures_when_they_are_not_wanted(demo: Path) -> None:
    page = page_of(demo, "--no-pictures")
    assert "data:image" not in page
    assert "as asked for" in page


def test_a_video_that_is_too_short_is_told(demo: Path, tmp_path: Path) -> None:
    from auflow.tests.decode.conftest import write_clip

    other = write_clip(tmp_path / "other.mp4", 5)
    assert "have no picture there: is it the right video?" in page_of(demo, "--video", str(other))


def test_a_damaged_video_beside_the_table_costs_its_pictures_only(demo: Path) -> None:
    demo.with_name("astronaut.mp4").write_bytes(b"nothing")
    assert "No pictures: " in page_of(demo)
    assert main(["report", str(demo), "--video", str(demo.with_name("astronaut.mp4"))]) == 2  # it was asked for


def test_the_summary_of_the_run_tells_settings(demo: Path, tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "version": "9.9",
        "options": {"model": "clnf", "au_static": True, "columns": ["pose", "aus"], "camera": None},
        "inputs": [
            {"path": "raw/<b>.mp4", "output": "x/astronaut.csv", "outputs": [], "state": "complete", "fps": 123.4,
             "latency_ms": {"p50": 8.0, "p99": 12.0}, "convergence": {"iterations_per_fit": 55.4}, "corrupt": 0,
             "coherence": {"detections": 34, "detections_per_frame": 0.0404, "reused_share": 0.1523}},
        ],
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(document))
    page = page_of(demo, "--summary", str(tmp_path / "run.json"))
    for text in (
        "auflow 9.9",
        "raw/&lt;b&gt;.mp4",
        "123 fps",
        "p50 8.0 ms",
        "55.4",
        "34, 0.04 a frame",
        "15.2 %",
        "pose, aus",
        "From the summary run.json",
    ):
        assert text in page, text
    assert "Intensities are relative" not in page  # static models


@pytest.mark.parametrize("identities", [False, True])
def test_persons_that_are_told_apart_have_the_dynamic_models(tmp_path: Path, identities: bool) -> None:
    options = {"faces": "all", "identities": identities}
    (tmp_path / "run.json").write_text(json.dumps({"options": options, "inputs": [{"output": "a.csv"}]}))
    assert origin_of(tmp_path / "a.csv", tmp_path / "run.json").static == (not identities)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "no JSON"),
        ("[]", "expected the summary of a run"),
        ('{"inputs": [{"output": "other.csv"}, 3]}', "says nothing of astronaut.csv"),
    ],
)
def test_a_summary_that_is_none(
    demo: Path, tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert main(["report", str(demo), "--summary", str(tmp_path / "run.json")]) == 2
    assert message in capsys.readouterr().err


def test_parquet_has_its_settings_inside(demo_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    run = ["run", str(demo_dir / "astronaut.mp4"), "--inline", "-q", "-o", str(tmp_path), "--format", "parquet"]
    assert main(run) == 0
    page = page_of(tmp_path / "astronaut.parquet", "--no-pictures")
    assert "From the Parquet file." in page
    assert "the numbers of OpenFace 2.2.0" in page
    assert "astronaut.mp4" in page
    assert "320 x 320 px" in page


def test_many_tables_and_one_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [write_table(tmp_path / f"{name}.csv", AU01_r=[1.0, 2.0]) for name in "ab"]
    (tmp_path / "c.csv").write_text("no table")
    out = tmp_path / "reports"
    assert main(["report", *map(str, tables), str(tmp_path / "c.csv"), "-o", str(out)]) == 2
    assert sorted(path.name for path in out.iterdir()) == ["a.report.html", "b.report.html"]
    assert "c.csv: found no AU columns" in capsys.readouterr().err


def test_what_does_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (write_table(tmp_path / folder / "t.csv", AU01_r=[1.0]) for folder in _folders(tmp_path))
    assert main(["report", str(one), str(two), "--video", str(one)]) == 2
    assert "--video goes with one table" in capsys.readouterr().err
    assert main(["report", str(one), str(two), "-o", str(tmp_path)]) == 2
    assert "would both write" in capsys.readouterr().err
    assert main(["report", str(one), "--video", str(tmp_path / "gone.mp4")]) == 2
    assert main(["report", str(one), "-o", str(one)]) == 3
    assert main(["report", str(one), "--face", "3"]) == 2
    assert "there is no face 3" in capsys.readouterr().err


def _folders(root: Path) -> list[Path]:
    folders = [root / "one", root / "two"]
    for folder in folders:
        folder.mkdir()
    return folders


def test_names_are_text(tmp_path: Path) -> None:
    path = write_table(tmp_path / "<img onerror=alert(1)>.csv", AU01_r=[1.0, 2.0])
    page = page_of(path)
    assert "<img" not in page
    assert "&lt;img onerror=alert(1)&gt;" in page
