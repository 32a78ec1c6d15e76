"""The offline pass: series made by hand, and the C++ program's own series before and after it."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.models.au_heads import load_au_heads
from auflow.stages.au.offline import finish_intensities, finish_presences, moving_mean, neutral_offsets
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES

NONE = np.array([np.nan])


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


def flags(text: str) -> np.ndarray:
    return np.array([mark == "+" for mark in text])


def test_neutral_offset_is_the_value_at_the_cutoff():
    values = column(5, 1, 4, 2, 3, -100)
    success = flags("+++++-")
    for cutoff, expected in ((0.0, 1), (0.19, 1), (0.2, 2), (0.5, 3), (0.99, 5)):
        assert neutral_offsets(values, success, np.array([cutoff])) == [expected]
    assert neutral_offsets(values, success, NONE) == [0]
    assert neutral_offsets(values, flags("------"), np.array([0.5])) == [0]


def test_intensities_by_hand():
    # Sorted successes 1 2 3 9: int(4 * 0.25) = 1, so 2 comes off: 0, 1, -1 (clamped), 7 (clamped), failed.
    values = column(2, 3, 1, 9, 8)
    found = finish_intensities(values, flags("++++-"), np.array([0.25]))
    assert found.ravel() == pytest.approx([0, 1 / 3, 2, 5 / 3, 0])


def test_zeros_of_failed_frames_take_part_in_the_mean():
    found = finish_intensities(column(3, 3, 3, 3, 3), flags("++-++"), NONE)
    assert found.ravel().tolist() == [3, 2, 2, 2, 3]


def test_presences_by_hand():
    labels = column(1, 1, 1, 0, 0, 0, 1, 1, 1, 1)
    # Rows 3 to 6 have 4, 4, 4, 4 of 7 ones; the first and last three stay.
    assert finish_presences(labels, flags("+" * 10)).ravel().tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    failed = finish_presences(labels, flags("-+++++++++")).ravel().tolist()
    assert failed == [0, 1, 1, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("count", [0, 1, 2, 6])
def test_short_series_stay_unsmoothed(count):
    labels = np.ones((count, 2))
    labels[::2] = 0
    assert np.array_equal(finish_presences(labels, np.ones(count, bool)), labels)
    values = np.arange(2 * min(count, 2), dtype=float).reshape(-1, 2)
    assert np.array_equal(finish_intensities(values, np.ones(len(values), bool), np.full(2, np.nan)), values)


def test_moving_mean_keeps_its_argument_and_the_mean_of_a_line():
    line = np.arange(20.0)[:, None]
    before = line.copy()
    assert np.allclose(moving_mean(line, 7), line)
    assert np.array_equal(line, before)


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match="one row a frame"):
        finish_presences(np.zeros((4, 2)), np.ones(3, bool))
    with pytest.raises(ShapeError, match="one a column"):
        neutral_offsets(np.zeros((4, 2)), np.ones(4, bool), np.zeros(3))


def test_demo_series_without_a_median(demo_dir, models_dir, openface_csv):
    """Heads that know no median: the C++ program's online values lead to its final ones exactly."""
    online, final = openface_csv(demo_dir / "online.csv"), openface_csv(demo_dir / "full.csv")
    heads = load_au_heads(models_dir)
    found = finish_intensities(online.intensities, online.success, heads.intensities.cutoffs)
    static = ~heads.intensities.dynamic
    assert static.sum() == 6
    assert np.abs(found - final.intensities)[:, static].max() < 2e-6  # the CSV has 6 decimals
    labels = finish_presences(online.presences, online.success)
    assert np.array_equal(labels[:, ~heads.presences.dynamic], final.presences[:, ~heads.presences.dynamic])


@pytest.mark.golden
@pytest.mark.parametrize(
    "clip", ["default", "2015-10-15-15-14", "changeLighting", "image_sequence", "multi_face_single"]
)
def test_series_of_the_traces(golden, models_dir, trace, openface_csv, clip):
    """All heads, from the values after the second prediction: multi_face_single has failed frames."""
    final, events = openface_csv(golden / clip / "full.csv"), trace(clip)
    cutoffs = load_au_heads(models_dir).intensities.cutoffs
    values = {event["au"]: event["v"] for event in events["post_reg"]}
    intensities = np.array([values[au] for au in AU_INTENSITIES], float).T
    found = finish_intensities(intensities, final.success, cutoffs)
    assert np.abs(found - final.intensities).max() < 2e-6
    offsets = neutral_offsets(intensities, final.success, cutoffs)
    for event in events["cutoff"]:
        assert offsets[AU_INTENSITIES.index(event["au"])] == pytest.approx(event["offset"], abs=1e-8)
    labels = {event["au"]: event["v"] for event in events["post_class"]}
    presences = finish_presences(np.array([labels[au] for au in AU_PRESENCES], float).T, final.success)
    assert np.array_equal(presences, final.presences)
