"""`auflow run --timeline`: a slice for each frame and process, whatever becomes of the run, and never in its way."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from auflow import cli, orchestrator, run_timeline
from auflow.errors import OutputError, StageError, UsageError
from auflow.flow.supervision import Limits
from auflow.options import RunOptions, check_outputs
from auflow.report import PlainReporter
from auflow.run_summary import run_and_summarise
from auflow.run_timeline import RunTimeline, folder_of
from auflow.telemetry.timeline import TimelineWriter

WORKERS = ["decode-0", "detect-0", "clnf-0", "au-0", "sink-0"]


class Runs:
    """A folder with fake inputs, and runs that write a timeline and a summary."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.file = place.root / "t.json"
        self.words = io.StringIO()

    def run(self, *inputs: Path, jobs: int = 1, limits: Limits | None = None) -> dict[str, Any] | None:
        """The timeline's entry in the summary."""
        options = dataclasses.replace(
            self.place.options(*inputs, jobs=jobs), timeline=self.file, summary=self.place.root / "s.json"
        )
        timeline = RunTimeline(self.file, options.began_s, [str(path) for path in inputs])

        def runner(options: RunOptions, reporter: Any) -> Any:
            return orchestrator.run(options, reporter, kit="fake_kit", limits=limits, timeline=timeline)

        try:
            run_and_summarise(runner, options, PlainReporter(self.words), timeline=timeline)
        finally:
            timeline.close()
            assert not folder_of(self.file).exists()
            assert self.place.left_behind() == []
        return self.summary()

    def summary(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads((self.place.root / "s.json").read_text())["timeline"]
        return found

    def slices(self, category: str = "frame") -> dict[str, list[dict[str, Any]]]:
        """Of each process."""
        return slices(json.loads(self.file.read_text())["traceEvents"], category)


def slices(events: Sequence[dict[str, Any]], category: str) -> dict[str, list[dict[str, Any]]]:
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for event in events:
        if event.get("cat") == category:
            found[names[event["tid"]]].append(event)
    return found


@pytest.fixture
def runs(place: Any) -> Runs:
    return Runs(place)


def test_each_frame_of_each_process(runs: Runs) -> None:
    first, second = runs.place.input("a", frames=12), runs.place.input("b", frames=7)
    figures = runs.run(first, second)
    assert figures is not None
    found = runs.slices()
    assert list(found) == WORKERS
    expected = [(str(first), frame) for frame in range(1, 13)] + [(str(second), frame) for frame in range(1, 8)]
    for worker in ("decode-0", "clnf-0", "au-0", "sink-0"):
        assert [(e["args"]["input"], e["args"]["frame"]) for e in found[worker]] == expected
        assert [e["ts"] for e in found[worker]] == sorted(e["ts"] for e in found[worker])
    # The fake fitter asks at each fifth frame, and waits for the answer: within the slice of its frame.
    assert [e["args"]["frame"] for e in found["detect-0"]] == [1, 6, 11, 1, 6]
    waits = runs.slices("wait")["clnf-0"]
    assert [e["args"]["frame"] for e in waits] == [1, 6, 11, 1, 6]
    for wait in waits:
        (frame,) = [e for e in found["clnf-0"] if e["args"] == {**e["args"], **wait["args"]}]
        assert frame["ts"] <= wait["ts"] + 0.1
        assert wait["ts"] + wait["dur"] <= frame["ts"] + frame["dur"] + 0.2  # rounded
    # A frame comes to a stage after the one before has done with it.
    for early, late in zip(("decode-0", "clnf-0", "au-0"), ("clnf-0", "au-0", "sink-0"), strict=True):
        for one, other in zip(found[early], found[late], strict=True):
            assert one["ts"] + one["dur"] <= other["ts"] + 0.2
    assert {worker: len(each) for worker, each in runs.slices("load").items()} == dict.fromkeys(WORKERS, 1)
    assert [len(each) for each in runs.slices("end").values()] == [0, 0, 2, 2, 2]
    _check_figures(runs, figures)


def _check_figures(runs: Runs, figures: dict[str, Any]) -> None:
    assert figures["file"] == str(runs.file)
    assert not figures["cut_short"]
    assert list(figures["processes"]) == WORKERS
    assert [each["frames"] for each in figures["processes"].values()] == [19, 5, 19, 19, 19]
    assert sum(figures["at_once_share"]) == pytest.approx(1, abs=0.001)
    assert figures["busy_at_once"] == pytest.approx(
        sum(share * count for count, share in enumerate(figures["at_once_share"])), abs=0.002
    )
    busy = {name: each["busy"] for name, each in figures["processes"].items()}
    assert sum(busy.values()) == pytest.approx(figures["busy_at_once"], abs=0.001)
    assert f"{figures['bottleneck']}-0" == max(busy, key=lambda name: busy[name])
    told = runs.words.getvalue()
    assert f"bottleneck: {figures['bottleneck']}. Written to {runs.file}, for ui.perfetto.dev" in told
    assert f"{figures['busy_at_once']:.2f} processes busy at once" in told


def test_lanes_side_by_side(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    figures = runs.run(runs.place.input("a", frames=20), runs.place.input("b", frames=20), jobs=2)
    assert figures is not None
    processes = figures["processes"]
    assert list(processes) == [*WORKERS, "decode-1", "clnf-1", "au-1", "sink-1"]
    for worker in ("clnf-0", "clnf-1"):
        assert processes[worker]["frames"] == 20
        assert processes[worker]["ms_per_frame"] > 10
    assert "% (of 2)" in runs.words.getvalue()


def test_the_bottleneck_is_the_stage_that_is_busiest(tmp_path: Path) -> None:
    """Made up: AU has the busiest process, CLNF the busiest ones on average; waits are no work, starts are none."""
    words, now_s = io.StringIO(), time.monotonic()
    timeline = RunTimeline(tmp_path / "t.json", now_s - 20, ["a.avi"])
    most = timeline.share(5)
    noted = {"clnf-0": 6.0, "clnf-1": 7.0, "au-0": 8.0, "au-1": 2.0, "detect-0": 0.5}
    for worker, busy_s in noted.items():
        writer = TimelineWriter(timeline.folder, worker, 0, most, print)
        writer.add("load", now_s - 19, now_s - 11)
        writer.add("frame", now_s - 10, now_s - 10 + busy_s + (2 if worker == "clnf-0" else 0), stream=0, frame=1)
        writer.close()
    writer = TimelineWriter(timeline.folder, "clnf-0", 1, most, print)
    writer.add("wait", now_s - 9, now_s - 7, stream=0, frame=1)
    writer.add("end", now_s - 0.001, now_s, stream=0)  # the last work of all
    writer.close()
    timeline.finish(PlainReporter(words))
    figures = timeline.figures
    assert figures is not None
    assert figures["seconds"] == pytest.approx(10)
    assert figures["bottleneck"] == "clnf"
    assert figures["busy_at_once"] == pytest.approx(2.35, abs=0.001)
    assert figures["processes"]["clnf-0"] == {
        "busy": pytest.approx(0.6, abs=0.001), "frames": 1, "calls": 1, "ms_per_frame": pytest.approx(6000),
        "starts": 1,
    }  # fmt: skip
    assert "clnf 65 % (of 2), au 50 % (of 2), detect 5 %; bottleneck: clnf" in words.getvalue()


def test_a_killed_workers_slices_are_kept(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "clnf:8:kill:1")
    figures = runs.run(runs.place.input("a", frames=12))
    assert figures is not None
    counts = Counter(e["args"]["frame"] for e in runs.slices()["clnf-0"])
    assert set(counts) == set(range(1, 13))  # those before its death too
    assert [e["args"].get("start") for e in runs.slices("load")["clnf-0"]] == [None, 2]
    assert figures["processes"]["clnf-0"]["starts"] == 2
    assert figures["processes"]["detect-0"]["starts"] == 1


def test_after_a_stage_died_too_often(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "clnf:8:kill")
    with pytest.raises(StageError):
        runs.run(runs.place.input("a", frames=12), limits=Limits(budget=0))
    assert [e["args"]["frame"] for e in runs.slices()["clnf-0"]] == list(range(1, 8))
    assert runs.summary() is not None


def test_after_ctrl_c(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.02")
    source = runs.place.input("a", frames=3000)
    advanced = PlainReporter.advanced
    first = iter([True])  # a second one would end all at once

    def interrupting(self: Any, path: str, frames: int) -> None:
        if next(first, False):
            os.kill(os.getpid(), signal.SIGINT)
        advanced(self, path, frames)

    monkeypatch.setattr(PlainReporter, "advanced", interrupting)
    assert runs.run(source) is not None
    found = [e["args"]["frame"] for e in runs.slices()["sink-0"]]
    assert 0 < len(found) < 3000
    assert found == list(range(1, len(found) + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_workers_that_cannot_write_go_on(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    make = run_timeline.RunTimeline.share

    def full(self: RunTimeline, workers: int) -> int:
        (self.folder / "au-0.records").symlink_to("/dev/full")
        return make(self, workers)

    monkeypatch.setattr(run_timeline.RunTimeline, "share", full)
    source = runs.place.input("a", frames=12)
    assert runs.run(source) is not None
    assert (runs.place.out / "a.csv").read_bytes() == runs.place.alone(source)
    assert len(runs.slices()["clnf-0"]) == 12
    assert "au-0: the timeline ends early, for it cannot be written: No space left on device" in runs.words.getvalue()


def test_a_timeline_that_cannot_be_written_ends_no_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target) == runs.file:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    source = runs.place.input("a", frames=12)
    assert runs.run(source) is None
    assert (runs.place.out / "a.csv").read_bytes() == runs.place.alone(source)
    assert f"--timeline: {runs.file} cannot be written: No space left on device" in runs.words.getvalue()
    assert not list(runs.place.root.glob(".t.json*"))


def test_more_than_there_is_room_for(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_timeline, "MOST_RECORDS", 5 * 8)
    figures = runs.run(runs.place.input("a", frames=40))
    assert figures is not None
    assert figures["cut_short"]
    assert len(runs.slices()["sink-0"]) <= 8
    end_us = min(slices[-1]["ts"] + slices[-1]["dur"] for slices in runs.slices().values() if len(slices) > 5)
    begin_us = min(slices[0]["ts"] for slices in runs.slices().values())
    assert 1e6 * figures["seconds"] <= end_us - begin_us + 1
    assert "timeline of the first " in runs.words.getvalue()


def test_what_a_killed_run_left_is_swept_away(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("of another run")
    folder_of(path).mkdir()
    (folder_of(path) / "clnf-9.records").write_bytes(b"old")
    timeline = RunTimeline(path, 0.0, [])
    assert not path.exists()
    assert not list(timeline.folder.glob("*.records"))
    with pytest.raises(UsageError, match="another run writes this timeline"):
        RunTimeline(path, 0.0, [])
    timeline.close()
    timeline.close()
    assert not timeline.folder.exists()


def test_of_a_run_that_was_killed_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.json"
    began_s = time.monotonic()
    script = (
        "import os, sys, time; from pathlib import Path; from auflow.run_timeline import RunTimeline\n"
        "from auflow.telemetry.timeline import TimelineWriter\n"
        "timeline = RunTimeline(Path(sys.argv[1]), float(sys.argv[2]), ['a.avi'])\n"
        "writer = TimelineWriter(timeline.folder, 'clnf-0', 0, timeline.share(1), print)\n"
        "writer.add('frame', time.monotonic() - 0.01, time.monotonic(), stream=0, frame=1)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path), str(began_s)], check=False)
    assert not path.exists()
    assert run_timeline.main([str(path)]) == 0
    assert "bottleneck: clnf" in capsys.readouterr().err
    (slice_,) = slices(json.loads(path.read_text())["traceEvents"], "frame")["clnf-0"]
    assert slice_["args"] == {"frame": 1, "input": "a.avi"}
    assert run_timeline.main([str(path)]) == 2  # there is nothing left to make it of
    assert "no killed run has left records" in capsys.readouterr().err
    assert path.exists()


def test_a_run_without_any_work(tmp_path: Path) -> None:
    words = io.StringIO()
    timeline = RunTimeline(tmp_path / "t.json", 0.0, [])
    timeline.finish(PlainReporter(words))
    assert "no work was noted" in words.getvalue()
    assert timeline.figures is not None
    assert (timeline.figures["bottleneck"], timeline.figures["seconds"]) == (None, 0)
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that refuses files")
def test_a_place_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another place with --timeline"):
        RunTimeline(Path("/proc/self/t.json"), 0.0, [])


def test_inline_there_is_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "x.mp4", "--inline", "--timeline", "t.json"]) == 2
    assert "--timeline and --inline do not go together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("timeline", "said"),
    [
        ("out/a.csv", "would be both the timeline and a result"),
        ("s.json", "would be both the timeline and the summary"),
        ("a.json", "would replace the input"),
        ("out", "expected the name of a file"),
    ],
)
def test_it_replaces_nothing(place: Any, timeline: str, said: str) -> None:
    options = dataclasses.replace(
        place.options(place.input("a")), timeline=place.root / timeline, summary=place.root / "s.json"
    )
    with pytest.raises(UsageError, match=said):
        check_outputs(options)


def test_the_demo_clip(models_dir: Path, demo_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.json"
    arguments = ["run", str(demo_dir / "astronaut.mp4"), "-o", str(tmp_path), "--timeline", str(file)]
    assert cli.main(arguments) == 0
    found = slices(json.loads(file.read_text())["traceEvents"], "frame")
    for worker in ("decode-0", "clnf-0", "au-0", "sink-0"):
        assert [e["args"]["frame"] for e in found[worker]] == list(range(1, 151)), worker
    assert [e["name"] for e in found["detect-0"]] == ["detect 1"]
    assert "processes busy at once, two or more " in capfd.readouterr().err
    assert not folder_of(file).exists()
