"""The landmark validator: warp, normalisation, CNN; references, properties, the C++ program's certainties."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from auflow.models.types import (
    Convolution,
    FullyConnected,
    MaxPooling,
    PiecewiseAffineWarp,
    Relu,
    Validator,
    ValidatorView,
)
from auflow.stages.clnf import validator_kernels as kernels
from auflow.stages.clnf.validator import LandmarkValidator, pack_convolution


def f32(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def plain(kernel: Any) -> Any:
    """A kernel as the Python function that it was (with NUMBA_DISABLE_JIT=1 it still is one)."""
    return getattr(kernel, "py_func", kernel)


def warp(image, points, triangles, barycentric, starts, places) -> np.ndarray:
    found = np.zeros(places.shape, np.int32)
    kernels.warp_positions(f32(points), triangles, barycentric, starts, places, found)
    out = np.full(places.shape[1], np.nan, np.float32)
    kernels.fetch(image, found, out)
    return out


def draw_pixels(seed: int, spread: float) -> tuple[np.ndarray, ...]:
    """Landmarks around a 40 x 30 picture, and 300 pixels in 60 triangles between them."""
    rng = np.random.default_rng(seed)
    points = f32([*(rng.uniform(-spread, spread, 6) + 20), *(rng.uniform(-spread, spread, 6) + 15)])
    triangles = np.stack([rng.permutation(6)[:3] for _ in range(60)]).astype(np.int32)
    # The second and the third corner's weight are the pixel's own coordinates, turned a little.
    barycentric = np.tile([0.0, 0.9, 0.1, 0.0, 0.1, 0.9], (60, 1))
    starts = np.append(0, np.sort(rng.integers(0, 301, 60)))
    starts[-1] = 300
    return points, triangles, barycentric, starts, np.ascontiguousarray(rng.dirichlet([1, 1, 1], 300)[:, 1:].T)


def positions(points, triangles, barycentric, starts, places) -> np.ndarray:
    x, y = places
    corners = np.repeat(triangles, np.diff(starts), axis=0)
    (_, a1, a2, _, b1, b2) = barycentric[0]
    second, third = a1 * x + a2 * y, b1 * x + b2 * y
    weights = np.column_stack([1 - second - third, second, third])
    return (points.astype(float).reshape(2, -1)[:, corners] * weights).sum(axis=2)


@pytest.mark.parametrize("spread", [12, 40])
@pytest.mark.parametrize("seed", range(3))
def test_the_warp_agrees_with_the_reference_and_opencv(reference, seed, spread):
    image = cv2.GaussianBlur(f32(np.random.default_rng(seed).uniform(0, 255, (30, 40))), (0, 0), 1.5)
    pixels = draw_pixels(seed, spread)
    found = warp(image, *pixels)
    x, y = positions(*pixels)
    at = reference("clnf_validator").bilinear_at
    wanted = np.array([at(image, *place) for place in zip(x, y, strict=True)])
    slope = max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1))
    # A position on the edge of a 1/32-px cell may fall to either side; beyond the picture's edge the step is to 0.
    assert np.mean(np.abs(found - wanted) > 1e-3) < 0.01
    assert np.abs(found - wanted).max() <= (slope if spread == 12 else 255) / 32 + 1e-3
    theirs = cv2.remap(image, f32(x), f32(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[:, 0]
    assert np.abs(found - theirs).max() <= 2 * (slope if spread == 12 else 255) / 32 + 1e-3


def test_the_warp_reads_nothing_outside():
    """The plain Python kernel on pictures between NaNs, with landmarks all around them."""
    memory = np.full((50, 60), np.nan, np.float32)
    memory[10:40, 10:50] = np.random.default_rng(0).uniform(1, 255, (30, 40))
    view = memory[10:40, 10:50]
    pixels = draw_pixels(4, 60)
    found = np.zeros((2, 300), np.int32)
    kernels.warp_positions(*pixels, found)
    out = np.full(300, np.nan, np.float32)
    plain(kernels.fetch)(view, found, out)
    assert np.isfinite(out).all()
    assert np.allclose(out, warp(f32(view), *pixels), atol=1e-3)
    x, y = positions(*pixels)
    beyond = (x < -2) | (x > 42) | (y < -2) | (y > 32)
    assert beyond.any()
    assert not out[beyond].any()


@pytest.mark.parametrize("seed", range(3))
def test_normalisation_agrees_with_the_reference(reference, seed):
    rng = np.random.default_rng(seed)
    values, mean, deviation = f32(rng.uniform(0, 255, 500)), rng.normal(size=500), rng.uniform(0.2, 2, 500)
    wanted = reference("clnf_validator").normalise(values.astype(float), mean, deviation)
    kernels.normalise(values, mean, 1 / deviation)
    assert np.allclose(values, wanted, atol=1e-5)


def test_a_plain_picture_is_normalised_to_finite_values():
    values = np.full(10, 33, np.float32)
    kernels.normalise(values, np.arange(10.0), np.full(10, 0.5))
    assert np.allclose(values, -np.arange(10) / 2)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (11, 14), (13, 9), (40, 33)])
def test_convolution_relu_and_pooling_agree_with_the_reference(reference, height, width):
    """Maps, taps and places that are no multiple of what the kernels take at a time."""
    rng = np.random.default_rng(height)
    maps, weights, biases = (f32(rng.normal(size=size)) for size in ((3, height, width), (4, 3, 5, 4), 4))
    layer = pack_convolution(Convolution(weights, biases), height, width)
    layer.maps[:] = np.nan
    kernels.convolve(maps, layer)
    ref = reference("clnf_validator")
    wanted = ref.pool(np.maximum(ref.convolve(maps.astype(float), Convolution(weights, biases)), 0))
    assert layer.maps.shape == wanted.shape
    assert (wanted > 0).any()
    assert np.allclose(layer.maps, wanted, atol=2e-5)


@pytest.mark.parametrize("rectify", [True, False])
def test_dense_layers_agree_with_the_reference(reference, rectify):
    rng = np.random.default_rng(3)
    values, weights, biases = (f32(rng.normal(size=size)) for size in (40, (40, 7), 7))
    out = np.full(7, np.nan, np.float32)
    assert values.size % kernels.INPUTS == 0
    kernels.dense(values, weights, biases, rectify, out)
    wanted = reference("clnf_validator").dense(values.astype(float), FullyConnected(weights, biases))
    assert (wanted < 0).any()
    assert np.allclose(out, np.maximum(wanted, 0) if rectify else wanted, atol=1e-5)


def make_view(seed: int, orientation_deg: tuple[float, float, float]) -> ValidatorView:
    """A made-up judge: 14 x 16 pixels, four triangles about six landmarks, 2 and 3 maps, five bins."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((14, 16), bool)
    mask[1:13, 2:15] = True
    mask[3, 4] = False
    triangles = np.array([[0, 1, 2], [2, 3, 4], [1, 2, 3], [0, 4, 5]], np.int32)
    weights = [np.column_stack([rng.uniform(0.2, 0.5, 4), rng.normal(0, 0.02, (4, 2))]) for _ in range(2)]
    count = int(mask.sum())
    layers = (
        Convolution(f32(rng.normal(size=(2, 1, 3, 3))), f32(rng.normal(size=2))), Relu(), MaxPooling(),
        Convolution(f32(rng.normal(size=(3, 2, 2, 3))), f32(rng.normal(size=3))), Relu(), MaxPooling(),
        FullyConnected(f32(rng.normal(size=(3 * 2 * 2, 6))), f32(rng.normal(size=6))), Relu(),
        FullyConnected(f32(rng.normal(size=(6, 5))), f32(rng.normal(size=5))),
    )  # fmt: skip
    return ValidatorView(
        np.array(orientation_deg), rng.normal(0, 0.3, count), rng.uniform(0.5, 1.5, count), layers,
        PiecewiseAffineWarp(
            -8.0, -7.0, rng.normal(size=12), triangles,
            np.where(mask, rng.integers(0, 4, mask.shape), -1), mask, *weights,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_made_up_validator_agrees_with_the_reference(reference, seed):
    rng = np.random.default_rng(seed)
    views = (make_view(seed, (0, 0, 0)), make_view(seed + 10, (0, -30, 0)))
    validator = LandmarkValidator(Validator(views))
    gray = cv2.GaussianBlur(f32(rng.uniform(0, 255, (80, 100))), (0, 0), 2)
    landmarks = f32([*rng.uniform(30, 70, 6), *rng.uniform(20, 60, 6)])
    for index, yaw in ((0, -10), (1, -20)):
        x, y = landmarks.reshape(2, -1)
        corner = np.floor([x.min() - 3, y.min() - 3]).astype(int)
        end = np.floor([x.max() + 3 - (x.min() - 3), y.max() + 3 - (y.min() - 3)]).astype(int) + corner
        region = gray[corner[1] : end[1], corner[0] : end[0]]
        scores = reference("clnf_validator").scores(views[index], region, landmarks - np.repeat(corner, 6))
        best = np.sort(scores)
        assert best[-1] - best[-2] > 0.05, "the made-up case is a tie: take another seed"
        certainty = validator.check(gray, landmarks, f32([1, 0, np.deg2rad(yaw), 0, 0, 0]))
        assert certainty == pytest.approx(1 - (scores.argmax() + 0.5) / 5)


def test_every_view_of_the_real_validator_agrees_with_the_reference(reference, clnf_models, face_model):
    rng = np.random.default_rng(8)
    gray = cv2.GaussianBlur(f32(rng.uniform(0, 255, (240, 240))), (0, 0), 2)
    for index, view in enumerate(clnf_models.validator.views):
        turn = np.deg2rad(view.orientation_deg)
        g = f32([1.1, *turn, 120, 120])
        landmarks = face_model.pdm.landmarks_px(g, np.zeros(34, np.float32))
        assert face_model.validator.view_index(g) == index
        wanted = reference("clnf_validator").scores(view, gray, landmarks)
        found = kernels.scores(gray, landmarks, face_model.validator._views[index])
        assert found.shape == wanted.shape
        assert found.dtype == np.float32
        # Pixels at the edge of a 1/32-px cell may fall to its other side: some of 2000 inputs move by a gray value.
        assert np.abs(found - wanted).max() <= 0.01 * np.ptp(wanted)


@pytest.mark.parametrize(
    "shift", [(-1000, 0), (1000, 0), (0, -1000), (0, 1000), (-119, 0), (119, 0), (0, -119), (0, 119), (1e7, -1e7)]
)
def test_landmarks_off_the_picture_get_a_certainty(face_model, shift):
    gray = f32(np.random.default_rng(1).uniform(0, 255, (240, 240)))
    g = f32([1, 0, 0, 0, 120 + shift[0], 120 + shift[1]])
    landmarks = face_model.pdm.landmarks_px(g, np.zeros(34, np.float32))
    certainty = face_model.validator.check(gray, landmarks, g)
    assert 0 <= certainty <= 1
    if max(map(abs, shift)) > 500:
        assert certainty == 0


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "multi_face_single"])
def test_golden_certainties(trace, gray_frames, face_model, clip):
    """Every frame's certainty, a choice of 30 bins, exactly. After a failed new start the trace has another fit's."""
    events = trace(clip)
    other = {event["frame"] for event in events.reinit if not event["ok"]}
    differ, seen = [], 0
    for number, gray in gray_frames(clip):
        if number in other:
            continue
        frame = events.frames[number]
        found = face_model.validator.check(gray, f32(frame["landmarks"]), f32(frame["params_global"]))
        seen += 1
        if abs(found - frame["certainty"]) > 1e-6:
            differ.append((number, found, frame["certainty"]))
    assert seen == len(events.frames) - len(other)
    # A bin could flip between two equal scores, and 20 frames of multi_face are decoded otherwise here: none does.
    assert not differ
