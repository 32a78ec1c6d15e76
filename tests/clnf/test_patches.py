"""Patches: sampling and the contrast of their windows; references, properties."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.clnf import patch_kernels as patch
from auflow.stages.clnf.lanes import LANES


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def plain(kernel: Any) -> Any:
    """A kernel as the Python function that it was (with NUMBA_DISABLE_JIT=1 it still is one)."""
    return getattr(kernel, "py_func", kernel)


def cut(image, a, b, x, y, side: int) -> np.ndarray:
    steps, out = np.empty((2, side), np.int32), np.full((side, side), np.nan, np.float32)
    patch.grid_steps(np.float32(a), np.float32(b), steps)
    patch.warp_patch(image, np.float32(a), np.float32(b), np.float32(x), np.float32(y), steps, out)
    return out


def fenced(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture that lies between NaNs in memory: a read before or after it shows in the result."""
    memory = np.full((height + 40) * width, np.nan, np.float32)
    picture = memory[20 * width : (20 + height) * width].reshape(height, width)
    picture[:] = np.random.default_rng(seed).uniform(1, 255, picture.shape)
    assert picture.flags.c_contiguous
    return picture


class Watched:
    """A picture that refuses every index outside of it, negative ones too."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture, self.shape = picture, picture.shape
        self.reads = 0

    def __getitem__(self, place: tuple[int, int]) -> np.float32:
        row, column = place
        assert 0 <= row < self.shape[0], f"row {row} of {self.shape}"
        assert 0 <= column < self.shape[1], f"column {column} of {self.shape}"
        self.reads += 1
        return self.picture[row, column]


POSES = st.tuples(
    st.floats(0.3, 5), st.floats(-3.1, 3.1), st.floats(-40, 120), st.floats(-40, 100), st.sampled_from([13, 17, 19, 21])
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(POSES)
def test_patches_agree_with_the_reference_and_opencv(reference, pose):
    scale, turn, x, y, side = pose
    image = fenced(60, 80)
    a, b, x, y = f32([scale * np.cos(turn), scale * np.sin(turn), x, y])
    patch = cut(image, a, b, x, y, side)
    ref = reference("clnf_response")
    # Weights of 1/32 px are exact in float32, products of 255 with them to 1e-5; fused additions move the last bit.
    assert np.allclose(patch, ref.warp_patch(image, a, b, x, y, side, exact=False), atol=1e-4)
    matrix, shift = ref.warp_corner(a, b, x, y, side)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(image, np.column_stack([matrix, shift]), (side, side), flags=flags)
    # An OpenCV that samples without the 1/32-px grid may be 1/64 px off per axis, on noise of 254 gray values a pixel.
    assert np.abs(patch - theirs).max() <= 254 * 2 / 64
    assert np.median(np.abs(patch - theirs)) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_a_smooth_picture_is_sampled_where_it_should_be(reference, seed):
    """Against sampling without the 1/32-px grid: the rounding alone may be seen."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(f32(rng.uniform(0, 255, (90, 90))), (0, 0), 3)
    a, b, x, y = f32([*rng.uniform(-2, 2, 2), 45, 45])
    wanted = reference("clnf_response").warp_patch(image, a, b, x, y, 19, exact=True)
    slope = max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1))
    assert np.abs(cut(image, a, b, x, y, 19) - wanted).max() <= 2 * slope / 64 + 1e-3


def test_whole_pixels_are_taken_as_they_are():
    image = fenced(40, 50)
    assert np.array_equal(cut(image, 1, 0, 20, 15, 11), image[10:21, 15:26])
    assert np.array_equal(cut(image, 0, 1, 20, 15, 11), np.rot90(image[10:21, 15:26]))


CORNERS = list(itertools.product((-3.3, 0.0, 49.0, 52.7), (-3.3, 0.0, 39.0, 42.7)))


