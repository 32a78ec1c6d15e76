"""The page with the plots: what stands in it, and that it asks nothing of anybody."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auflow.cli import main
from auflow.plots.data import MOST_POINTS, packed, unpacked
from auflow.tests.plots.kit import write_table


def island_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def page_of(path: Path, *options: str) -> str:
    assert main(["plot", str(path), "-o", str(path.with_suffix(".html")), *options]) == 0
    return path.with_suffix(".html").read_text()


def test_the_page_has_the_values_of_the_table(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "t.csv",
        success=[1, 1, 0, 1],
        AU01_r=[0.0, 1.25, 4.0, 5.0],
        AU01_c=[0, 1, 1, 0],
        AU28_c=[0, 0, 0, 1],
        pose_Rx=[0.1, 0.2, 0.3, 0.4],
        pose_Ry=[0, 0, 0, 0],
        pose_Rz=[0, 0, 0, 0],
    )
    island = island_of(page_of(path))
    assert unpacked(island["time"]) == pytest.approx([0.0, 0.04, 0.08, 0.12])
    assert unpacked(island["frame"]).tolist() == [1, 2, 3, 4]
    inner, suck = island["aus"]
    assert (inner["au"], inner["name"], suck["au"]) == ("AU01", "inner brow raiser", "AU28")
    assert unpacked(inner["mean"]) == pytest.approx([0.0, 1.25, np.nan, 5.0], abs=1e-3, nan_ok=True)
    assert unpacked(inner["present"]).round(3).tolist() == [0, 1, 0, 0]  # no face: no presence
    assert "mean" not in suck
    assert [panel["title"] for panel in island["panels"]] == [
        "Confidence",
        "Action Units",
        "Action Units, one by one",
        "Head rotation",
    ]
    pitch = island["panels"][-1]["lines"][0]
    assert unpacked(pitch["mean"])[[0, 3]] == pytest.approx(np.degrees([0.1, 0.4]), abs=1e-2)
    assert island["rowsAPoint"] == 1


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", AU01_r=[1.0, 2.0])
    assert [p["kind"] for p in island_of(page_of(path, "--what", "heatmap"))["panels"]] == ["lines", "heatmap"]


def test_a_long_video_stays_small_and_keeps_its_peaks(tmp_path: Path) -> None:
    rows = 3 * MOST_POINTS + 1
    values = np.zeros(rows)
    values[5000] = 4.5
    page = page_of(write_table(tmp_path / "t.csv", AU01_r=values))
    island = island_of(page)
    (au,) = island["aus"]
    assert island["rowsAPoint"] == 4
    assert len(unpacked(island["time"])) == -(-rows // 4)
    assert unpacked(au["high"]).max() == pytest.approx(4.5)
    assert unpacked(au["mean"]).max() == pytest.approx(4.5 / 4, abs=1e-3)
    assert len(page) < 200_000


def test_names_are_text_and_nothing_comes_from_outside(tmp_path: Path) -> None:
    path = write_table(tmp_path / "<script>alert(1)<'script>&.csv", AU01_r=[1.0, 2.0])
    page = page_of(path)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")


def test_packing_is_exact_to_a_65534th_of_the_range() -> None:
    values = np.random.default_rng(3).normal(size=1000)
    values[::7] = np.nan
    low, step, data = packed(values)
    back = unpacked({"low": low, "step": step, "data": data})
    assert np.isnan(back).tolist() == np.isnan(values).tolist()
    known = np.isfinite(values)
    assert np.abs(back - values)[known].max() <= 0.51 * np.ptp(values[known]) / 65534
    for flat in (np.full(4, 2.5), np.full(4, np.nan), np.zeros(0)):
        low, step, data = packed(flat)
        assert np.array_equal(unpacked({"low": low, "step": step, "data": data}), flat, equal_nan=True)


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_table(tmp_path / "t.csv", AU01_r=[1.0, 2.0])
    assert main(["plot", str(path), "-o", str(tmp_path / "gone" / "a.html")]) == 3
    assert "cannot be written: No such file" in capsys.readouterr().err
