"""Reader of CEN patch experts: the real layout and size, everything a small file holds, and damaged files."""

from __future__ import annotations

import itertools
import runpy
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.cen import read_cen_patches
from auflow.models.manifest import load_ceclm_files

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "reference/cen_files.py")))

MODELS = "lib/local/LandmarkDetector/model/patch_experts/"
REAL = {
    "cen_patches_0.25_of.dat": (files.REAL_COARSE, 35, 0.25),
    "cen_patches_0.35_of.dat": (files.REAL_COARSE, 35, 0.35),
    "cen_patches_0.50_of.dat": (files.REAL_FINE, 37, 0.5),
    "cen_patches_1.00_of.dat": (files.REAL_FINE, 37, 1.0),
}


def size_of(widths, stored: int, *, views: int = 7, points: int = 68) -> int:
    """Bytes of a file by its layout: MatBin headers of 12, slots of 16 + 8, layers of 4 and two matrices."""
    head = 8 + 4 + views * (12 + 3 * 8) + views * (12 + points * 4) + (12 + points * 4) + (12 + views * 4)
    layers = sum(4 + (12 + 4 * o) + (12 + 4 * i * o) for i, o in itertools.pairwise(widths))
    return head + views * points * (16 + 8) + stored * layers


def test_the_layout_meets_the_real_files_sizes_to_the_byte():
    """For one number of stored experts each: the frontal half, both half profiles of one side, its profile."""
    real = {Path(extra.file.path).name: extra.file.size for extra in load_ceclm_files() if extra.urls}
    assert real.keys() == REAL.keys()
    for name, (widths, profile, _) in REAL.items():
        front = (68 + len(files.MIDDLE)) // 2
        wanted = {n for n in range(7 * 68 + 1) if size_of(widths, n) == real[name]}
        assert wanted == {front + 68 + 68 + profile} == {210 if widths == files.REAL_COARSE else 212}


def test_ccnf_s_visibilities_explain_the_number_of_stored_experts(models_dir):
    """The CCNF file of the same program sees 35 points from the side: 39 + 68 + 68 + 35 are the 210 of two files."""
    from auflow.models.ccnf import read_ccnf_patches
    from auflow.models.store import originals

    patches = read_ccnf_patches(originals(models_dir) / MODELS / "ccnf_patches_0.25_general.txt")
    assert patches.visibilities.sum(axis=1).tolist() == [68, 68, 68, 35, 35, 68, 68]
    assert patches.centres_deg[:, 1].tolist() == list(files.YAW_DEG)
    for view, other in enumerate(files.MIRROR_VIEWS):
        assert (patches.visibilities[view][list(files.MIRROR_68)] == patches.visibilities[other]).all()


def test_the_writer_s_mirror_points_are_pairs_across_the_real_face(models_dir):
    from auflow.models.pdm import read_pdm
    from auflow.models.store import originals

    pdm = read_pdm(originals(models_dir) / "lib/local/LandmarkDetector/model/pdms/In-the-wild_aligned_PDM_68.txt")
    x, y, _ = pdm.mean_shape.reshape(3, -1)
    mirror = list(files.MIRROR_68)
    assert [mirror[mirror[i]] for i in range(68)] == list(range(68))
    assert np.abs(x + x[mirror] - 2 * np.median(x + x[mirror]) / 2).max() < 3
    assert np.abs(y - y[mirror]).max() < 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cen_patches_0.35_of.dat", "cen_patches_1.00_of.dat"])
def test_a_file_of_the_real_size_is_read(tmp_path, name):
    widths, profile, scale = REAL[name]
    made = files.real(widths, profile=profile, scale=scale)
    made.write(tmp_path / name)
    expected = next(extra.file.size for extra in load_ceclm_files() if extra.file.path.endswith(name))
    assert (tmp_path / name).stat().st_size == expected
    patches = read_cen_patches(tmp_path / name)
    stored = sum(bool(expert.layers) for view in patches.experts for expert in view)
    assert (patches.scale, stored) == (scale, 39 + 68 + 68 + profile)
    assert [layer.weights.shape for layer in patches.experts[2][67].layers] == list(itertools.pairwise(widths))
    for view in range(7):
        for point in np.flatnonzero(patches.visibilities[view]).tolist():
            home, twin, mirrored = patches.source(view, point)
            assert patches.experts[home][twin].layers
            assert mirrored == (view > 3 or (view == 0 and point > files.MIRROR_68[point]))


