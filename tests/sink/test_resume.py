"""The whole line of stages, killed and gone on with: every file as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from auflow.stages.au import AuStage
from auflow.stages.clnf import ClnfStage
from auflow.stages.decode import open_source
from auflow.stages.detect import MtcnnDetector
from auflow.stages.records import Frame
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.sink.checkpoint import Checkpoint, identity_of, read_checkpoint
from auflow.stages.sink.paths import work_path

Detect = Callable[[np.ndarray], np.ndarray]


@dataclass(slots=True)
class Run:
    """A run of one input without processes, which can be cut off anywhere."""

    path: Path
    output: Path
    settings: StageSettings
    models: Path
    detect: Detect
    last: int  # frames of the input that are worked on
    every: int = 7  # frames between checkpoints

    def go(self, *, until: int | None = None) -> int | None:
        """On from the last checkpoint, to the end or cut off before frame `until`; where it began."""
        identity = identity_of(self.path, self.settings, self.models)
        found = read_checkpoint(self.output, identity)
        kept = found if isinstance(found, Checkpoint) else None
        clnf, au = ClnfStage(self.models, self.settings), AuStage(self.models, self.settings)
        with open_source(self.path) as source:
            sink = ResultSink(
                self.output, self.settings, source.info, None if kept is None else kept.sink, identity=identity
            )
            clnf.reset(source.info)
            if kept is not None:
                assert source.skip(kept.frames) == kept.frames
                clnf.restore(kept.states["clnf"])
                au.restore(kept.states["au"])
            bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
            frames = began = 0 if kept is None else kept.frames
            while frames < self.last and (read := source.read_into(bgr)) is not None:
                if frames + 1 == until:
                    self.killed(sink)
                    return began
                frame = Frame(*read, bgr)
                fits = clnf.process(frame, lambda: self.detect(bgr))
                sink.add(frame, fits, [au.process(frame, fit) for fit in fits])
                frames += 1
                if frames % self.every == 0:
                    sink.checkpoint(frames, {"clnf": clnf.snapshot(), "au": au.snapshot()}, b"%d" % frames)
            sink.finish(au.finish())
        return began

    def killed(self, sink: ResultSink) -> None:
        """As after SIGKILL: more reached the files than the checkpoint knows of, and the lock is gone."""
        sink.suspend()
        work = work_path(self.output)
        for name in ("rows", "hog"):
            if (work / name).exists():
                with (work / name).open("ab") as file:
                    file.write(b"half a row")
        if (work / "aligned").exists():
            (work / "aligned" / "frame_det_00_999999.bmp").write_bytes(b"half a face")


@pytest.fixture(scope="module")
def detect(models_dir: Path) -> Detect:
    """The real detector, which remembers what it saw: it keeps nothing of a stream."""
    detector = MtcnnDetector(models_dir)
    known: dict[bytes, np.ndarray] = {}

    def boxes(bgr: np.ndarray) -> np.ndarray:
        key = bgr[::7, ::7].tobytes()
        if key not in known:
            known[key] = detector.detect(bgr)
        return known[key].copy()

    return boxes


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def cuts(last: int, seed: int) -> Iterator[int]:
    """Frames before which the run is killed, in order; each attempt gets beyond the next checkpoint."""
    at = 1
    rng = np.random.default_rng(seed)
    while at < last:
        yield at
        at += int(rng.integers(8, 25))


CASES = [
    ("demo", StageSettings(precision="full"), 120),
    ("demo", StageSettings(faces="all", hog=True, aligned=True), 60),
    ("demo", StageSettings(au_static=True, hog=True, aligned=True, live=True), 60),
    ("pyfeat/noface_face.mov", StageSettings(precision="full", hog=True), 110),  # found at 97
    ("pyfeat/face_noface.mov", StageSettings(precision="full", live=True), 100),  # lost at 73
    ("multi_face.avi", StageSettings(faces="all", aligned=True), 50),
    ("image_sequence", StageSettings(precision="full"), 30),
]


@pytest.mark.parametrize(("clip", "settings", "last"), CASES)
def test_killed_again_and_again_leaves_the_same_files(
    tmp_path: Path, request, models_dir: Path, demo_dir: Path, detect: Detect, clip: str, settings, last: int
) -> None:
    path = demo_dir / "astronaut.mp4" if clip == "demo" else request.getfixturevalue("media") / clip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    Run(path, whole / "a.csv", settings, models_dir, detect, last, every=10**9).go()
    run = Run(path, cut / "a.csv", settings, models_dir, detect, last)
    began = [run.go(until=at) for at in cuts(last, seed=last)]
    began.append(run.go())
    assert began[-1] > 0.5 * last
    assert len(set(began)) > 2
    assert files(whole) == files(cut)
    assert len(files(whole)["a.csv"]) > 1000
