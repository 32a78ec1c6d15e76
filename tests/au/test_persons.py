"""Several persons in one stream: each has a median, an offline pass and smoothing of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from auflow.stages.au import AuStage
from auflow.stages.au import persons as persons_module
from auflow.stages.au.offline import finish_intensities, finish_presences
from auflow.stages.identity.keeper import SeenFace
from auflow.stages.records import AuTable, FaceFit, Frame
from auflow.stages.settings import StageSettings

ALONE = StageSettings()
TOGETHER = StageSettings(faces="all", identities=True)


class ScriptedKeeper:
    """The person of each tracker as the test says, and what it was shown."""

    def __init__(self, numbers: dict[int, int]) -> None:
        self.numbers = numbers
        self.seen: list[list[SeenFace]] = []

    def reset(self) -> None:
        self.seen.clear()

    def assign(self, index: int, faces: Sequence[SeenFace]) -> list[int]:
        self.seen.append(list(faces))
        return [self.numbers.get(face.track, face.track) for face in faces]

    def snapshot(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None: ...


@pytest.fixture(scope="module")
def clip(demo) -> list[tuple[np.ndarray, np.ndarray]]:
    pictures, final = demo
    return list(zip(pictures[:40], final.landmarks[:40], strict=True))


def numbered(fit: FaceFit, track: int) -> FaceFit:
    return dataclasses.replace(fit, face_id=track)


def run(stage: AuStage, frames, fit_of) -> AuTable:
    """frames: of each the picture and (tracker, landmarks, success) of its faces."""
    for index, (picture, faces) in enumerate(frames, start=1):
        fits = [numbered(fit_of(index, points, success=good), track) for track, points, good in faces]
        stage.process_faces(Frame(index, 0.0, picture), fits)
    return stage.finish()


def test_one_person_is_as_without_identities(models_dir, clip, fit_of):
    frames = [(picture, [(0, points, index % 7 != 3)]) for index, (picture, points) in enumerate(clip)]
    exact = run(AuStage(models_dir), frames, fit_of)
    ours = run(AuStage(models_dir, StageSettings(identities=True)), frames, fit_of)
    assert ours.intensities.tobytes() == exact.intensities.tobytes()
    assert ours.presences.tobytes() == exact.presences.tobytes()


def test_each_person_is_as_if_they_were_alone(models_dir, clip, fit_of):
    """Two faces of a frame, whose trackers change places in the middle."""
    half = len(clip) // 2
    frames, keeper = [], ScriptedKeeper({0: 0, 1: 1, 2: 1, 3: 0})
    for index, (picture, points) in enumerate(clip):
        first, second = ((0, 1), (3, 2))[index >= half]
        frames.append((picture, [(first, points, True), (second, points + 3.0, index % 5 != 0)]))
    table = run(AuStage(models_dir, TOGETHER, keeper), frames, fit_of)
    for person, (shift, good) in enumerate([(0.0, lambda i: True), (3.0, lambda i: i % 5 != 0)]):
        alone = [(picture, [(0, points + shift, good(i))]) for i, (picture, points) in enumerate(clip)]
        expected = run(AuStage(models_dir), alone, fit_of)
        # Two faces go through the heads in one product, whose last bits are others.
        assert np.allclose(table.intensities[person::2], expected.intensities, rtol=0, atol=1e-9)
        assert (table.presences[person::2] == expected.presences).all()


def test_fits_come_back_with_the_person_and_aus_too(models_dir, clip, fit_of):
    stage = AuStage(models_dir, TOGETHER, ScriptedKeeper({4: 9}))
    picture, points = clip[0]
    fits, aus = stage.process_faces(Frame(1, 0.0, picture), [numbered(fit_of(1, points), 4)])
    assert (fits[0].face_id, aus[0].face_id) == (9, 9)


def test_a_mean_does_not_run_over_an_absence(models_dir, clip, fit_of):
    stage = AuStage(models_dir, TOGETHER, ScriptedKeeper({}))
    frames = [(picture, [(0, points, True)] if not 10 <= i < 20 else []) for i, (picture, points) in enumerate(clip)]
    table = run(stage, frames, fit_of)
    accepted, raw, labels = stage._predict_again()
    whole = finish_intensities(raw, accepted, stage.heads.cutoffs, np.array([10]))
    assert table.intensities.tobytes() == whole.tobytes()
    assert table.presences.tobytes() == finish_presences(labels, accepted, np.array([10])).tobytes()
    over = finish_intensities(raw, accepted, stage.heads.cutoffs)
    assert (table.intensities[[9, 10]] != over[[9, 10]]).any()
    assert (np.delete(table.intensities, [9, 10], axis=0) == np.delete(over, [9, 10], axis=0)).all()


def test_only_so_many_are_known_and_the_others_keep_their_last_median(models_dir, clip, fit_of, monkeypatch):
    monkeypatch.setattr(persons_module, "KEPT", 2)
    frames = [(picture, [(i // 10, points, True)]) for i, (picture, points) in enumerate(clip)]
    few = run(AuStage(models_dir, TOGETHER, ScriptedKeeper({})), frames, fit_of)
    monkeypatch.setattr(persons_module, "KEPT", 16)
    many = run(AuStage(models_dir, TOGETHER, ScriptedKeeper({})), frames, fit_of)
    assert few.intensities.tobytes() == many.intensities.tobytes()


def test_who_comes_back_for_a_moment_does_not_lose_the_median_of_before(models_dir, clip, fit_of, monkeypatch):
    monkeypatch.setattr(persons_module, "KEPT", 2)
    numbers = [0] * 20 + [1, 2, 3] * 3 + [0]
    frames = [(picture, [(number, points, True)]) for number, (picture, points) in zip(numbers, clip, strict=False)]
    few = run(AuStage(models_dir, TOGETHER, ScriptedKeeper({})), frames[:-1], fit_of)
    again = run(AuStage(models_dir, TOGETHER, ScriptedKeeper({})), frames, fit_of)
    assert np.abs(few.intensities[:18] - again.intensities[:18]).max() < 0.5


def test_the_keeper_is_shown_what_there_is_to_see(models_dir, clip, fit_of):
    keeper = ScriptedKeeper({})
    stage = AuStage(models_dir, TOGETHER, keeper)
    picture, points = clip[0]
    fits = [numbered(fit_of(1, points), 0), numbered(fit_of(1, points, success=False), 1)]
    stage.process_faces(Frame(1, 0.0, picture), fits)
    good, bad = keeper.seen[0]
    assert good.accepted
    assert good.appearance().shape == (544,)
    assert not bad.accepted
    assert bad.appearance is None


@pytest.mark.parametrize("settings", [TOGETHER, dataclasses.replace(TOGETHER, live=True, tracking="coherent")])
def test_it_goes_on_from_its_state_at_every_frame(models_dir, clip, fit_of, settings):
    whole, frames = AuStage(models_dir, settings), clip[:14]
    blob, told = AuStage(models_dir, settings).snapshot(), []
    for index, (picture, points) in enumerate(frames, start=1):
        fits = [numbered(fit_of(index, points), 0), numbered(fit_of(index, points - 40.0, success=index % 3 != 0), 1)]
        stage = AuStage(models_dir, settings)
        stage.restore(blob)
        frame = Frame(index, 0.0, picture)
        told = [s.process_faces(frame, fits) for s in (whole, stage)]
        values = [[(f.face_id, a.intensities.tobytes(), a.reused) for f, a in zip(*t, strict=True)] for t in told]
        assert values[0] == values[1]
        blob = stage.snapshot()
        assert blob == whole.snapshot()
    assert stage.finish().intensities.tobytes() == whole.finish().intensities.tobytes()


def test_a_network_of_the_users_tells_them_apart(models_dir, clip, fit_of, tmp_path):
    from auflow.tests.identity.test_appearance import network

    settings = dataclasses.replace(TOGETHER, identity_model=str(network(tmp_path / "faces.onnx")))
    keeper = ScriptedKeeper({})
    stage = AuStage(models_dir, settings, keeper)
    picture, points = clip[0]
    stage.process_faces(Frame(1, 0.0, picture), [numbered(fit_of(1, points), 0)])
    assert keeper.seen[0][0].appearance().shape == (24 + 48,)
    assert AuStage(models_dir, settings).process_faces(Frame(1, 0.0, picture), [fit_of(1, points)])[0][0].face_id == 0