@pytest.mark.parametrize("transposed", [False, True])
def test_everything_a_small_file_holds(tmp_path, transposed):
    made = files.small(transposed=transposed)
    made.write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    assert patches.scale == 0.35
    np.testing.assert_array_equal(patches.centres_deg, [[0, 0, 0], [0, -45, 0], [0, 45, 0]])
    np.testing.assert_array_equal(patches.visibilities, made.visible == 1)
    assert patches.mirror_points.tolist() == [1, 0, 3, 2, 4]
    assert patches.mirror_views.tolist() == [0, 2, 1]
    held = {(v, p) for v, row in enumerate(patches.experts) for p, expert in enumerate(row) if expert.layers}
    assert held == made.layers.keys() == {(0, 0), (0, 2), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)}
    for key, wanted in made.layers.items():
        expert = patches.experts[key[0]][key[1]]
        assert (expert.width, expert.height, expert.confidence) == (11, 11, files.confidence(key))
        assert [layer.activation for layer in expert.layers] == ["relu", "relu", "sigmoid"]
        for layer, (weights, biases) in zip(expert.layers, wanted, strict=True):
            np.testing.assert_array_equal(layer.weights, weights)
            np.testing.assert_array_equal(layer.biases, biases)
            assert layer.weights.dtype == layer.biases.dtype == np.float32
            assert not layer.weights.flags.writeable
    assert patches.experts[2][3].confidence == 0.25
    assert patches.source(0, 0) == (0, 0, False)
    assert patches.source(0, 1) == (0, 0, True)
    assert patches.source(2, 2) == (1, 3, True)


def test_weights_are_views_of_the_mapped_file(tmp_path):
    files.small().write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    assert not patches.experts[0][0].layers[0].weights.flags.owndata
    assert not patches.experts[0][0].layers[0].weights.T.flags.owndata


def test_any_cut_and_any_tail_is_refused(tmp_path, refuses_any_cut):
    files.small(widths=(122, 3, 1)).write(tmp_path / "made.dat")
    refuses_any_cut(tmp_path / "cen.dat", (tmp_path / "made.dat").read_bytes(), read_cen_patches, 211)


def broken(tmp_path, **options) -> Path:
    path = tmp_path / "cen.dat"
    files.small(**options).write(path)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scale": 0.0}, "scale: expected above 0"),
        ({"mirror_points": (1, 0, 3, 2, 5)}, "mirror indices: expected 0 to 4, got 0 to 5"),
        ({"mirror_points": (1, 0, -1, 2, 4)}, "mirror indices: expected 0 to 4, got -1 to 4"),
        ({"mirror_points": (1, 0, 3, 2)}, "mirror indices: expected 5 columns, got 4"),
        ({"mirror_views": (0, 2, 3)}, "mirror views: expected 0 to 2, got 0 to 3"),
        ({"mirror_views": (0, 2)}, "mirror views: expected 3 columns, got 2"),
        ({"visible": np.full((3, 5), 2, np.int32)}, "visibilities: expected 0 or 1"),
        ({"hidden": 1}, r"activation: expected 0 \(sigmoid\) or 2 \(ReLU\), got 1"),
        ({"widths": (122, 7, 3)}, "expected 1 output of the last layer, got 3"),
        ({"widths": (121, 7, 1)}, "weights: expected 122 x 7 or its transpose"),
        ({"widths": (122, 7, 7, 1)}, "expected 7 x 7 or its transpose, not square"),
        ({"stored": ((0, 2, 4), (1, 2, 3), ())}, r"view 1, point 4: expected an expert.*\(view 2, point 4\)"),
        ({"stored": ((2, 4), (1, 2, 3, 4), ())}, r"view 0, point 0: expected an expert.*\(view 0, point 1\)"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(tmp_path, options, says):
    with pytest.raises(ModelError, match=says):
        read_cen_patches(broken(tmp_path, **options))


def test_layers_that_do_not_follow_each_other_are_refused(tmp_path):
    made = files.small()
    made.write(tmp_path / "cen.dat")
    weights, biases = made.layers[0, 2][1]
    made.layers[0, 2][1] = (weights[:-1], biases)
    made.write(tmp_path / "cen.dat")
    with pytest.raises(ModelError, match=r"view 0, point 2, layer 1: weights: expected 12 x 9 .*got \(11, 9\)"):
        read_cen_patches(tmp_path / "cen.dat")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused(tmp_path, value):
    made = files.small()
    made.write(tmp_path / "cen.dat")
    made.layers[1, 3][0][0][5, 5] = value
    made.write(tmp_path / "cen.dat")
    with pytest.raises(ModelError, match="view 1, point 3, layer 0: weights: expected finite numbers"):
        read_cen_patches(tmp_path / "cen.dat")


def test_a_wrong_tag_and_a_missing_file_are_named(tmp_path):
    path = broken(tmp_path)
    data = bytearray(path.read_bytes())
    first = 8 + 4 + 3 * 36 + 3 * (12 + 20) + (12 + 20) + (12 + 12)
    assert struct.unpack_from("<4i", data, first) == (6, 11, 11, 3)
    data[first] = 5
    path.write_bytes(data)
    with pytest.raises(ModelError, match="view 0, point 0: expert tag: expected 6, got 5"):
        read_cen_patches(path)
    with pytest.raises(ModelError, match=r"none\.dat: cannot be read"):
        read_cen_patches(tmp_path / "none.dat")
    (tmp_path / "empty.dat").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty\.dat: at byte 0 of 0: expected scale"):
        read_cen_patches(tmp_path / "empty.dat")
