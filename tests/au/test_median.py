"""The running median: NumPy's median, the summing reference, and the C++ program's medians."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.stages.au import median
from auflow.stages.au.features import DescriptorMedian
from auflow.stages.au.median import RunningMedian


def run(samples: np.ndarray, **options) -> np.ndarray:
    running = RunningMedian(samples.shape[1], **options)
    values = []
    for sample in samples:
        running.insert(sample)
        values.append(running.value.copy())
    assert running.count == len(samples)
    return np.array(values)


@pytest.mark.parametrize("seed", range(3))
def test_lies_within_half_a_bin_of_the_lower_median(seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 15, (101, 40)).clip(-59, 59)
    found = run(samples, bins=1000, low=-60.0, high=60.0)
    for count in range(2, 102):
        lower = np.sort(samples[:count], axis=0)[(count + 1) // 2 - 1]
        assert np.abs(found[count - 1] - lower).max() <= 0.06 + 1e-9


@pytest.mark.parametrize("order", ["random", "rising", "falling", "jumping", "constant"])
def test_agrees_with_the_reference(reference, order):
    rng = np.random.default_rng(3)
    samples = rng.uniform(-0.2, 1.2, (80, 25))  # some outside the range
    if order == "rising":
        samples.sort(axis=0)
    elif order == "falling":
        samples = -np.sort(-samples, axis=0)
    elif order == "jumping":
        samples[::2], samples[1::2] = 0.01, 0.99
    elif order == "constant":
        samples[:] = 0.5
    options = {"bins": 200, "low": 0.0, "high": 1.0}
    expected = reference("au_median").running_median(samples, **options)
    assert np.allclose(run(samples, **options), expected, atol=1e-12)


def test_many_samples_are_counted_in_more_bits(reference, monkeypatch):
    """The histograms' counts have 16 bits at first: as the samples become more, nothing changes."""
    monkeypatch.setattr(median, "_COUNTED_IN_16_BITS", 10)
    samples = np.random.default_rng(6).uniform(-0.2, 1.2, (60, 12))
    options = {"bins": 40, "low": 0.0, "high": 1.0}
    assert np.allclose(run(samples, **options), reference("au_median").running_median(samples, **options), atol=1e-12)


def test_the_most_samples_that_16_bits_count():
    running = RunningMedian(1, bins=4, low=0.0, high=1.0)
    for _ in range(65_535 + 10):  # all in one bin
        running.insert(np.array([0.6]))
    running.insert(np.array([0.1]))
    assert running._counts.tolist() == [[1, 0, 65_545, 0]]
    assert running.value[0] == 0.625
    running.reset()
    assert running._counts.dtype == np.uint16


def test_equal_samples_have_their_bins_centre():
    """The second sample's median is a bin's centre even where the bin is the one that was assumed at first."""
    assert run(np.full((3, 1), 0.01), bins=4, low=0.0, high=1.0).ravel().tolist() == [0.01, 0.125, 0.125]


def test_first_sample_is_taken_as_it_is():
    assert run(np.array([[0.123456789, 7.0]]), bins=10, low=0.0, high=1.0).tolist() == [[0.123456789, 7.0]]


def test_floor_raises_the_value_only():
    samples = np.array([[-0.5], [-0.5], [0.25], [0.25]])
    assert run(samples, bins=4, low=-1.0, high=1.0, floor=0.0).ravel().tolist() == [0.0, 0.0, 0.0, 0.0]
    assert run(samples[::-1], bins=4, low=-1.0, high=1.0, floor=0.0).ravel().tolist() == [0.25, 0.25, 0.25, 0.0]


def test_reset_forgets():
    rng = np.random.default_rng(4)
    samples = rng.uniform(0, 1, (9, 5))
    median = RunningMedian(5, bins=50, low=0.0, high=1.0)
    for sample in samples[::-1]:
        median.insert(sample * 0.5)
    median.reset()
    assert median.count == 0
    assert not median.value.any()
    for sample in samples:
        median.insert(sample)
    assert np.array_equal(median.value, run(samples, bins=50, low=0.0, high=1.0)[-1])


@pytest.mark.parametrize("sample", [np.zeros(4), np.zeros(5, np.float32)])
def test_refuses_another_descriptor(sample):
    with pytest.raises(ShapeError, match=r"values: expected \(5,\) float64"):
        RunningMedian(5, bins=4, low=0.0, high=1.0).insert(sample)


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "multi_face_single"])
def test_geometry_follows_the_trace(trace, clip):
    """The 34 parameters of every frame and their medians are in the trace: also what a failed frame does."""
    median = RunningMedian(34, bins=10_000, low=-60.0, high=60.0)
    for number, event in enumerate(trace(clip)["au"]):
        if number % 2 == 0 and event["success"]:
            median.insert(np.array(event["geom_tail"]))
        assert np.abs(median.value - event["geom_median_tail"]).max() < 1e-6, event["frame"]


@pytest.mark.golden
def test_first_two_descriptors_of_the_traces(golden):
    """Frames 1 and 3 are the first two samples, and their whole descriptors are in the traces."""
    for folder in sorted(golden.glob("*/trace")):
        load = lambda name, folder=folder: np.load(folder / name).reshape(-1)  # noqa: E731
        median = DescriptorMedian()
        for frame in (1, 3):
            median.insert(np.concatenate([load(f"f{frame:06d}_{kind}.npy") for kind in ("hog", "geom")]))
            expected = np.concatenate([load(f"f{frame:06d}_{kind}_median.npy") for kind in ("hog", "geom")])
            assert np.abs(median.value - expected).max() < 1e-6
