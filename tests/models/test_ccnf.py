"""CCNF patch experts: generated files, real files, damaged files."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.ccnf import read_ccnf_patches
from auflow.models.store import originals

FOLDER = "lib/local/LandmarkDetector/model"
GENERAL_YAWS = [0, -20, -45, -70, 70, 45, 20]
REAL = {
    f"{FOLDER}/patch_experts/ccnf_patches_0.25_general.txt": (0.25, 7, 68, 410, 3, (7, 9, 11, 15)),
    f"{FOLDER}/patch_experts/ccnf_patches_0.35_general.txt": (0.35, 7, 68, 410, 3, (7, 9, 11, 15)),
    f"{FOLDER}/patch_experts/ccnf_patches_0.5_general.txt": (0.5, 7, 68, 410, 3, (7, 9, 11, 15)),
    f"{FOLDER}/model_inner/patch_experts/ccnf_patches_1.00_inner.txt": (1.0, 7, 51, 307, 3, (7, 9, 11, 15)),
    f"{FOLDER}/model_eye/patch_experts/ccnf_patches_1.00_synth_lid_.txt": (1.0, 1, 28, 28, 0, (7, 9, 11, 15)),
    f"{FOLDER}/model_eye/patch_experts/ccnf_patches_1.50_synth_lid_.txt": (1.5, 1, 28, 28, 0, (7, 9, 11, 15)),
    f"{FOLDER}/model_eye/patch_experts/left_ccnf_patches_1.00_synth_lid_.txt": (
        1.0, 1, 28, 28, 0, (3, 5, 7, 9, 11, 15),
    ),
    f"{FOLDER}/model_eye/patch_experts/left_ccnf_patches_1.50_synth_lid_.txt": (
        1.5, 1, 28, 28, 0, (3, 5, 7, 9, 11, 15),
    ),
}  # fmt: skip


@pytest.mark.parametrize("betas", [0, 2])
def test_reads_back_what_was_written(layouts, tmp_path, betas):
    path = tmp_path / "patches.txt"
    data, held = layouts.ccnf(betas=betas)
    path.write_bytes(data)
    patches = read_ccnf_patches(path)
    assert patches.scale == 0.25
    np.testing.assert_array_equal(patches.centres_deg, held["centres"])
    np.testing.assert_array_equal(patches.visibilities, held["visible"] == 1)
    assert list(patches.sigma_components) == [3, 5]
    for window, sigmas in held["sigmas"].items():
        np.testing.assert_array_equal(patches.sigma_components[window], sigmas)
        assert patches.sigma_components[window].shape == (betas, window**2, window**2)
    for view, row in enumerate(patches.experts):
        for point, expert in enumerate(row):
            if (view, point) not in held["experts"]:
                assert expert is None
                continue
            assert expert is not None
            weights, numbers, edge, confidence = held["experts"][view, point]
            np.testing.assert_array_equal(expert.weights, weights)
            np.testing.assert_array_equal(
                np.stack([expert.norm_weights, expert.biases, expert.alphas], axis=1), numbers
            )
            np.testing.assert_array_equal(expert.betas, edge)
            assert expert.confidence == confidence
            assert (expert.weights.dtype, expert.alphas.dtype) == (np.float32, np.float64)
            for array in (expert.weights, expert.norm_weights, expert.biases, expert.alphas, expert.betas):
                assert array.flags.c_contiguous
                assert array.flags.aligned
                assert not array.flags.writeable


def test_any_cut_or_tail_is_refused(layouts, tmp_path, refuses_any_cut):
    data, _ = layouts.ccnf(views=1, points=2, windows=(2,), betas=1)
    refuses_any_cut(tmp_path / "patches.txt", data, read_ccnf_patches, 1)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["weights", "numbers", "betas", "confidence", "sigma", "centre"])
def test_what_is_not_finite_is_refused(layouts, tmp_path, poison, what):
    path = tmp_path / "patches.txt"
    data, held = layouts.ccnf()
    weights, numbers, edge, confidence = held["experts"][0, 2]
    old, kind = {
        "weights": (weights[1, 3, 4], "<f4"),
        "numbers": (numbers[1, 2], "<f8"),
        "betas": (edge[1], "<f8"),
        "confidence": (confidence, "<f8"),
        "sigma": (held["sigmas"][5][1, 7, 7], "<f4"),
        "centre": (held["centres"][1, 1], "<f8"),
    }[what]
    needle = np.array(old, kind).tobytes()
    assert data.count(needle) == 1
    path.write_bytes(data.replace(needle, np.array(poison, kind).tobytes()))
    with pytest.raises(ModelError, match="expected finite"):
        read_ccnf_patches(path)


def test_neurons_of_another_kind_or_size_are_refused(layouts, tmp_path):
    path = tmp_path / "patches.txt"
    data, held = layouts.ccnf()
    start = data.index(held["experts"][0, 0][1][1].tobytes())  # the second neuron's three numbers
    for offset, value, says in (
        (-8, 3, "neurons of tag 2"),
        (-4, 1, "neurons of kind 0"),
        (24, 6, "expected weights"),
        (28, 6, "expected weights"),
        (32, 6, "expected weights"),
    ):
        broken = bytearray(data)
        broken[start + offset : start + offset + 4] = layouts.i32(value)
        path.write_bytes(broken)
        with pytest.raises(ModelError, match=says):
            read_ccnf_patches(path)


def test_visibility_and_neurons_must_agree(layouts, tmp_path):
    path = tmp_path / "patches.txt"
    data, _ = layouts.ccnf()
    seen = layouts.mat([[1], [0], [1]], "i4")
    assert data.count(seen) == 1
    path.write_bytes(data.replace(seen, layouts.mat([[1], [1], [1]], "i4")))
    with pytest.raises(ModelError, match="view 1, point 1"):
        read_ccnf_patches(path)


@pytest.mark.parametrize(("path", "facts"), REAL.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_real_file(models_dir, path, facts):
    scale, views, points, experts, betas, windows = facts
    file = originals(models_dir) / path
    patches = read_ccnf_patches(file)
    assert (patches.scale, patches.visibilities.shape) == (scale, (views, points))
    assert patches.centres_deg[:, 1].tolist() == GENERAL_YAWS[:views]
    assert not patches.centres_deg[:, [0, 2]].any()
    assert {window: block.shape for window, block in patches.sigma_components.items()} == {
        window: (betas, window**2, window**2) for window in windows
    }
    for block in patches.sigma_components.values():
        np.testing.assert_array_equal(block, block.transpose(0, 2, 1))  # similarities of pairs of pixels
    found = [expert for row in patches.experts for expert in row if expert is not None]
    assert len(found) == experts == patches.visibilities.sum()
    assert {expert.weights.shape for expert in found} == {(7, 11, 11)}
    assert {expert.betas.shape for expert in found} == {(betas,)}
    assert all((expert.alphas >= 0).all() for expert in found)
    assert _size_of(views, points, experts, betas, windows) == file.stat().st_size


def _size_of(views: int, points: int, experts: int, betas: int, windows: tuple[int, ...]) -> int:
    """Bytes of a file with these counts, worked out by hand."""
    header = 8 + 4 + views * (12 + 24) + views * (12 + 4 * points) + 4
    sigmas = sum(8 + betas * (12 + 4 * window**4) for window in windows)
    full = 16 + 7 * (8 + 24 + 12 + 4 * 121) + 8 * betas + 8
    return header + sigmas + experts * full + (views * points - experts) * 20


def test_real_file_cut_anywhere_is_refused(models_dir, tmp_path, refuses_any_cut):
    file = originals(models_dir) / f"{FOLDER}/model_eye/patch_experts/left_ccnf_patches_1.00_synth_lid_.txt"
    refuses_any_cut(tmp_path / file.name, file.read_bytes(), read_ccnf_patches, 1009)
