"""CE-CLM: the fit with experts taught from one picture, and the stage on generated model files."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.backends.ort import OrtBackend
from auflow.benchmarks.taught_cen import teach
from auflow.errors import ModelError
from auflow.export.graphs import exports
from auflow.export.onnx_files import write_onnx
from auflow.models.ceclm import (
    CECLM_MENU,
    CeclmModels,
    CenModel,
    EarlyTermination,
    load_ceclm_models,
)
from auflow.models.cen import CenPatches, CenPatchExpert, DenseLayer
from auflow.models.clnf import load_clnf_models
from auflow.models.manifest import load_ceclm_files
from auflow.models.store import originals
from auflow.stages.clnf import ClnfStage, fit_kernels, patch_kernels
from auflow.stages.clnf.ceclm import CeclmFaceModel
from auflow.stages.clnf.cen_accuracy import KnownFace, measure_int8
from auflow.stages.clnf.tracker import HYPOTHESES_RAD, FaceTracker
from auflow.stages.clnf.validator import LandmarkValidator
from auflow.stages.records import Frame
from auflow.stages.settings import StageSettings

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "reference/cen_files.py")))


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def taught(picture: np.ndarray, g: np.ndarray, p: np.ndarray, models: Any, pdm: Any) -> CeclmModels:
    """CE-CLM with experts that know each landmark's surroundings in this picture: a normalised template each."""
    base, shape = pdm.landmarks_px(g, p), pdm.shape_mm(p)
    n = pdm.point_count
    scales = []
    for scale in (0.25, 0.35, 0.5, 1.0):
        to_ref, to_img = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
        fit_kernels.similarity(base, shape[: 2 * n] * np.float32(scale), n, to_ref, to_img)
        steps, area = np.empty((2, 11), np.int32), np.empty((11, 11), np.float32)
        patch_kernels.grid_steps(to_img[0, 0], -to_img[0, 1], steps)
        experts = []
        for i in range(n):
            patch_kernels.warp_patch(picture, to_img[0, 0], -to_img[0, 1], base[i], base[n + i], steps, area)
            centred = area - area.mean()
            column_by_column = (centred / max(float(np.linalg.norm(centred)), 1e-3)).T.reshape(-1)
            weights = f32(np.concatenate([[0.0], 20 * column_by_column]))[:, None]
            layer = DenseLayer(weights, f32([-16.0]), "sigmoid")
            experts.append(CenPatchExpert(11, 11, (layer,), 1.0))
        scales.append(
            CenPatches(
                scale, np.zeros((1, 3)), np.ones((1, n), np.bool_), np.arange(n, dtype=np.int32),
                np.zeros(1, np.int32), (tuple(experts),),
            )
        )  # fmt: skip
    rule = EarlyTermination(np.ones(1), np.zeros(1), np.full(1, -1.5))
    return CeclmModels(CenModel(models.main.pdm, tuple(scales), rule), models.parts[1:], models.validator, ())


@pytest.fixture(scope="module")
def lesson(trace, models_dir, clnf_models, face_model) -> SimpleNamespace:
    """A face of the traces, where it is, and a CE-CLM taught from it."""
    events = trace("default")
    gray = f32(np.load(events.folder / "f000001_gray.npy"))
    frame = events.frames[1]
    g, p = f32(frame["params_global"]), f32(frame["params_local"])
    models = taught(gray, g, p, clnf_models, face_model.pdm)
    return SimpleNamespace(gray=gray, g=g, p=p, models=models, model=CeclmFaceModel(models))


