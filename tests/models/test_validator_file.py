"""The landmark validator's file: generated, real and damaged."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.store import originals
from auflow.models.types import Convolution, FullyConnected, MaxPooling, Relu
from auflow.models.validator import read_validator

REAL = "lib/local/LandmarkDetector/model/detection_validation/validator_cnn.txt"


@pytest.fixture(scope="module")
def real(models_dir):
    return read_validator(originals(models_dir) / REAL)


def test_reads_back_what_was_written(layouts, tmp_path):
    path = tmp_path / "validator.txt"
    data, held = layouts.validator()
    path.write_bytes(data)
    views = read_validator(path).views
    assert [view.orientation_deg.tolist() for view in views] == [[0, 0, 0], [0, 20, 0]]
    for view, wanted in zip(views, held, strict=True):
        first, relu, pool, second, dense = view.layers
        assert isinstance(first, Convolution)
        assert isinstance(second, Convolution)
        assert isinstance(dense, FullyConnected)
        assert (relu, pool) == (Relu(), MaxPooling(2, 2))
        np.testing.assert_array_equal(first.weights, wanted.conv)
        np.testing.assert_array_equal(first.biases, wanted.bias)
        np.testing.assert_array_equal(second.weights, wanted.second)
        np.testing.assert_array_equal(dense.weights, wanted.dense)
        np.testing.assert_array_equal(view.mean, wanted.mean)
        np.testing.assert_array_equal(view.std, wanted.std)
        assert (view.warp.min_x, view.warp.min_y, view.warp.pixels) == (-3.5, -2.5, 12)
        np.testing.assert_array_equal(view.warp.destination_landmarks, wanted.landmarks)
        np.testing.assert_array_equal(view.warp.triangle_map, wanted.triangles)
        np.testing.assert_array_equal(view.warp.pixel_mask, wanted.mask == 1)
        np.testing.assert_array_equal(view.warp.alphas, wanted.alphas)
        np.testing.assert_array_equal(view.warp.betas, wanted.betas)
        for array in (first.weights, second.weights, dense.weights, view.warp.pixel_mask):
            assert array.flags.c_contiguous
            assert not array.flags.writeable


def test_any_cut_or_tail_is_refused(layouts, tmp_path, refuses_any_cut):
    data, _ = layouts.validator(views=1)
    refuses_any_cut(tmp_path / "validator.txt", data, read_validator, 1)


def test_layers_that_do_not_fit_together_are_refused(layouts, tmp_path):
    path = tmp_path / "validator.txt"
    data, held = layouts.validator(views=1)
    dense = layouts.mat(held[0].dense, "f4")
    for old, new, says in (
        (dense, layouts.mat(held[0].dense[:-1], "f4"), "expected 18 inputs, takes 17"),
        (layouts.i32(3, 1) + layouts.i32(0, 2, 3), layouts.i32(3, 3) + layouts.i32(0, 2, 3), "inputs, takes 18"),
        (layouts.i32(3, 1) + layouts.i32(0, 2, 3), layouts.i32(3, 9) + layouts.i32(0, 2, 3), "0 to 3, got 9"),
    ):
        assert data.count(old) == 1
        path.write_bytes(data.replace(old, new))
        with pytest.raises(ModelError, match=says):
            read_validator(path)


def test_a_mask_other_than_the_triangle_map_is_refused(layouts, tmp_path):
    path = tmp_path / "validator.txt"
    data, held = layouts.validator(views=1)
    wrong = held[0].mask.copy()
    wrong[2, 3], wrong[0, 0] = 0, 1
    path.write_bytes(data.replace(layouts.mat(held[0].mask, "i4"), layouts.mat(wrong, "i4")))
    with pytest.raises(ModelError, match="triangle map"):
        read_validator(path)


def test_real_file_has_the_known_networks(real):
    assert [view.orientation_deg[1] for view in real.views] == [0, -20, -45, -70, 20, 45, 70]
    assert [view.mean.size for view in real.views] == [2642, 2469, 1665, 1491, 2494, 1690, 1536]
    for view in real.views:
        kinds = [type(layer) for layer in view.layers]
        assert kinds == [Convolution, Relu, MaxPooling] * 2 + [FullyConnected, Relu, FullyConnected]
        shapes = [layer.weights.shape for layer in view.layers if isinstance(layer, Convolution | FullyConnected)]
        assert shapes == [(10, 1, 9, 9), (10, 10, 7, 7), (1000, 50), (50, 30)]
        assert view.warp.pixel_mask.shape == (60, 60)
        assert view.warp.pixels == view.mean.size == view.std.size


def test_real_warp_of_the_reference_shape_is_the_identity(real):
    for view in real.views:
        warp = view.warp
        rows, columns = np.nonzero(warp.pixel_mask)
        triangle = warp.triangle_map[rows, columns]
        at = np.stack([np.ones(rows.size), warp.min_x + columns, warp.min_y + rows], axis=1)
        a, b = (warp.alphas[triangle] * at).sum(1), (warp.betas[triangle] * at).sum(1)
        assert min(a.min(), b.min()) >= 0
        assert (a + b).max() <= 1
        corners = warp.destination_landmarks.reshape(2, -1)[:, warp.triangles[triangle]]
        i, j, k = np.moveaxis(corners, 2, 0)
        np.testing.assert_allclose((i + a * (j - i) + b * (k - i)).T, at[:, 1:], atol=1e-9)


def test_real_file_cut_anywhere_is_refused(models_dir, tmp_path, refuses_any_cut):
    data = (originals(models_dir) / REAL).read_bytes()
    refuses_any_cut(tmp_path / "validator_cnn.txt", data, read_validator, 100_003)
