"""PDMs and triangulations: generated files, real files, damaged files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.pdm import read_pdm, read_triangulation
from auflow.models.store import originals

LANDMARKS = "lib/local/LandmarkDetector/model"
PDMS = {
    f"{LANDMARKS}/pdms/In-the-wild_aligned_PDM_68.txt": (68, 34),
    f"{LANDMARKS}/model_inner/pdms/pdm_51_inner.txt": (51, 32),
    f"{LANDMARKS}/model_eye/pdms/pdm_28_l_eye_3D_closed.txt": (28, 10),
    f"{LANDMARKS}/model_eye/pdms/pdm_28_eye_3D_closed.txt": (28, 10),
    "lib/local/FaceAnalyser/AU_predictors/In-the-wild_aligned_PDM_68.txt": (68, 34),
}


def pdm_text(layouts, points: int = 2, modes: int = 3) -> str:
    rng = np.random.default_rng(1)
    mean, components = rng.normal(size=(3 * points, 1)), rng.normal(size=(3 * points, modes))
    return "".join(layouts.mat_text(values, 6) for values in (mean, components, rng.random((1, modes)) + 0.1))


def test_pdm_reads_back_what_was_written(layouts, tmp_path):
    path = tmp_path / "pdm.txt"
    path.write_text(pdm_text(layouts))
    pdm = read_pdm(path)
    numbers = np.random.default_rng(1)
    np.testing.assert_allclose(pdm.mean_shape, numbers.normal(size=6), atol=5e-7)
    np.testing.assert_allclose(pdm.principal_components, numbers.normal(size=(6, 3)), atol=5e-7)
    assert (pdm.points, pdm.modes, pdm.eigenvalues.shape) == (2, 3, (3,))
    for array in (pdm.mean_shape, pdm.principal_components, pdm.eigenvalues):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert not array.flags.writeable


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 10, 20, 30])
def test_pdm_with_values_lost_is_refused(layouts, tmp_path, lost):
    path = tmp_path / "pdm.txt"
    path.write_text(pdm_text(layouts).rsplit(maxsplit=lost)[0])
    with pytest.raises(ModelError, match=r"pdm\.txt.*expected"):
        read_pdm(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("6\n1\n6\n", "5\n1\n6\n", "expected"),
        ("6\n1\n6\n", "6\n1\n9\n", "expected 0 to 6, got 9"),
        ("6\n1\n6\n", "6\n1\n4\n", "expected a matrix type"),
        ("6\n1\n6\n", "6\n-1\n6\n", "got -1"),
        ("6\n1\n6\n", "6\n1.5\n6\n", "expected an integer, got '1.5'"),
        ("6\n1\n6\n", "6\n1\n6\nnan ", "expected finite"),
        ("6\n1\n6\n", "6\n1\n6\nx", "expected numbers"),
        ("6\n3\n6\n", "18\n1\n6\n", "expected 6 rows, got 18"),
        ("1\n3\n6\n", "1\n2\n6\n", "expected"),
        ("1\n3\n6\n", "1\n3\n6\n-", "expected all above 0"),
    ],
)
def test_pdm_of_another_layout_is_refused(layouts, tmp_path, old, new, says):
    path = tmp_path / "pdm.txt"
    text = pdm_text(layouts)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=says):
        read_pdm(path)


def test_pdm_with_more_after_its_end_is_refused(layouts, tmp_path):
    path = tmp_path / "pdm.txt"
    path.write_text(pdm_text(layouts) + "0.5\n")
    with pytest.raises(ModelError, match="expected the end of the file, got 1 more"):
        read_pdm(path)


def test_what_is_no_text_or_not_there_is_refused(tmp_path):
    path = tmp_path / "pdm.txt"
    with pytest.raises(ModelError, match="cannot be read"):
        read_pdm(path)
    path.write_bytes(b"\x00\xff\xfe")
    with pytest.raises(ModelError, match="expected a text file"):
        read_pdm(path)


@pytest.mark.parametrize(("path", "shape"), PDMS.items())
def test_real_pdm(models_dir, path, shape):
    points, modes = shape
    pdm = read_pdm(originals(models_dir) / path)
    assert (pdm.mean_shape.shape, pdm.principal_components.shape) == ((3 * points,), (3 * points, modes))
    assert (np.diff(pdm.eigenvalues) <= 0).all()
    np.testing.assert_allclose(pdm.mean_shape.reshape(3, -1).mean(axis=1), 0, atol=8)
    # Modes of a PCA are orthonormal: a transposed or shifted read would not be.
    np.testing.assert_allclose(pdm.principal_components.T @ pdm.principal_components, np.eye(modes), atol=0.02)


@pytest.mark.golden
def test_real_pdm_gives_the_golden_landmarks_from_the_golden_parameters(models_dir, golden):
    pdm = read_pdm(originals(models_dir) / next(iter(PDMS)))
    with gzip.open(golden / "image_sequence/trace/dump.jsonl.gz", "rt") as stream:
        frame = next(event for event in map(json.loads, stream) if event["ev"] == "frame" and event["part"] == "main")
    scale, *angles, tx, ty = frame["params_global"]
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    shape = (pdm.mean_shape + pdm.principal_components @ np.array(frame["params_local"])).reshape(3, -1)
    projected = scale * (turn_x @ turn_y @ turn_z)[:2] @ shape + np.array([[tx], [ty]])
    np.testing.assert_allclose(projected.reshape(-1), frame["landmarks"], atol=2e-3)


def test_triangulations_with_and_without_a_count(layouts, tmp_path):
    first, second = [[0, 1, 2], [1, 2, 3], [4, 5, 67]], [[5, 6, 7]]
    many, single = tmp_path / "many.txt", tmp_path / "single.txt"
    many.write_text("# how many\n2\n" + layouts.mat_text(first, 4) + layouts.mat_text(second, 4))
    single.write_text(layouts.mat_text(first, 4))
    assert [found.tolist() for found in read_triangulation(many)] == [first, second]
    (alone,) = read_triangulation(single)
    assert alone.tolist() == first
    assert alone.dtype == np.int32


@pytest.mark.parametrize(
    "text",
    ["", "2\n1 3 4\n0 1 2\n", "1 3 4\n0 1 2\n3\n", "1 3 4\n0 1 68\n", "1 3 4\n0 -1 2\n", "1\n1 2 4\n0 1\n", "0\n"],
)
def test_broken_triangulations_are_refused(tmp_path, text):
    path = tmp_path / "tris.txt"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"tris\.txt"):
        read_triangulation(path)


def test_real_triangulations(models_dir):
    views = read_triangulation(originals(models_dir) / LANDMARKS / "tris_68.txt")
    # Yaw 0, -20, -45, -70, 20, 45, 70, as the validator has them and not as the patch experts do.
    assert [len(triangles) for triangles in views] == [97, 97, 82, 31, 97, 82, 31]
    near_left, near_right = set(views[3].ravel()), set(views[6].ravel())
    assert 0 in near_left - near_right
    assert 16 in near_right - near_left
    for folder in (LANDMARKS, "lib/local/FaceAnalyser/AU_predictors"):
        (full,) = read_triangulation(originals(models_dir) / folder / "tris_68_full.txt")
        assert full.shape == (111, 3)
        assert set(full.ravel()) <= set(range(68))
