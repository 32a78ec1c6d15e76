"""Frames of several streams in one call: as each by itself, up to the last bits of a matrix product."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.stages.au import AuStage
from auflow.stages.au.heads import Heads
from auflow.stages.au.together import AuWork, process_together
from auflow.stages.records import Frame
from auflow.stages.settings import StageSettings

KINDS = [
    StageSettings(live=True),
    StageSettings(live=True, tracking="coherent", faces="all", identities=True),
    StageSettings(live=True, au_static=True),
    StageSettings(live=True),
]


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many faces went through the heads in each call."""
    counts: list[int] = []
    one, several = Heads.products, Heads.products_of

    def count_one(self, features):
        counts.append(1)
        return one(self, features)

    def count_several(self, features):
        counts.append(len(features))
        return several(self, features)

    monkeypatch.setattr(Heads, "products", count_one)
    monkeypatch.setattr(Heads, "products_of", count_several)
    return counts


def test_streams_of_all_kinds(models_dir, demo, fit_of, calls) -> None:
    pictures, final = demo
    alone = [AuStage(models_dir, settings) for settings in KINDS]
    together = [AuStage(models_dir, settings) for settings in KINDS]
    for index in range(1, 8):
        work, expected = [], []
        for place in range(len(KINDS)):
            frame = Frame(index, 0.0, pictures[index + 10 * place])
            fits = (fit_of(index, final.landmarks[index + 10 * place], success=(index + place) % 4 != 0),)
            work.append((frame, fits))
            expected.append(alone[place].process_faces(frame, fits))
        calls.clear()
        told: list[int] = []
        found = process_together([AuWork(s, *one) for s, one in zip(together, work, strict=True)], told.append)
        assert told == [0, 1, 2, 3, 0, 1, 2, 3]
        assert len(calls) <= 2  # dynamic heads, static heads
        for (fits, aus), (other_fits, other_aus) in zip(found, expected, strict=True):
            assert [fit.face_id for fit in fits] == [fit.face_id for fit in other_fits]
            for au, other in zip(aus, other_aus, strict=True):
                assert np.allclose(au.intensities, other.intensities, rtol=0, atol=1e-12)
                assert (au.presences == other.presences).all()


def test_several_faces_of_a_frame_are_one_call(models_dir, demo, fit_of, calls) -> None:
    pictures, final = demo
    stage = AuStage(models_dir, StageSettings(faces="all", identities=True))
    stage.process_faces(
        Frame(1, 0.0, pictures[0]), [fit_of(1, final.landmarks[0] + shift) for shift in (0.0, 1.0, 2.0)]
    )
    assert calls == [3]


def test_faces_that_stand_for_themselves_go_one_by_one(models_dir, demo, fit_of, calls) -> None:
    pictures, final = demo
    stage = AuStage(models_dir, StageSettings(faces="all"))
    stage.process_faces(Frame(1, 0.0, pictures[0]), [fit_of(1, final.landmarks[0] + shift) for shift in (0.0, 1.0)])
    assert calls == [1, 1]
