"""CEN response maps: against the plain reference, on experts whose answer is known, and mirrored."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.errors import ModelError, ShapeError
from auflow.models.cen import CenPatches, CenPatchExpert, DenseLayer, read_cen_patches
from auflow.stages.clnf import cen_kernels, patch_kernels
from auflow.stages.clnf.cen_experts import CenPatchExperts

WINDOWS = (3, 5, 7, 9, 11)


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


@pytest.fixture(scope="module")
def files(reference) -> SimpleNamespace:
    return reference("cen_files")


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture (some points stand at its edge), five points and a turn."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(f32(rng.uniform(0, 255, (90, 120))), (0, 0), 1.5)
    points = f32([*rng.uniform(-5, 125, 5), *rng.uniform(-5, 95, 5)])
    a, b = rng.uniform(0.8, 2.5), rng.uniform(-0.5, 0.5)
    return picture, points, f32([[a, -b], [b, a]])


def area_at(picture, turn, x, y, window: int) -> np.ndarray:
    side = window + 10
    steps, out = np.empty((2, side), np.int32), np.empty((side, side), np.float32)
    a, b = turn[0, 0], -turn[0, 1]
    patch_kernels.grid_steps(a, b, steps)
    patch_kernels.warp_patch(picture, a, b, x, y, steps, out)
    return out


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("hidden", [2, 0])
@pytest.mark.parametrize("view", [0, 1, 2])
@pytest.mark.parametrize("window", WINDOWS)
def test_response_maps_agree_with_the_reference(tmp_path, files, reference, view, window, hidden, sparse):
    made = files.small(seed=window, hidden=hidden, transposed=bool(view % 2))
    made.write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    picture, points, turn = scene(view)
    maps = CenPatchExperts(patches, sparse=sparse).response_maps(picture, points, turn, view, window)
    assert maps.dtype == np.float32
    assert maps.shape == (5, window, window)
    spread = 0.0
    for point in range(5):
        if not patches.visibilities[view, point]:
            assert not maps[point].any()
            continue
        home, twin, mirrored = patches.source(view, point)
        wanted = reference("cen_reference").response(
            area_at(picture, turn, points[point], points[5 + point], window),
            made.layers[home, twin], mirrored=mirrored, sparse=sparse, hidden=hidden,
        )  # fmt: skip
        # chains of float32 products of about 1 through logistic functions of slope 1/4
        assert np.abs(maps[point] - wanted).max() <= 2e-6
        spread = max(spread, wanted.std())
    assert spread > 3e-3


def expert_of(pixel_weights: np.ndarray, *, gain: float = 1.0) -> CenPatchExpert:
    """One logistic layer whose weight of the pixel in row r, column c is pixel_weights[r, c]."""
    column_by_column = pixel_weights.T.reshape(-1)
    weights = f32(np.concatenate([[0.0], gain * column_by_column]))[:, None]
    return CenPatchExpert(11, 11, (DenseLayer(weights, f32([0.0]), "sigmoid"),), 1.0)


def of_one_view(experts: list[CenPatchExpert], mirror: list[int]) -> CenPatches:
    n = len(experts)
    return CenPatches(
        0.25, np.zeros((1, 3)), np.ones((1, n), np.bool_), np.array(mirror, np.int32), np.zeros(1, np.int32),
        (tuple(experts),),
    )  # fmt: skip


EMPTY = CenPatchExpert(11, 11, (), 0.0)
IDENTITY = f32([[1, 0], [0, 1]])


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 10), (10, 0), (3, 7)])
def test_pixels_are_weighed_column_by_column(row, column):
    """A bright dot is answered where the expert's one pixel lies on it."""
    picture = np.zeros((60, 60), np.float32)
    picture[30, 30] = 255.0
    template = np.zeros((11, 11))
    template[row, column] = 1.0
    experts = CenPatchExperts(of_one_view([expert_of(template, gain=5)], [0]), sparse=False)
    x, y = 30 - (column - 5) + 1, 30 - (row - 5) - 2  # the dot is seen one to the left of the centre and two below it
    (response,) = experts.response_maps(picture, f32([x, y]), IDENTITY, 0, 7)
    assert np.unravel_index(response.argmax(), response.shape) == (3 + 2, 3 - 1)