def distance(model: CeclmFaceModel, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean distance of the landmarks of two parameter sets, pixels."""
    gap = (model.pdm.landmarks_px(*a) - model.pdm.landmarks_px(*b)).reshape(2, -1)
    return float(np.hypot(*gap).mean())


@pytest.mark.golden
@pytest.mark.parametrize("turn", [-0.06, 0.06])
def test_experts_taught_from_a_picture_find_the_face_in_it_again(lesson, turn):
    """Wrong order of pixels, positions, flips or signs would lead away from it."""
    g = lesson.g + f32([0.02 * lesson.g[0], turn, -turn, turn, 5, -4])
    p = lesson.p * np.float32(0.5)
    before = distance(lesson.model, (g, p), (lesson.g, lesson.p))
    outcome = lesson.model.main.fit(lesson.gray, (11, 9, 7, 5), g, p)
    after = distance(lesson.model, (g, p), (lesson.g, lesson.p))
    assert outcome.ok
    assert before > 5
    assert after < 0.7


def starts_in(model: CeclmFaceModel, g: np.ndarray, p: np.ndarray) -> list[np.ndarray]:
    """The 11 starts in the box of the face of these parameters."""
    x, y = model.pdm.landmarks_px(g, p).reshape(2, -1)
    box = f32([x.min(), y.min(), np.ptp(x), np.ptp(y)])
    return [model.pdm.params_from_box(box, rotation) for rotation in HYPOTHESES_RAD]


@pytest.mark.golden
def test_the_best_of_the_starts_is_the_face_and_the_search_ends_there(lesson):
    model = lesson.model
    tried = []

    def starts():
        for start in starts_in(model, lesson.g, lesson.p):
            tried.append(start)
            yield start

    state = model.best_of(lesson.gray, starts())
    assert 1 <= len(tried) < 11
    assert state.success
    assert distance(model, (state.params_global, state.params_local), (lesson.g, lesson.p)) < 1.5
    assert [part.name for part in state.parts] == ["left_eye_28", "right_eye_28"]
    eyes = sum(4 for part in state.parts if part.refined)
    assert state.outcome.optimisations == 2 * 4 + eyes  # the coarse scale counts too


@pytest.mark.golden
def test_the_limits_are_those_given(lesson):
    model = CeclmFaceModel(lesson.models, iterations=2, tolerance_px=0.0)
    outcome = model.fit(lesson.gray, lesson.g, lesson.p, tracking=False).outcome
    assert (outcome.iterations, outcome.converged) == (2 * outcome.optimisations, 0)
    model = CeclmFaceModel(lesson.models, tolerance_px=1e6)
    outcome = model.fit(lesson.gray, lesson.g, lesson.p, tracking=True).outcome
    assert outcome.iterations == outcome.converged == outcome.optimisations > 0


@pytest.mark.golden
def test_in_a_blank_picture_all_starts_are_tried_and_three_go_on(lesson, monkeypatch):
    counts = {"coarse": 0, "fine": 0}

    def counted(name: str):
        plain = getattr(CeclmFaceModel, name)

        def call(self, gray, start):
            counts[name] += 1
            return plain(self, gray, start)

        return call

    for name in counts:
        monkeypatch.setattr(CeclmFaceModel, name, counted(name))
    state = lesson.model.best_of(np.zeros_like(lesson.gray), starts_in(lesson.model, lesson.g, lesson.p))
    assert counts == {"coarse": 11, "fine": 3}
    assert not state.success


@pytest.mark.golden
def test_settings_and_windows_of_each_pass(lesson, monkeypatch):
    model = lesson.model
    asked: list[tuple[int, ...]] = []
    plain = type(model.main).fit

    def record(self, gray, windows, g, p, **how):
        if self is model.main:
            asked.append(tuple(windows))
        return plain(self, gray, windows, g, p, **how)

    monkeypatch.setattr(type(model.main).__mro__[1], "fit", record)
    fit = model.coarse(lesson.gray, lesson.g)
    model.fine(lesson.gray, fit)
    model.fit(lesson.gray, lesson.g, lesson.p, tracking=False)
    model.fit(lesson.gray, lesson.g, lesson.p, tracking=True)
    held = [windows + (0,) * (4 - len(windows)) for windows in asked]
    assert held == [(11, 0, 0, 0), (0, 9, 7, 5), (11, 9, 7, 5), (0, 9, 7, 0)]
    assert [experts.scale for experts in model.main.experts] == [0.25, 0.35, 0.5, 1.0]
    at = [model.main.settings.at_scale(scale) for scale in (0.25, 0.5, 1.0)]
    assert at == [(2.25, 22.5, 0.0), (2.5, 7.5, 0.0), (2.75, 0.001, 0.0)]


@pytest.fixture(scope="module")
def store(ceclm_dir, tmp_path_factory) -> Path:
    """A store with OpenFace's menus and small files, and generated experts of few neurons."""
    root = tmp_path_factory.mktemp("store")
    folder = (originals(root) / CECLM_MENU).parent
    source = (originals(ceclm_dir) / CECLM_MENU).parent
    for part in ("model_eye", "pdms"):
        shutil.copytree(source / part, folder / part, copy_function=shutil.copyfile)
    (folder / "patch_experts").mkdir()
    (folder / "detection_validation").mkdir()
    for extra in load_ceclm_files():
        name = Path(extra.file.path).relative_to(Path(CECLM_MENU).parent)
        if not extra.urls:
            shutil.copyfile(source / name, folder / name)
            continue
        scale = float(name.name.split("_")[2])
        made = files.real((122, 6, 4, 1), profile=35, scale=scale, seed=int(100 * scale))
        made.write(folder / name)
    shutil.copyfile(source / "tris_68.txt", folder / "tris_68.txt")
    return root


def test_the_menus_put_ceclm_together(store):
    models = load_ceclm_models(store)
    assert [patches.scale for patches in models.main.patches] == [0.25, 0.35, 0.5, 1.0]
    assert (models.main.pdm.points, models.main.pdm.modes) == (68, 34)
    assert [part.name for part in models.parts] == ["left_eye_28", "right_eye_28"]
    assert len(models.validator.views) == len(models.triangulations) == 7


def test_validator_and_pdm_are_those_of_the_menu(store, models_dir):
    ours, clnf = load_ceclm_models(store), load_clnf_models(models_dir)
    assert np.array_equal(ours.main.pdm.mean_shape, clnf.main.pdm.mean_shape)
    assert [len(models.validator.views[0].layers) for models in (ours, clnf)] == [12, 9]


@pytest.mark.golden
def test_the_validator_of_ceclm_tells_a_face_from_its_surroundings(store, lesson):
    validator = LandmarkValidator(load_ceclm_models(store).validator)
    landmarks = lesson.model.pdm.landmarks_px(lesson.g, lesson.p)
    assert validator.check(lesson.gray, landmarks, lesson.g) > 0.9
    away = landmarks + np.repeat(f32([60, -50]), 68)
    assert validator.check(lesson.gray, away, lesson.g) < 0.5


def test_a_tracker_runs_on_it_and_repeats_itself(store):
    """Random experts fit nothing; what counts is that every step runs, to the same bytes twice."""
    rng = np.random.default_rng(0)
    grays = [cv2.GaussianBlur(f32(rng.integers(0, 255, (240, 320))), (0, 0), 2) for _ in range(3)]
    box = f32([[100, 60, 120, 120, 1]])
    tracker = FaceTracker(CeclmFaceModel(load_ceclm_models(store)))

    def run() -> list[np.ndarray]:
        tracker.reset()
        found = [tracker.process(gray, lambda: box) for gray in grays]
        assert found[0].success
        assert all(np.isfinite(result.state.landmarks_px).all() for result in found)
        assert all(len(result.state.parts) == 2 for result in found)
        assert all(0 <= result.state.confidence <= 1 for result in found)
        return [result.state.landmarks_px for result in found]

    assert all(np.array_equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_a_stage_on_it_goes_on_from_its_snapshot(store):
    rng = np.random.default_rng(1)
    pictures = [cv2.GaussianBlur(rng.integers(0, 255, (240, 320, 3), np.uint8), (0, 0), 2) for _ in range(4)]
    box = f32([[100, 60, 120, 120, 1]])
    stage, other = (ClnfStage(store, StageSettings(model="ceclm", faces="all")) for _ in range(2))
    for number in (1, 2):
        stage.process(Frame(number, 0.0, pictures[number - 1]), lambda: box)
    other.restore(stage.snapshot())
    for number in (3, 4):
        ours, theirs = (one.process(Frame(number, 0.0, pictures[number - 1]), lambda: box) for one in (stage, other))
        assert np.array_equal(ours[0].eyes_px, theirs[0].eyes_px)
        assert other.snapshot() == stage.snapshot()


def test_a_stage_takes_the_precision_that_it_is_told(store):
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (240, 320, 3), np.uint8), (0, 0), 2)
    box = f32([[100, 60, 120, 120, 1]])
    both = [
        ClnfStage(store, StageSettings(model="ceclm", faces="all", cen_precision=precision))
        for precision in ("float32", "int8")
    ]
    (ours,), (theirs,) = (stage.process(Frame(1, 0.0, picture), lambda: box) for stage in both)
    apart = np.abs(ours.landmarks_px - theirs.landmarks_px)
    assert apart.max() > 0
    assert np.median(apart) < 1  # random experts pull nowhere, so little moves much


