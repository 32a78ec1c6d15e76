"""The run in one process, with stages that only count."""

from __future__ import annotations

import csv
import io
import os
import signal
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow import inline
from auflow.errors import StageError
from auflow.inline import Stages
from auflow.options import RunOptions
from auflow.report import PlainReporter, StreamSummary
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings


class CountingDetector:
    """One box, as wide as the picture is bright."""

    def detect(self, bgr: np.ndarray) -> np.ndarray:
        return np.array([[1, 2, bgr[0, 0, 0], 4, 0.9]], np.float32)


class CountingClnf:
    """Remembers how many frames it saw since the reset; every third frame fails, and only then it detects."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.seen = 0

    def reset(self, info: SourceInfo) -> None:
        self.log.append("reset")
        self.seen = 0

    def process(self, frame: Frame, detect) -> tuple[FaceFit, ...]:
        self.seen += 1
        value = detect()[0, 2] if self.seen % 3 == 0 else self.seen
        self.log.append(f"frame {frame.index}")
        success = self.seen % 3 != 0
        fit = FaceFit(
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            face_id=0,
            success=success,
            accepted=success,
            confidence=0.5,
            params_global=np.zeros(6, np.float32),
            params_local=np.zeros(34, np.float32),
            landmarks_px=np.full(136, value, np.float32),
            landmarks_mm=np.zeros(204, np.float32),
            pose=np.zeros(6),
        )
        return (fit,)


class CountingAu:
    """The offline pass gives each row the number of all rows."""

    def __init__(self) -> None:
        self.rows = 0

    def reset(self) -> None:
        self.rows = 0

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        self.rows += 1
        return AuFrame(frame.index, fit.face_id, np.zeros(17), np.zeros(18))

    def process_faces(self, frame: Frame, fits):
        return tuple(fits), tuple(self.process(frame, fit) for fit in fits)

    def finish(self) -> AuTable:
        return AuTable(np.full((self.rows, 17), float(self.rows)), np.zeros((self.rows, 18)))


class Bench:
    """A folder of inputs, the fake stages, and a reporter whose words can be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[str] = []
        self.words = io.StringIO()
        self.stages = Stages(CountingDetector(), CountingClnf(self.log), CountingAu())
        (folder / "out").mkdir()

    def images(self, name: str, count: int, value: int = 100) -> Path:
        (self.folder / name).mkdir()
        for number in range(count):
            assert cv2.imwrite(
                str(self.folder / name / f"{number:03}.png"), np.full((48, 64, 3), value + number, np.uint8)
            )
        return self.folder / name

    def run(self, *inputs: Path, overlay: bool = False) -> list[StreamSummary]:
        options = RunOptions(
            inputs, self.folder / "out", self.folder, inline=True, settings=StageSettings(overlay=overlay)
        )
        reporter = PlainReporter(self.words)
        summaries = inline.run(options, reporter, load=lambda root, settings: self.stages)
        reporter.close()
        return summaries

    def outputs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "out").iterdir())

    def column(self, name: str, column: str) -> list[float]:
        with (self.folder / "out" / name).open() as file:
            return [float(row[column]) for row in csv.DictReader(file, skipinitialspace=True)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_rows_come_from_the_stages_and_the_offline_pass(bench: Bench) -> None:
    (summary,) = bench.run(bench.images("a", 4))
    assert (summary.frames, summary.successes, summary.error, summary.interrupted) == (4, 3, None, False)
    assert summary.output == str(bench.folder / "out" / "a.csv")
    assert bench.column("a.csv", "frame") == [1, 2, 3, 4]
    assert bench.column("a.csv", "success") == [1, 1, 0, 1]
    assert bench.column("a.csv", "x_0") == [1, 2, 102, 4]  # the third asked the detector
    assert bench.column("a.csv", "AU12_r") == [4] * 4
    assert "a: 4 frames in" in bench.words.getvalue()


def test_second_input_is_what_it_would_be_alone(bench: Bench) -> None:
    first, second = bench.images("a", 5), bench.images("b", 4, value=50)
    bench.run(second)
    alone = (bench.folder / "out" / "b.csv").read_bytes()
    bench.run(first, second)
    assert (bench.folder / "out" / "b.csv").read_bytes() == alone
    assert bench.log.count("reset") == 3


def test_input_that_cannot_be_opened_does_not_stop_the_others(bench: Bench) -> None:
    summaries = bench.run(bench.folder / "nothing.mp4", bench.images("a", 2))
    assert [(s.exit_code, s.output is None) for s in summaries] == [(2, True), (0, False)]
    assert bench.outputs() == ["a.csv"]
    assert "auflow: error: " in bench.words.getvalue()
    assert "Total: 2 inputs, 1 failed; 2 frames" in bench.words.getvalue()


def test_stages_are_not_loaded_for_nothing(bench: Bench) -> None:
    def load(root: Path, settings: StageSettings) -> Stages:
        raise AssertionError("loaded although no input could be opened")

    options = RunOptions((bench.folder / "nothing.mp4",), bench.folder / "out", bench.folder)
    (summary,) = inline.run(options, PlainReporter(bench.words), load=load)
    assert summary.exit_code == 2


def test_stage_that_fails_leaves_no_half_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    process = bench.stages.au.process

    def fail(frame: Frame, fit: FaceFit) -> AuFrame:
        if frame.index == 3:
            raise StageError("au: frame 3: cannot go on")
        return process(frame, fit)

    monkeypatch.setattr(bench.stages.au, "process", fail)
    summaries = bench.run(bench.images("a", 4), bench.images("b", 2), overlay=True)
    assert [(s.exit_code, s.error, s.frames) for s in summaries] == [(5, "au: frame 3: cannot go on", 2), (0, None, 2)]
    assert bench.outputs() == ["b.csv", "b.overlay.mp4"]


def interrupt_at(bench: Bench, monkeypatch: pytest.MonkeyPatch, index: int, times: int = 1) -> None:
    process = bench.stages.clnf.process

    def interrupting(frame: Frame, detect) -> FaceFit:
        if frame.index == index:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return process(frame, detect)

    monkeypatch.setattr(bench.stages.clnf, "process", interrupting)


def test_ctrl_c_writes_what_is_finished(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in a shell's background
    interrupt_at(bench, monkeypatch, 3)
    summaries = bench.run(bench.images("a", 9), bench.images("b", 2), overlay=True)
    assert [(s.interrupted, s.frames, s.error) for s in summaries] == [(True, 3, None)]
    assert bench.outputs() == ["a.partial.csv", "a.partial.overlay.mp4"]
    assert bench.column("a.partial.csv", "AU01_r") == [3] * 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_fault_in_a_stage_ends_its_input_with_the_code_for_stages(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bench.stages.clnf.process

    def process(frame: Frame, detect) -> tuple[FaceFit, ...]:
        if frame.index == 2 and bench.log.count("reset") == 1:
            raise RuntimeError("parsing error")
        return plain(frame, detect)

    monkeypatch.setattr(bench.stages.clnf, "process", process)
    first, second = bench.run(bench.images("a", 3), bench.images("b", 2))
    assert first.exit_code == StageError.exit_code
    assert first.error == f"a stage failed at frame 2 of {bench.folder / 'a'}: RuntimeError: parsing error"
    assert (second.frames, second.error) == (2, None)
    assert bench.outputs() == ["b.csv"]
    assert "Traceback" in bench.words.getvalue()


def test_second_ctrl_c_ends_at_once_and_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(bench, monkeypatch, 3, times=2)
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.images("a", 9), overlay=True)
    assert bench.outputs() == []


def test_works_outside_the_main_thread(bench: Bench) -> None:
    found: list[StreamSummary] = []
    thread = threading.Thread(target=lambda: found.extend(bench.run(bench.images("a", 2))))
    thread.start()
    thread.join(30)
    assert [s.frames for s in found] == [2]


def test_file_that_is_cut_short_is_told(bench: Bench, demo_dir: Path) -> None:
    import av

    with av.open(str(demo_dir / "astronaut.mp4")) as source:
        path = bench.folder / "front.mp4"
        with av.open(str(path), "w", options={"movflags": "faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (summary,) = bench.run(path)
    assert 30 < summary.frames < 120
    assert summary.corrupt_frames >= 1
    words = bench.words.getvalue()
    assert f"ended after {summary.frames} pictures of the 150 that the file declares" in words
    assert "corrupt picture" in words
