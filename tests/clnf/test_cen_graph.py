"""CE-CLM's response maps as an ONNX graph: against those of the fit, in every view, for batches of faces."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from auflow.backends.ort import OrtBackend
from auflow.errors import ModelError, ShapeError
from auflow.models.cen import CenPatches, read_cen_patches
from auflow.models.onnx.cen import build_cen_graph
from auflow.stages.clnf.cen_experts import CenPatchExperts

TURN = np.array([[1.5, 0.2], [-0.2, 1.5]], np.float32)


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


@pytest.fixture(scope="module")
def files(reference) -> SimpleNamespace:
    return reference("cen_files")


@pytest.fixture
def patches(tmp_path: Path, files) -> CenPatches:
    files.small(seed=1, widths=(122, 40, 20, 1)).write(tmp_path / "cen.dat")
    return read_cen_patches(tmp_path / "cen.dat")


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return f32(rng.uniform(0, 255, (90, 120))), f32([*rng.uniform(-5, 125, 5), *rng.uniform(-5, 95, 5)])


def both(patches: CenPatches, view: int, window: int, *, sparse: bool = True, precision: Any = "float32") -> Any:
    """Maps of three faces by the fit's own way and by the graph, of the visible points."""
    experts = CenPatchExperts(patches, sparse=sparse, precision=precision)
    model = build_cen_graph(patches, view, window, sparse=sparse, precision=precision)
    onnx.checker.check_model(onnx.load_from_string(model.data), full_check=True)
    faces = [scene(seed) for seed in range(3)]
    areas = np.stack([experts.areas(*face, TURN, view, window) for face in faces])
    (maps,) = OrtBackend("ort-cpu").load(model).run(areas)
    wanted = np.stack([experts.response_maps(*face, TURN, view, window) for face in faces])
    assert areas.shape[1:] == model.inputs[0].shape[1:]
    assert maps.shape[1:] == model.outputs[0].shape[1:]
    return wanted[:, patches.visibilities[view]], maps


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("window", [3, 9])
@pytest.mark.parametrize("view", [0, 1, 2])  # some mirrored, none, all
def test_a_graph_gives_the_maps_of_the_fit(patches, view, window, sparse):
    wanted, maps = both(patches, view, window, sparse=sparse)
    assert np.abs(wanted - maps).max() <= 3e-6
    assert wanted.std() > 3e-2


@pytest.mark.parametrize("view", [0, 2])
def test_a_graph_in_8_bits_rounds_alike(patches, view):
    wanted, maps = both(patches, view, 7, precision="int8")
    # What lies between two steps may be rounded to the other one.
    assert np.abs(wanted - maps).max() <= 5e-3
    assert np.median(np.abs(wanted - maps)) <= 1e-5
    exact, _ = both(patches, view, 7)
    assert np.abs(exact - maps).max() > 1e-4


def test_experts_of_several_forms_are_told_apart(tmp_path: Path, files):
    """One of them is wider: it cannot be in the others' product."""
    files.small(seed=2).write(tmp_path / "a.dat")
    files.small(seed=3, widths=(122, 20, 1)).write(tmp_path / "b.dat")
    ours, other = (read_cen_patches(tmp_path / name) for name in ("a.dat", "b.dat"))
    mixed = [list(view) for view in ours.experts]
    mixed[0][2] = other.experts[0][2]
    patches = CenPatches(
        ours.scale, ours.centres_deg, ours.visibilities, ours.mirror_points, ours.mirror_views,
        tuple(tuple(view) for view in mixed),
    )  # fmt: skip
    wanted, maps = both(patches, 0, 5)
    assert np.abs(wanted - maps).max() <= 3e-6


@pytest.mark.parametrize("level", [0.0, 77.25, 255.0])
def test_areas_without_contrast_give_what_the_biases_give(patches, level):
    model = build_cen_graph(patches, 1, 5)
    (maps,) = OrtBackend("ort-cpu").load(model).run(np.full((1, *model.inputs[0].shape[1:]), level, np.float32))
    picture, points = np.full((90, 120), level, np.float32), f32([60] * 5 + [45] * 5)
    wanted = CenPatchExperts(patches).response_maps(picture, points, TURN, 1, 5)
    np.testing.assert_allclose(maps[0], wanted[patches.visibilities[1]], atol=1e-6)


@pytest.mark.parametrize("window", [1, 4])
def test_a_window_without_a_checkerboard_is_refused(patches, window):
    with pytest.raises(ShapeError, match=f"odd number of at least 3, got {window}"):
        build_cen_graph(patches, 0, window)


def test_a_view_that_sees_nothing_is_refused(tmp_path: Path, files):
    made = files.small()
    made.visible = made.visible.copy()
    made.visible[2] = 0
    made.write(tmp_path / "cen.dat")
    with pytest.raises(ModelError, match="view 2 sees no points"):
        build_cen_graph(read_cen_patches(tmp_path / "cen.dat"), 2, 5)
