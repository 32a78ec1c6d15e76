"""Fits that stand for themselves, descriptors and aligned faces: the AU stage for pictures and several faces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from auflow.stages.au import AuStage
from auflow.stages.records import Frame
from auflow.stages.settings import StageSettings


@pytest.fixture(scope="module")
def demo(demo_dir, openface_csv, pictures):
    """Eight pictures of the demo clip, 15 frames apart, and the C++ program's landmarks in them."""
    every = list(pictures(demo_dir / "astronaut.mp4"))[::15][:8]
    return every, openface_csv(demo_dir / "full.csv").landmarks[::15][:8]


def run(au, demo, fit_of, accepted=None, order=range(8)):
    accepted = [True] * 8 if accepted is None else accepted
    frames = [au.process(Frame(k + 1, 0.0, demo[0][k]), fit_of(k + 1, demo[1][k], success=accepted[k])) for k in order]
    return np.array([f.intensities for f in frames]), np.array([f.presences for f in frames])


@pytest.mark.parametrize("faces", ["all", "pictures"])
def test_values_are_final_at_once_and_know_nothing_of_each_other(models_dir, demo, fit_of, faces):
    au = AuStage(models_dir, StageSettings(faces=faces))
    intensities, presences = run(au, demo, fit_of)
    table = au.finish()
    assert np.array_equal(table.intensities, intensities)
    assert np.array_equal(table.presences, presences)
    assert intensities.min() == 0
    assert 0 < intensities.max() <= 5
    backwards = AuStage(models_dir, StageSettings(faces=faces))
    again = run(backwards, demo, fit_of, order=range(7, -1, -1))
    assert np.array_equal(again[0][::-1], intensities)
    assert np.array_equal(again[1][::-1], presences)


def test_static_heads_of_a_video_differ_only_by_clamping_and_the_pass(models_dir, demo, fit_of):
    alone = AuStage(models_dir, StageSettings(faces="all"))
    video = AuStage(models_dir, StageSettings(au_static=True))
    one, other = (run(au, demo, fit_of) for au in (alone, video))
    assert (other[0] < 0).any()
    assert np.array_equal(one[0], np.clip(other[0], 0, 5))
    assert np.array_equal(one[1], other[1])
    assert not np.array_equal(video.finish().intensities, alone.finish().intensities)


def test_refused_fits_have_values_too_but_not_where_there_is_no_face(models_dir, demo, fit_of):
    refused = [k % 2 == 0 for k in range(8)]
    alone = AuStage(models_dir, StageSettings(faces="pictures"))
    intensities, presences = run(alone, demo, fit_of, refused)
    taken = run(AuStage(models_dir, StageSettings(faces="pictures")), demo, fit_of)
    assert np.array_equal(intensities, taken[0])
    assert np.array_equal(presences, taken[1])
    in_a_video = run(AuStage(models_dir, StageSettings(au_static=True)), demo, fit_of, refused)[0]
    assert not in_a_video[1::2].any()
    nothing = alone.process(Frame(1, 0.0, demo[0][0]), fit_of(1, np.zeros(136), success=False))
    assert not nothing.intensities.any()
    assert not nothing.presences.any()


def test_descriptor_and_face_come_only_when_asked_for(models_dir, demo, fit_of):
    def first(success: bool = True, **settings: bool):
        au = AuStage(models_dir, StageSettings(**settings))
        return au.process(Frame(1, 0.0, demo[0][0]), fit_of(1, demo[1][0], success=success))

    plain, hog, both = first(), first(hog=True), first(hog=True, aligned=True)
    assert (plain.hog, plain.aligned, hog.aligned) == (None, None, None)
    assert (both.hog.shape, both.hog.dtype) == ((4464,), np.float32)
    assert np.array_equal(both.hog, hog.hog)
    assert 0.1 < both.hog.max() < 1
    assert (both.aligned.shape, both.aligned.dtype) == ((112, 112, 3), np.uint8)
    # Masked: black around the face, the face inside.
    assert not both.aligned[-1, [0, -1]].any()
    assert both.aligned[50:70, 40:70].min() > 0
    for value in ("intensities", "presences"):
        assert np.array_equal(getattr(plain, value), getattr(both, value))
    failed = first(success=False, hog=True, aligned=True)
    assert failed.hog.shape == (4464,)
    assert not failed.hog.any()
    assert failed.aligned.shape == (112, 112, 3)
    assert not failed.aligned.any()


def test_what_is_handed_out_is_not_overwritten_by_the_next_frame(models_dir, demo, fit_of):
    au = AuStage(models_dir, StageSettings(hog=True, aligned=True))
    first = au.process(Frame(1, 0.0, demo[0][0]), fit_of(1, demo[1][0]))
    kept = dataclasses.replace(first, hog=first.hog.copy(), aligned=first.aligned.copy())
    second = au.process(Frame(2, 0.0, demo[0][7]), fit_of(2, demo[1][7]))
    assert np.array_equal(first.hog, kept.hog)
    assert np.array_equal(first.aligned, kept.aligned)
    assert not np.array_equal(first.aligned, second.aligned)