def test_a_mirrored_expert_sees_the_mirrored_picture():
    """In a symmetrical picture the responses of a pair mirror each other, and agree with stored mirror images."""
    rng = np.random.default_rng(0)
    half = cv2.GaussianBlur(f32(rng.uniform(0, 255, (80, 60))), (0, 0), 2)
    picture = np.ascontiguousarray(np.hstack([half, half[:, ::-1]]))
    template = rng.normal(size=(11, 11))
    points = f32([30, 119 - 30, 40, 40])
    pair = CenPatchExperts(of_one_view([expert_of(template), EMPTY], [1, 0]))
    left, right = pair.response_maps(picture, points, IDENTITY, 0, 9)
    assert left.std() > 1e-2
    np.testing.assert_allclose(right, left[:, ::-1], atol=1e-6)
    stored = CenPatchExperts(of_one_view([expert_of(template), expert_of(template[:, ::-1])], [1, 0]))
    np.testing.assert_allclose(stored.response_maps(picture, points, IDENTITY, 0, 9), [left, right], atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_interpolation_is_exact_on_a_plane_inside_and_bounded_everywhere(window, mirrored):
    row, column = np.mgrid[:window, :window].astype(np.float32)
    plane = 0.3 * row - 0.2 * column + 5
    held = plane[:, ::-1] if mirrored else plane
    odd = (row + column) % 2 == 1
    out = np.full((window, window), np.nan, np.float32)
    cen_kernels.place_sparse(f32(held[odd]), mirrored, out)
    np.testing.assert_array_equal(out[odd], f32(plane[odd]))
    np.testing.assert_allclose(out[1:-1, 1:-1], plane[1:-1, 1:-1], rtol=1e-6)
    assert plane[odd].min() - 1e-5 <= out.min()
    assert out.max() <= plane[odd].max() + 1e-5
    assert out[0, 0] == np.float32((out[0, 1] + out[1, 0]) / 2)
    assert out[0, 2] == np.float32((out[0, 1] + out[1, 2]) if window == 3 else (out[0, 1] + out[0, 3] + out[1, 2])) / (
        np.float32(2 if window == 3 else 3)
    )


def test_sparse_and_dense_agree_where_both_are_evaluated(tmp_path, files):
    files.small(seed=5).write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    picture, points, turn = scene(3)
    odd = np.add.outer(np.arange(9), np.arange(9)) % 2 == 1
    assert odd.sum() == 40
    sparse, dense = (
        CenPatchExperts(patches, sparse=way).response_maps(picture, points, turn, 0, 9) for way in (True, False)
    )
    np.testing.assert_allclose(sparse[:, odd], dense[:, odd], atol=1e-6)
    assert np.abs(sparse - dense)[:, ~odd].max() > 1e-4


@pytest.mark.parametrize("level", [0.0, 77.0, 255.0])
def test_a_plain_picture_gives_what_the_biases_give(tmp_path, files, reference, level):
    made = files.small(seed=2)
    made.write(tmp_path / "cen.dat")
    experts = CenPatchExperts(read_cen_patches(tmp_path / "cen.dat"))
    maps = experts.response_maps(
        np.full((90, 120), level, np.float32), f32([40, 50, 60, 70, 80, 40, 45, 50, 45, 40]), IDENTITY, 1, 5
    )
    for point in (1, 2, 3, 4):
        wanted = reference("cen_reference").network(np.eye(122)[0], made.layers[1, point])
        np.testing.assert_allclose(maps[point], wanted, atol=1e-6)


def test_responses_do_not_depend_on_brightness_and_contrast(tmp_path, files):
    files.small(seed=4).write(tmp_path / "cen.dat")
    experts = CenPatchExperts(read_cen_patches(tmp_path / "cen.dat"))
    picture, _, turn = scene(3)
    points = f32([40, 50, 60, 70, 80, 40, 45, 50, 45, 40])  # well inside: the zeros beyond the edge do not scale
    before = experts.response_maps(picture, points, turn, 0, 7)
    after = experts.response_maps(picture * np.float32(0.5) + np.float32(30), points, turn, 0, 7)
    assert np.abs(before - after).max() <= 1e-5


def test_scratch_space_leaves_nothing_behind(tmp_path, files):
    """A call gives the same bytes whatever was asked for before it."""
    files.small(seed=6).write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    picture, points, turn = scene(1)
    used = CenPatchExperts(patches)
    for view, window in ((0, 11), (1, 5), (2, 9), (0, 3)):
        used.response_maps(picture, points, turn, view, window)
    fresh = CenPatchExperts(patches)
    assert np.array_equal(
        used.response_maps(picture, points, turn, 0, 7), fresh.response_maps(picture, points, turn, 0, 7)
    )


def test_what_a_fitter_uses_is_there(tmp_path, files):
    files.small().write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    experts = CenPatchExperts(patches)
    assert experts.scale == 0.35
    assert experts.visible.dtype == np.bool_
    assert experts.weights.dtype == np.float32
    assert np.array_equal(experts.weights == 1, patches.visibilities)
    assert experts.view_index(f32([1, 0, np.deg2rad(-22), 0, 0, 0])) == 0
    assert experts.view_index(f32([1, 0, np.deg2rad(-23), 0, 0, 0])) == 1
    assert experts.view_index(f32([1, 0, np.deg2rad(40), 0, 0, 0])) == 2


@pytest.mark.parametrize("window", [0, 1, 2, 8])
def test_a_window_without_a_checkerboard_is_refused(tmp_path, files, window):
    files.small().write(tmp_path / "cen.dat")
    experts = CenPatchExperts(read_cen_patches(tmp_path / "cen.dat"))
    with pytest.raises(ShapeError, match=f"odd number of at least 3, got {window}"):
        experts.response_maps(np.zeros((20, 20), np.float32), np.zeros(10, np.float32), IDENTITY, 0, window)


def test_patches_of_another_size_are_refused():
    layer = DenseLayer(np.zeros((10, 1), np.float32), np.zeros(1, np.float32), "sigmoid")
    with pytest.raises(ModelError, match=r"expected patches of 11 x 11 pixels, got \[\(3, 3\)\]"):
        CenPatchExperts(of_one_view([CenPatchExpert(3, 3, (layer,), 1.0)], [0]))


@pytest.mark.slow
def test_a_file_of_the_real_size_gives_maps_in_every_view(tmp_path: Path, files, reference):
    made = files.real(files.REAL_FINE, profile=37, scale=0.5)
    made.write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(f32(rng.uniform(0, 255, (240, 320))), (0, 0), 1.5)
    points = f32([*rng.uniform(40, 280, 68), *rng.uniform(40, 200, 68)])
    experts = CenPatchExperts(patches)
    turn = f32([[2, 0.1], [-0.1, 2]])
    for view in range(7):
        maps = experts.response_maps(picture, points, turn, view, 7)
        seen = patches.visibilities[view]
        assert maps[~seen].any() == 0
        for point in rng.choice(np.flatnonzero(seen), 3):
            home, twin, mirrored = patches.source(view, int(point))
            wanted = reference("cen_reference").response(
                area_at(picture, turn, points[point], points[68 + point], 7), made.layers[home, twin], mirrored=mirrored
            )
            assert np.abs(maps[point] - wanted).max() <= 5e-6
