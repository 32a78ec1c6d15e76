"""Coherent against exact: figures that are known beforehand, and which of them are within the budgets."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from auflow.coherence.runs import Plan, run_clip
from auflow.coherence.sheet import as_dict, lines, sheet
from auflow.coherence.verdict import Outcome, failed, judge
from auflow.errors import InputError
from auflow.report import PlainReporter
from auflow.stages.settings import StageSettings
from auflow.validation.budgets import Budgets

from .conftest import FRAMES, Play, Stage

BUDGETS = Budgets(max_landmark_px=0.3, min_au_mean_r=0.99)
EVERY = tuple(range(1, FRAMES + 1))


def outcome(stage: Stage, clip: Path, *, several: bool = False, budgets: Budgets = BUDGETS, skip: int = 0) -> Outcome:
    exact = StageSettings(precision="full", faces="all" if several else "widest", identities=several)
    plan = Plan(
        {"openface": exact, "coherent": replace(exact, tracking="coherent")}, clip.parent, clip.parent / "tables"
    )
    pair = run_clip(clip, plan, PlainReporter(io.StringIO(), quiet=True), stage.load)
    return judge(clip, pair, budgets, skip=skip)


def test_the_same_is_within_every_budget(stage: Stage, clip: Path) -> None:
    found = outcome(stage, clip, budgets=Budgets(0.0, 0.999999, 1.0, 1.0, 0.999999))
    assert found.met
    assert found.landmarks_px == 0
    assert min(found.au_r) == pytest.approx(1)
    assert (found.note, found.error) == ("", "")


@pytest.mark.parametrize(("shift_px", "met"), [(0.25, True), (0.5, False)])
def test_landmarks_that_are_away(stage: Stage, clip: Path, shift_px: float, met: bool) -> None:
    stage.coherent = Play(shift_px=shift_px)
    found = outcome(stage, clip)
    assert found.landmarks_px == pytest.approx(shift_px, abs=1e-5)
    assert found.met == met
    assert met or found.missed[0].startswith("--max-landmark-px 0.3: the 2-D landmarks are 0.5 px away")


def test_intensities_that_differ(stage: Stage, clip: Path) -> None:
    stage.coherent = Play(noise=0.5)
    found = outcome(stage, clip)
    assert 0 < sum(found.au_r) / 17 < 0.99
    assert found.missed[0].startswith("--min-au-mean-r 0.99: AU intensities correlate with 0.")


def test_success_is_shown_and_held_where_it_is_asked_for(stage: Stage, clip: Path) -> None:
    stage.coherent = Play(lost=(2, 3, 4))
    assert outcome(stage, clip).met
    found = outcome(stage, clip, budgets=replace(BUDGETS, min_success=0.9))
    assert found.missed == ("--min-success 0.9: success agrees in 0.7500 of rows",)


def test_frames_at_the_begin_can_be_left_out(stage: Stage, clip: Path) -> None:
    stage.coherent = Play(lost=(2, 3, 4))
    assert outcome(stage, clip, budgets=Budgets(min_success=1.0), skip=4).met
    with pytest.raises(InputError, match="leaves nothing to compare"):
        outcome(stage, clip, skip=FRAMES)


@pytest.mark.parametrize(("found_by_coherent", "met"), [((), True), ((5,), False)])
def test_without_any_success_that_alone_is_held(
    stage: Stage, clip: Path, found_by_coherent: tuple[int, ...], met: bool
) -> None:
    stage.exact = Play(lost=EVERY)
    stage.coherent = Play(lost=tuple(index for index in EVERY if index not in found_by_coherent))
    found = outcome(stage, clip)
    assert "no frame has success 1" in found.note
    assert found.met == met
    assert (found.landmarks_px, found.au_r) == (None, ())
    assert met or found.missed == ("--min-success 1: success agrees in 0.9167 of rows",)


@pytest.mark.parametrize(("shift_px", "met"), [(0.0, True), (0.5, False)])
def test_two_rows_are_too_few_for_a_correlation(stage: Stage, clip: Path, shift_px: float, met: bool) -> None:
    stage.exact = Play(lost=EVERY[2:])
    stage.coherent = Play(lost=EVERY[2:], shift_px=shift_px)
    found = outcome(stage, clip)
    assert "2 rows are too few" in found.note
    assert found.met == met


@pytest.mark.parametrize(
    ("exact", "coherent", "missed"),
    [
        (0, 0, ""),
        (1, 0, "exact tracking follows faces where coherent tracking has found none"),
        (0, 2, "coherent tracking follows faces where exact tracking has found none"),
    ],
)
def test_several_faces_and_there_is_none(stage: Stage, clip: Path, exact: int, coherent: int, missed: str) -> None:
    stage.exact, stage.coherent = Play(faces=exact), Play(faces=coherent)
    found = outcome(stage, clip, several=True)
    assert found.missed == ((missed,) if missed else ())
    assert found.result is None
    assert bool(found.note) == (not missed)


def test_a_face_that_coherent_tracking_lacks_is_a_miss(stage: Stage, clip: Path) -> None:
    stage.exact = Play(faces=2)
    found = outcome(stage, clip, several=True)
    assert found.missed[0] == "--max-landmark-px 0.3: 50.0% of the 2-D landmarks are missing"
    assert "50.0% of the values are missing" in found.missed[1]


def test_the_table_has_a_line_for_each_clip(stage: Stage, clip: Path) -> None:
    stage.coherent = Play(shift_px=0.5, looks_every=12, kept=(3, 4, 5))
    missed, broken = outcome(stage, clip), failed(Path("b.mp4"), "b.mp4: cannot be read", 2)
    table = sheet([missed, broken])
    cells = dict(zip(table.head, table.rows[0], strict=True))
    assert (cells[""], cells["frames"], cells["looks"], cells["kept"]) == ("clip", "12", "3 / 1", "25.0%")
    assert (cells["px"], cells["mean r"], cells["success"], cells["verdict"]) == (
        "0.5000",
        "1.0000",
        "100.00%",
        "missed",
    )
    assert table.rows[1] == ("b.mp4", *"-" * 9, "error")
    text = list(lines([missed, broken], 2))
    assert text[0] == "missed  clip: --max-landmark-px 0.3: the 2-D landmarks are 0.5 px away on average"
    assert text[1] == "error   b.mp4: cannot be read"
    assert text[2].startswith("in all, looks for faces: 1 instead of 3, ")
    assert len(text) == 3
    good = outcome(Stage(), clip)
    assert list(lines([good], 1))[-1] == "all budgets are met"
    assert list(lines([good], 2))[-1].startswith("in all")  # the other was not begun


def test_json_has_the_same_keys_whatever_became_of_the_clip(stage: Stage, clip: Path) -> None:
    good, broken = as_dict(outcome(stage, clip)), as_dict(failed(Path("b.mp4"), "torn", 2))
    assert set(good) == set(broken)
    assert (good["met"], broken["met"], broken["error"]) == (True, False, "torn")
    assert good["exact"]["detections"] == good["coherent"]["detections"] == 3
    assert good["comparison"]["rows_compared"] == FRAMES
