"""Histograms as few bytes and back; bytes that are no histograms are refused and write nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.au.counts import pack_counts, unpack_counts


def back(data: np.ndarray, like: np.ndarray) -> tuple[bool, np.ndarray]:
    found = np.zeros_like(like)
    return unpack_counts(data, found), found


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 5), (2, 4), (40, 100), (7, 1001)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_what_was_packed_comes_back(dtype, shape, share):
    rng = np.random.default_rng(3)
    highest = np.iinfo(dtype).max
    values = rng.choice([1, 2, 127, 128, 300, 16_383, 16_384, highest], shape).astype(dtype)
    counts = np.where(rng.uniform(size=shape) < share, values, 0).astype(dtype)
    whole, found = back(pack_counts(counts, counts.shape[1]), counts)
    assert whole
    assert np.array_equal(found, counts)


def test_mostly_empty_histograms_are_small():
    counts = np.zeros((4464, 1000), np.uint16)
    counts[:, 30:80] = 9
    assert pack_counts(counts, 450).nbytes < 1.1 * 50 * 4464


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_stay_within_the_histograms(data):
    room = np.zeros((4, 20), np.uint16)
    middle = room[1:3]
    unpack_counts(np.frombuffer(data, np.uint8).copy(), middle)
    assert not room[[0, 3]].any()


@pytest.mark.parametrize(
    "data",
    [[0x80], [1], [200, 200, 200, 200, 200, 1], [40, 1, 0], [38, 1, 1, 1, 0], [0, 255, 255, 255, 1, 0], [0, 5]],
)
def test_damaged_bytes(data):
    assert not back(np.array(data, np.uint8), np.zeros((2, 20), np.uint16))[0]