@pytest.mark.parametrize(("x", "y"), CORNERS)
def test_patches_beyond_the_edge_are_zero_there(reference, x, y):
    image = fenced(40, 50)
    side = 19
    patch = cut(image, 1.3, 0.4, x, y, side)
    wanted = reference("clnf_response").warp_patch(image, *f32([1.3, 0.4, x, y]), side, exact=False)
    assert (patch == 0).any()
    assert np.allclose(patch, wanted, atol=1e-4)


@pytest.mark.parametrize(("x", "y"), [*CORNERS, (25.0, 20.0), (9.9, 10.1), (-500.0, 20.0), (25.0, 1e6)])
def test_nothing_is_read_outside_the_picture(monkeypatch, x, y):
    """The plain Python kernels on a picture that checks its indices (a compiled kernel reads on in silence)."""
    for name in ("pixel_or_zero", "bilinear"):
        monkeypatch.setattr(patch, name, plain(getattr(patch, name)))
    image = fenced(40, 50)
    watched = Watched(image)
    for a, b in ((1.0, 0.0), (0.6, -0.5), (-0.3, 0.4)):
        side = 13
        steps, out = np.empty((2, side), np.int32), np.full((side, side), np.nan, np.float32)
        a, b = np.float32(a), np.float32(b)
        plain(patch.grid_steps)(a, b, steps)
        plain(patch.warp_patch)(watched, a, b, np.float32(x), np.float32(y), steps, out)
        assert np.allclose(out, cut(image, a, b, x, y, side), atol=1e-4)
    assert (watched.reads > 0) == (abs(x) < 100 and abs(y) < 100)


def test_far_outside_is_black():
    image = fenced(40, 50)
    for x, y in ((-500, 20), (25, -500), (25, 1e6), (1e6, 1e6)):
        assert not cut(image, 2, 1, x, y, 15).any()


@pytest.mark.parametrize("offset", [0, 200])
@pytest.mark.parametrize("side", [13, 17, 21])
def test_window_statistics_agree_with_the_reference(reference, side, offset):
    area = f32(np.random.default_rng(side).uniform(0, 55, (side, side)) + offset)
    window = side - patch.SUPPORT + 1
    wanted_mean, wanted_norm = reference("clnf_response").window_statistics(area.astype(float), patch.SUPPORT)
    centre = np.rint(area.mean(dtype=float))
    mean, inverse = (np.full(side * side, np.nan, np.float32) for _ in range(2))
    patch.window_statistics(area, mean, inverse)
    place = (np.arange(window)[:, None] * side + np.arange(window)).reshape(-1)
    assert np.allclose(mean[place] + centre, wanted_mean.reshape(-1), atol=1e-4)
    assert np.allclose(inverse[place], 1 / wanted_norm.reshape(-1), rtol=2e-6)
    assert abs(area.mean(dtype=float)) <= 0.5001


def lanes(seed: int, side: int) -> np.ndarray:
    """Patches side by side: (side, side, LANES), each lane another one."""
    offset = np.arange(LANES) * 5.0
    return f32(np.random.default_rng(seed).uniform(0, 55, (side, side, LANES)) + offset)


@pytest.mark.parametrize("side", [13, 15, 17, 19, 21, 25])
def test_lane_statistics_are_those_of_each_patch(reference, side):
    area, window = lanes(side, side), side - patch.SUPPORT + 1
    flat = area.reshape(-1).copy()
    mean, inverse = (np.full(window * window * LANES, np.nan, np.float32) for _ in range(2))
    patch.lane_statistics(flat, side, mean, inverse)
    for lane in range(LANES):
        one = area[:, :, lane].astype(float)
        wanted_mean, wanted_norm = reference("clnf_response").window_statistics(one, patch.SUPPORT)
        assert np.allclose(mean[lane::LANES] + np.rint(one.mean()), wanted_mean.reshape(-1), atol=1e-4)
        assert np.allclose(inverse[lane::LANES], 1 / wanted_norm.reshape(-1), rtol=2e-6)
        assert np.allclose(flat[lane::LANES], (one - np.rint(one.mean())).reshape(-1), atol=1e-5)
