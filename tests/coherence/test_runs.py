"""One clip, both ways: what is counted, and how the time is taken."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest

from auflow.coherence.runs import MODES, Plan, run_clip
from auflow.errors import InputError, OutputError, StageError, UsageError
from auflow.report import PlainReporter
from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings

from .conftest import FRAMES, Play, Stage

EXACT = StageSettings(precision="full")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    settings = {"openface": EXACT, "coherent": replace(EXACT, tracking="coherent")}
    return Plan(settings, tmp_path, tmp_path / "tables")


class Listener(PlainReporter):
    """Remembers how inputs are called; each word costs CPU time."""

    def __init__(self, costs_s: float = 0.0) -> None:
        super().__init__(io.StringIO(), quiet=True)
        self.begun: list[str] = []
        self.costs_s = costs_s

    def stream_started(self, info: SourceInfo) -> None:
        self.begun.append(Path(info.path).name)

    def advanced(self, path: str, frames: int) -> None:
        until_s = time.process_time() + self.costs_s
        while time.process_time() < until_s:
            pass


def test_what_is_counted(plan: Plan, stage: Stage, clip: Path) -> None:
    stage.coherent = Play(looks_every=6, kept=(3, 4, 5), lost=(11, 12))
    pair = run_clip(clip, plan, Listener(), stage.load)
    assert list(pair) == list(MODES)
    exact, coherent = pair["openface"], pair["coherent"]
    assert (exact.frames, exact.successes, exact.detections, exact.faces, exact.reused) == (FRAMES, 12, 3, 12, 0)
    assert (coherent.frames, coherent.successes, coherent.detections) == (FRAMES, 10, 2)
    assert (coherent.faces, coherent.reused, coherent.reused_share) == (10, 3, 0.3)
    assert exact.table == plan.folder / "exact" / "clip.csv"
    assert all(run.table.read_text().count("\n") == FRAMES + 1 for run in pair.values())
    assert all(run.cpu_s > 0 and run.fps > 0 for run in pair.values())


def test_runs_take_turns_and_the_least_time_counts(plan: Plan, stage: Stage, clip: Path) -> None:
    listener = Listener()
    pair = run_clip(clip, replace(plan, repeat=3), listener, stage.load)
    assert listener.begun == [
        "clip (exact, 1 of 3)",
        "clip (coherent, 1 of 3)",
        "clip (coherent, 2 of 3)",
        "clip (exact, 2 of 3)",
        "clip (exact, 3 of 3)",
        "clip (coherent, 3 of 3)",
    ]
    assert [settings.tracking for settings in stage.seen or ()][:2] == ["openface", "coherent"]
    assert pair["openface"].frames == FRAMES


def test_telling_how_far_it_is_costs_nothing(plan: Plan, stage: Stage, clip: Path) -> None:
    told_s = 0.02
    pair = run_clip(clip, plan, Listener(told_s), stage.load)
    assert max(run.cpu_s for run in pair.values()) < 0.5 * FRAMES * told_s


@pytest.mark.parametrize("way", ["exact", "coherent"])
def test_a_stage_that_fails_ends_the_clip(plan: Plan, stage: Stage, clip: Path, way: str) -> None:
    setattr(stage, way, Play(fails_at=5))
    with pytest.raises(StageError, match="the fit has failed"):
        run_clip(clip, plan, Listener(), stage.load)


def test_a_clip_that_cannot_be_read(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.mp4"):
        run_clip(tmp_path / "none.mp4", plan, Listener(), stage.load)


def test_a_folder_that_cannot_be_made(plan: Plan, stage: Stage, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--keep"):
        run_clip(clip, replace(plan, folder=tmp_path / "file"), Listener(), stage.load)


def test_no_table_replaces_another(plan: Plan, tmp_path: Path) -> None:
    plan.check((tmp_path / "a.mp4", tmp_path / "b.mp4"))
    with pytest.raises(UsageError, match="would both write"):
        plan.check((tmp_path / "x/a.mp4", tmp_path / "y/a.avi"))
