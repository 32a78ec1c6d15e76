"""The whole CLNF model: the menus of the real store, a generated store, and broken menus."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.clnf import CLNF_MENU, load_clnf_models
from auflow.models.store import originals


@pytest.fixture(scope="module")
def models(models_dir):
    return load_clnf_models(models_dir)


def test_real_main_model(models):
    assert (models.main.pdm.points, models.main.pdm.modes) == (68, 34)
    assert [patches.scale for patches in models.main.patches] == [0.25, 0.35, 0.5]
    assert len(models.validator.views) == len(models.triangulations) == 7


def test_real_parts_in_the_menu_s_order(models):
    assert [part.name for part in models.parts] == ["inner", "left_eye_28", "right_eye_28"]
    inner, left, right = models.parts
    np.testing.assert_array_equal(inner.mapping, np.stack([np.arange(17, 68), np.arange(51)], axis=1))
    np.testing.assert_array_equal(left.mapping, np.stack([np.arange(36, 42), np.arange(8, 20, 2)], axis=1))
    np.testing.assert_array_equal(right.mapping, np.stack([np.arange(42, 48), np.arange(8, 20, 2)], axis=1))
    assert left.mapping.dtype == np.int32
    assert [[patches.scale for patches in part.model.patches] for part in models.parts] == [
        [1.0],
        [1.0, 1.5],
        [1.0, 1.5],
    ]
    assert [part.model.pdm.points for part in models.parts] == [51, 28, 28]


def test_loads_in_under_a_third_of_a_second_of_cpu_time(models_dir):
    spent = []
    for _ in range(3):
        start = time.process_time()
        load_clnf_models(models_dir)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.3


@pytest.fixture
def store(layouts, tmp_path) -> Path:
    """A tiny but complete CLNF store: a main model of 4 points and one part of 2."""
    folder = (originals(tmp_path) / CLNF_MENU).parent
    (folder / "part").mkdir(parents=True)

    def pdm(points: int) -> str:
        values = np.arange(3.0 * points)[:, None]
        return "".join(layouts.mat_text(block, 6) for block in (values, values + 1, [[2.0]]))

    (folder / "main_clnf_general.txt").write_text(
        "LandmarkDetector main.txt\nLandmarkDetector_part part/menu.txt eye 2 0 0 1\n"
        "FaceDetConversion haar.txt\nDetectionValidator validator.txt"
    )
    (folder / "main.txt").write_text("PDM pdm.txt\nTriangulations tris.txt\nPatchesCCNF patches.txt\n")
    (folder / "part/menu.txt").write_text("LandmarkDetector model.txt")
    (folder / "part/model.txt").write_text("PDM pdm.txt \nPatchesCCNF patches.txt")
    (folder / "pdm.txt").write_text(pdm(4))
    (folder / "part/pdm.txt").write_text(pdm(2))
    (folder / "tris.txt").write_text(layouts.mat_text([[0, 1, 2]], 4))
    (folder / "patches.txt").write_bytes(layouts.ccnf(points=4)[0])
    (folder / "part/patches.txt").write_bytes(layouts.ccnf(points=2)[0])
    (folder / "validator.txt").write_bytes(layouts.validator()[0])
    return tmp_path


def test_generated_store_loads(store):
    models = load_clnf_models(store)
    assert models.main.pdm.points == 4
    (part,) = models.parts
    assert (part.name, part.mapping.tolist(), part.model.pdm.points) == ("eye", [[2, 0], [0, 1]], 2)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("main_clnf_general.txt", "DetectionValidator validator.txt", "", "expected a LandmarkDetector and"),
        ("main_clnf_general.txt", "DetectionValidator", "Detector", "got Detector"),
        ("main_clnf_general.txt", "validator.txt", "../validator.txt", "below the menu's folder"),
        ("main_clnf_general.txt", "validator.txt", "none.txt", r"none\.txt: cannot be read"),
        ("main_clnf_general.txt", "main.txt", "", "expected a file name"),
        ("main_clnf_general.txt", "eye 2 0 0 1", "eye 2 0 0", "expected a file, a name and pairs"),
        ("main_clnf_general.txt", "eye 2 0 0 1", "eye 2 0 0 x", "expected landmark indices"),
        ("main_clnf_general.txt", "eye 2 0 0 1", "eye 4 0 0 1", "part eye: expected landmarks of the main model"),
        ("main_clnf_general.txt", "eye 2 0 0 1", "eye 2 0 0 2", "part eye: expected landmarks of the part"),
        ("main_clnf_general.txt", "eye 2 0 0 1", "eye 2 0 2 1", "once each"),
        ("main_clnf_general.txt", "eye 2 0 0 1", "eye 2 0 0 2147483648", "expected landmark indices"),
        ("main_clnf_general.txt", "validator.txt", "a\0b.txt", r"below the menu's folder, got 'a\\x00b"),
        ("main_clnf_general.txt", "FaceDetConversion haar.txt", "LandmarkDetector main.txt", "got another"),
        ("main_clnf_general.txt", "FaceDetConversion haar.txt", "LandmarkDetector_part part/menu.txt eye 3 1", "names"),
        ("main.txt", "Triangulations tris.txt", "PatchesCCNF patches.txt", "different scales, got"),
        ("main.txt", "PatchesCCNF", "PatchesCEN", "got PatchesCEN"),
        ("main.txt", "PDM pdm.txt", "PDM part/pdm.txt", "expected patch experts of the PDM's 2 points, got 4"),
        ("main.txt", "PDM pdm.txt\n", "", "expected a PDM line"),
        ("part/menu.txt", "LandmarkDetector model.txt", "", "expected one LandmarkDetector line, got 0"),
    ],
)
def test_broken_menus_are_refused(store, file, old, new, says):
    path = (originals(store) / CLNF_MENU).parent / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=says):
        load_clnf_models(store)


def test_a_validator_of_another_number_of_points_is_refused(store):
    folder = (originals(store) / CLNF_MENU).parent
    (folder / "main.txt").write_text("PDM part/pdm.txt\nPatchesCCNF part/patches.txt\n")
    (folder / "main_clnf_general.txt").write_text("LandmarkDetector main.txt\nDetectionValidator validator.txt\n")
    with pytest.raises(ModelError, match=r"a validator of the PDM's 2 points, got 4; type `auflow models verify`"):
        load_clnf_models(store)
