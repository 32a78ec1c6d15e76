"""The whole stage: the demo clip with OpenFace's landmarks, the golden clips, failures, reset, the offline pass."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from auflow.errors import ModelError, ShapeError
from auflow.models.au_heads import load_au_heads
from auflow.stages.au import AuStage, stage, warm_up
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, Frame
from auflow.stages.settings import StageSettings


def run(au: AuStage, pictures, landmarks, success, fit_of):
    """The online values (n, 17) and (n, 18) of a clip."""
    found = [
        au.process(Frame(index, 0.0, picture), fit_of(index, points, success=bool(good)))
        for index, (picture, points, good) in enumerate(zip(pictures, landmarks, success, strict=True), start=1)
    ]
    return np.array([frame.intensities for frame in found]), np.array([frame.presences for frame in found])


def test_demo_clip_agrees_with_openface(demo, demo_dir, models_dir, fit_of, openface_csv):
    """Landmarks come from the CSV (6 decimals), so what is left is a grey value here and there in the alignment."""
    pictures, final = demo
    online = openface_csv(demo_dir / "online.csv")
    au = AuStage(models_dir)
    intensities, presences = run(au, pictures, final.landmarks, final.success, fit_of)
    difference = np.abs(intensities - online.intensities)
    assert difference.mean() < 0.002
    assert difference.max() < 0.1
    assert (presences != online.presences).mean() < 0.002
    table = au.finish()
    difference = np.abs(table.intensities - final.intensities)
    assert difference.mean() < 0.001
    assert difference.max() < 0.03
    assert (table.presences != final.presences).mean() < 0.002
    assert np.abs(final.intensities - online.intensities).mean() > 0.1  # so the offline pass was needed


def test_reset_and_a_second_stage_give_the_same_bits(demo, models_dir, fit_of):
    pictures, final = demo
    first, second = AuStage(models_dir), AuStage(models_dir)
    run(second, pictures[100:130], final.landmarks[100:130], final.success[100:130], fit_of)
    second.reset()
    one, two = (run(au, pictures[:12], final.landmarks[:12], final.success[:12], fit_of) for au in (first, second))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert np.array_equal(first.finish().intensities, second.finish().intensities)
    assert len(second.finish().presences) == 12


def test_failed_frames_are_zero_and_leave_the_median(demo, models_dir, fit_of):
    pictures, final = demo
    au = AuStage(models_dir)
    success = np.array([False, False, False, True, True, False, True, True])
    intensities, presences = run(au, pictures[:8], final.landmarks[:8], success, fit_of)
    assert not intensities[~success].any()
    assert not presences[~success].any()
    assert intensities[success].any(axis=1).all()
    assert au._persons.person(0, 0)._median.count == 2  # the fifth and the seventh frame
    table = au.finish()
    assert table.intensities.shape == (8, 17)
    assert table.presences.shape == (8, 18)
    assert np.isin(table.presences, (0, 1)).all()
    assert table.intensities.min() >= 0
    assert table.intensities.max() <= 5
    # Rows 0 and 1 see only failed frames in their window of three.
    assert not table.intensities[:2].any()


def test_the_picture_of_a_failed_frame_is_not_looked_at(models_dir, fit_of):
    au = AuStage(models_dir)
    frame = Frame(1, 0.0, np.zeros((0, 0, 3), np.uint8))
    assert not au.process(frame, fit_of(1, np.full(136, np.nan), success=False)).intensities.any()


def test_every_second_frame_enters_the_median(demo, models_dir, fit_of):
    pictures, final = demo
    au = AuStage(models_dir)
    counts = []
    for index in range(1, 8):
        au.process(Frame(index, 0.0, pictures[index]), fit_of(index, final.landmarks[index]))
        counts.append(au._persons.person(0, 0)._median.count)
    assert counts == [1, 1, 2, 2, 3, 3, 4]


def test_only_the_first_successes_are_predicted_again(demo, models_dir, fit_of, monkeypatch):
    pictures, final = demo
    monkeypatch.setattr(stage, "_REPREDICTED", 5)
    au = AuStage(models_dir)
    success = np.array([True, False] + [True] * 18)
    online = run(au, pictures[:20], final.landmarks[:20], success, fit_of)
    _, intensities, presences = au._predict_again()
    assert np.array_equal(intensities[6:], online[0][6:])
    assert np.array_equal(presences[6:], online[1][6:])
    dynamic = ~np.isnan(au.heads.cutoffs)
    changed = np.abs(intensities - online[0]) > 1e-9
    assert changed[[0, 2, 3, 4, 5]][:, dynamic].any(axis=1).all()
    assert not changed[:, ~dynamic].any()
    assert not intensities[1].any()


def test_predicting_again_equals_predicting_with_the_final_median(demo, models_dir, fit_of):
    """The short cut by linearity against descriptors that were kept."""
    pictures, final = demo
    au = AuStage(models_dir)
    run(au, pictures[:20], final.landmarks[:20], np.ones(20, bool), fit_of)
    _, intensities, presences = au._predict_again()
    heads = load_au_heads(models_dir).intensities
    features = np.array(
        [au._describer.describe(*face)[0] for face in zip(pictures[:20], final.landmarks[:20], strict=True)]
    )
    relative = features[:, None, :] - np.where(heads.dynamic[:, None], au._persons.person(0, 0)._median.value, 0.0)
    expected = np.einsum("nkf,kf->nk", relative, heads.weights) + heads.offsets
    assert np.abs(intensities - expected).max() < 1e-10
    assert np.isin(presences, (0, 1)).all()


def test_static_heads_give_the_same_values_before_and_after(demo, models_dir, fit_of):
    pictures, final = demo
    au = AuStage(models_dir, StageSettings(au_static=True))
    online = run(au, pictures[:6], final.landmarks[:6], np.ones(6, bool), fit_of)
    assert au._persons.person(0, 0)._median.count == 0
    _, intensities, presences = au._predict_again()
    assert np.array_equal(intensities, online[0])
    assert np.array_equal(presences, online[1])


def test_an_empty_stream_has_an_empty_table(models_dir):
    table = AuStage(models_dir).finish()
    assert table.intensities.shape == (0, 17)
    assert table.presences.shape == (0, 18)


def test_refuses_the_fit_of_another_frame(models_dir, fit_of):
    with pytest.raises(ShapeError, match="expected those of frame 2"):
        AuStage(models_dir).process(Frame(2, 0.0, np.zeros((9, 9, 3), np.uint8)), fit_of(1, np.ones(136)))


def test_missing_models_are_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        AuStage(tmp_path)


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_a_read_only_picture_compiles_nothing_new(demo, models_dir, fit_of):
    from auflow.stages.au import align, fhog, median

    warm_up(models_dir)
    kernels = [align._similarity, align._face_mask, align._blacken, fhog._fhog, median._insert]
    before = [len(kernel.signatures) for kernel in kernels]
    assert before == [1, 1, 1, 1, 2]
    pictures, final = demo
    picture, landmarks = pictures[0].copy(), final.landmarks[0].copy()
    picture.flags.writeable = landmarks.flags.writeable = False
    AuStage(models_dir).process(Frame(1, 0.0, picture), fit_of(1, landmarks))
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_knows_no_transport():
    code = "import sys, auflow.stages.au; print(sorted(m for m in sys.modules if m in ('zmq', 'onnxruntime', 'av')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


@pytest.mark.golden
@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("default", "default.wmv"),
        ("changeLighting", "changeLighting.wmv"),
        ("image_sequence", "image_sequence"),
        ("2015-10-15-15-14", "2015-10-15-15-14.avi"),
    ],
)
def test_golden_clips(golden, media, models_dir, trace, pictures, openface_csv, fit_of, clip, name):
    """With the C++ program's landmarks. Its own noise floor (other compiler flags) is 0.006 to 0.009 mean, 0.06
    to 0.27 at most, 0.2 to 0.8 % of the presences; seen here: 0.0003, 0.012, 0.03 %.
    """
    events, final = trace(clip), openface_csv(golden / clip / "full.csv")
    landmarks = np.array([event["landmarks"] for event in events["frame"]], np.float32)
    au = AuStage(models_dir)
    online = run(au, pictures(media / name), landmarks, final.success, fit_of)
    expected = np.array([[event["reg"][au] for au in AU_INTENSITIES] for event in events["au"]])
    assert np.abs(online[0] - expected).mean() < 0.002
    assert np.abs(online[0] - expected).max() < 0.1
    labels = np.array([[event["class"][au] for au in AU_PRESENCES] for event in events["au"]])
    assert (online[1] != labels).mean() < 0.002
    table = au.finish()
    assert np.abs(table.intensities - final.intensities).mean() < 0.001
    assert np.abs(table.intensities - final.intensities).max() < 0.03
    assert (table.presences != final.presences).mean() < 0.002