@pytest.mark.golden
def test_int8_finds_what_float32_finds_with_experts_taught_from_a_picture(lesson, clnf_models):
    """In small: the figures of docs/ceclm.md are of layers as wide as OpenFace's, whose errors average out."""
    face = KnownFace(lesson.gray, lesson.g, lesson.p)
    layouts = dict.fromkeys((0.25, 0.35, 0.5, 1.0), (122, 24, 12, 1))
    models = teach(clnf_models, [face, face], steps=40, layouts=layouts)
    found = measure_int8(models, [face])
    assert found.faces == 1
    assert 0 < found.maps_rms < 0.005
    assert found.maps_rms < found.maps_max < 0.05
    assert 0 < found.landmarks_p50_px < 0.2
    assert found.landmarks_p50_px < found.landmarks_p99_px <= found.landmarks_max_px
    assert 0 < found.floor_p50_px < found.floor_p99_px
    assert min(found.float32_ms, found.int8_ms) > 0


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("main_ceclm_general.txt", "DetectionValidator", "Detector", "got Detector"),
        ("main_ceclm_general.txt", "LandmarkDetector cen_general.txt\n", "", "expected a LandmarkDetector and"),
        ("cen_general.txt", "PatchesCEN patch_experts/cen_patches_0.25", "PatchesX x", "got PatchesX"),
        ("cen_general.txt", "EarlyTermination early_term_cen_of.txt", "", "expected a PDM, an EarlyTermination and"),
        ("cen_general.txt", "pdms/In-the-wild_aligned_PDM_68", "model_eye/pdms/pdm_28_eye_3D_closed", "of 28 points"),
        ("early_term_cen_of.txt", "1.000 1.005 1.054", "", "expected 6 views"),
    ],
)
def test_broken_menus_are_refused(store, file, old, new, says):
    path = (originals(store) / CECLM_MENU).with_name(file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        with pytest.raises(ModelError, match=says):
            load_ceclm_models(store)
    finally:
        path.write_text(text)


def test_a_backend_computes_the_same_fit(store, lesson):
    """The whole CE-CLM, its experts and its eyes by graphs, from the same start."""
    models = load_ceclm_models(store)
    exact, ours = CeclmFaceModel(models), CeclmFaceModel(models, backend=OrtBackend("ort-cpu"))
    local = np.zeros(exact.pdm.mode_count, np.float32)
    start = lesson.g.copy()
    found, expected = (model.fit(lesson.gray, start, local, tracking=True) for model in (ours, exact))
    np.testing.assert_allclose(found.landmarks_px, expected.landmarks_px, atol=0.05)
    assert [part.name for part in found.parts] == ["left_eye_28", "right_eye_28"]
    assert len(ours.main.experts[1]._graphs) == 1


def test_the_graphs_are_exported_with_their_errors(store, tmp_path):
    exports_ = [each for each in exports(store, ("cen",)) if each.name in ("cen_main_0.5_view0", "cen_main_1_view3")]
    written = write_onnx(tmp_path, exports_)
    assert [each.name for each in written] == ["cen_main_0.5_view0", "cen_main_1_view3"]
    assert all(0 < each.largest_error < 1e-3 for each in written)
    assert written[0].outputs["maps"]["shape"] == ("b", 68, 7, 7)
    assert written[1].outputs["maps"]["shape"] == ("b", 35, 5, 5)
