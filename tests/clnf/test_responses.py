"""CCNF response maps: convolution, Sigma and the whole response; references, properties, traces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.types import CcnfPatches, CcnfPatchExpert
from auflow.stages.clnf import patch_kernels as patch
from auflow.stages.clnf import response_kernels as kernels
from auflow.stages.clnf import sigma_kernels
from auflow.stages.clnf.lanes import LANES, aligned, padded
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.clnf.sigma import Shifts, make_schedule, pack_sigma


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def plain(kernel: Any) -> Any:
    """A kernel as the Python function that it was (with NUMBA_DISABLE_JIT=1 it still is one)."""
    return getattr(kernel, "py_func", kernel)


@pytest.mark.parametrize("side", [13, 15, 17, 19, 21, 25])
def test_convolution_agrees_with_the_reference(side):
    rng = np.random.default_rng(side)
    area = f32(rng.uniform(-100, 100, (side, side, LANES)))
    weights = f32(rng.normal(size=(patch.SUPPORT, patch.SUPPORT, LANES)))
    window = side - patch.SUPPORT + 1
    out = np.full(window * window * LANES, np.nan, np.float32)
    kernels.convolve(area.reshape(-1), side, weights.reshape(-1), out)
    views = np.lib.stride_tricks.sliding_window_view(area.astype(float), (patch.SUPPORT, patch.SUPPORT), axis=(0, 1))
    wanted = np.einsum("rclij,ijl->rcl", views, weights.astype(float))
    assert np.allclose(out, wanted.reshape(-1), atol=2e-3)  # 121 products of 100: sums near 1000, known to 6e-5 each


def test_the_power_of_two_is_good_to_a_few_units_in_the_last_place():
    values = f32(np.concatenate([np.linspace(-64, 64, 20001), [0, -0.0, 1e-30, -1e-30, 0.5, -0.5, 0.49999997]]))
    found = values.copy()
    kernels.exponential(found)
    assert np.allclose(found, np.exp2(values.astype(float)), rtol=3e-7, atol=0)
    beyond = f32([-1000, 1000, -np.inf, np.inf])
    kernels.exponential(beyond)
    assert np.allclose(beyond, np.exp2([-64.0, 64.0, -64.0, 64.0]), rtol=3e-7)


NEAR = ((0, 1), (0, -1), (1, 0), (-1, 0)), ((1, 1), (1, -1), (-1, 1), (-1, -1))
FAR = tuple((r * down, r * right) for r in (5, 6) for down, right in NEAR[0] + NEAR[1])


def joined(window: int, shifts: tuple[tuple[int, int], ...], value: float) -> np.ndarray:
    """A component as in the model files: `value` for the places at these shifts, their number on the diagonal."""
    S = np.zeros((window, window, window, window))
    for row, column in np.ndindex(window, window):
        for down, right in shifts:
            if 0 <= row + down < window and 0 <= column + right < window:
                S[row, column, row + down, column + right] = value
                S[row, column, row, column] += 1
    return f32(S.reshape(window**2, window**2))


WINDOWS = (5, 7)


def make_patches(seed: int = 0, *, points: int = 5, edge_features: int = 3) -> CcnfPatches:
    """Made-up experts of two views; point 1 is hidden in the second one, and one neuron is below the floor."""
    rng = np.random.default_rng(seed)
    kinds = ((NEAR[0], -1.0), (NEAR[1], -1.0), (FAR, 1.0))[:edge_features]
    sigmas = {
        window: f32([joined(window, *kind) for kind in kinds]).reshape(len(kinds), window**2, window**2)
        for window in WINDOWS
    }
    visible = np.ones((2, points), bool)
    visible[1, 1] = False

    def expert() -> CcnfPatchExpert:
        alphas = rng.uniform(0.3, 2, 3)
        alphas[2] = 5e-5 if rng.random() < 0.5 else alphas[2]
        side = patch.SUPPORT
        return CcnfPatchExpert(
            f32(rng.normal(size=(3, side, side))), rng.uniform(0.5, 4, 3), rng.normal(size=3), alphas,
            rng.uniform(0.1, 1, edge_features), float(rng.random()),
        )  # fmt: skip

    experts = tuple(tuple(expert() if visible[v, i] else None for i in range(points)) for v in range(2))
    centres = np.array([[0.0, 0, 0], [0, -45, 0]])
    return CcnfPatches(0.35, centres, visible, sigmas, experts)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture (some points stand at its edge), five points and a turn."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(f32(rng.uniform(0, 255, (90, 120))), (0, 0), 1.5)
    points = f32([*rng.uniform(-5, 125, 5), *rng.uniform(-5, 95, 5)])
    a, b = rng.uniform(0.8, 2.5), rng.uniform(-0.5, 0.5)
    return picture, points, f32([[a, -b], [b, a]])


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("edge_features", [0, 1, 2, 3])
def test_response_maps_agree_with_the_reference(reference, view, window, edge_features):
    patches = make_patches(window, edge_features=edge_features)
    picture, points, turn = scene(view)
    maps = PatchExperts(patches).response_maps(picture, points, turn, view, window)
    wanted = reference("clnf_response").response_maps(
        picture, points, turn, patches.experts[view], patches.sigma_components[window], window
    )
    assert maps.dtype == np.float32
    assert maps.shape == wanted.shape
    assert wanted.max() > 0.1
    # sums of 121 products in float32 through a sigmoid: 1e-6 of the values, an order more through Sigma
    assert np.abs(maps - wanted).max() <= 2e-5 * wanted.max()
    assert (maps >= 0).all()
    assert not maps[~patches.visibilities[view]].any()


def test_more_points_than_lanes(reference):
    """Two groups, the second of them with empty lanes, and hidden points in between."""
    points = LANES + 5
    patches = make_patches(4, points=points)
    rng = np.random.default_rng(4)
    picture, _, turn = scene(4)
    places = f32([*rng.uniform(20, 100, points), *rng.uniform(20, 70, points)])
    for view in (0, 1):
        maps = PatchExperts(patches).response_maps(picture, places, turn, view, 5)
        wanted = reference("clnf_response").response_maps(
            picture, places, turn, patches.experts[view], patches.sigma_components[5], 5
        )
        assert np.abs(maps - wanted).max() <= 2e-5 * wanted.max()
        assert (maps.reshape(points, -1).max(axis=1) > 0).sum() == patches.visibilities[view].sum()


@pytest.mark.parametrize("window", [5, 7, 9, 15])
@pytest.mark.parametrize("features", [0, 1, 2, 3])
def test_the_iteration_gives_sigma_times_the_response(reference, window, features):
    """Against the inverse itself, for well and badly conditioned lanes side by side."""
    patches = make_patches(3, points=LANES + 3, edge_features=features)
    components = f32([joined(window, *kind) for kind in ((NEAR[0], -1.0), (NEAR[1], -1.0), (FAR, 1.0))[:features]])
    components = components.reshape(features, window**2, window**2)
    shifts = Shifts.of(components, window)
    diagonal, *lanes_of, schedule = pack_sigma(patches.experts[0], shifts, make_schedule(patches.experts, shifts))
    responses = np.random.default_rng(window).uniform(0, 2, (LANES + 3, window**2))
    for group in range(2):
        points = range(group * LANES, min((group + 1) * LANES, LANES + 3))
        left, product, answer = aligned((3, window**2 * LANES), np.float32)
        for point in points:
            left[point % LANES :: LANES] = responses[point]
        room = aligned((window + 12) * sigma_kernels.STRIDE, np.float32)
        couplings = tuple(lanes[group] for lanes in lanes_of)
        sigma_kernels.solve(left, window, diagonal[group], couplings, schedule, room, product, answer)
        for point in points:
            expert = patches.experts[0][point]
            sigma = reference("clnf_response").sigma(expert, components, window)
            wanted = sigma @ responses[point] * 2 * expert.alphas.sum()
            found = answer[point % LANES :: LANES]
            assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()


def test_the_far_shifts_matter(reference):
    """The matrices of the test do couple distant places: without them the answer would be another."""
    patches = make_patches(3)
    expert = patches.experts[0][0]
    near = f32([joined(7, NEAR[0], -1.0), joined(7, NEAR[1], -1.0), np.zeros((49, 49))])
    response = np.random.default_rng(0).uniform(0, 2, 49)
    with_far, without = (
        reference("clnf_response").sigma(expert, components, 7) @ response
        for components in (patches.sigma_components[7], near)
    )
    assert np.abs(with_far - without).max() > 0.01 * np.abs(with_far).max()


@pytest.mark.parametrize("fault", ["random", "one place", "one side", "another distance"])
def test_matrices_that_are_no_sums_of_shifts_are_refused(fault):
    component = joined(5, NEAR[0], -1.0)
    if fault == "random":
        component = f32(np.random.default_rng(0).normal(size=(25, 25)))
    elif fault == "one place":
        component[3, 4] = component[4, 3] = -2
    elif fault == "another distance":
        component = joined(5, ((0, 2), (0, -2)), -1.0)
    else:
        component = f32(np.where(np.arange(25)[:, None] < np.arange(25), component, 0)) + f32(np.eye(25))
    with pytest.raises(ModelError, match="expected similarity matrices for windows of 5 x 5 that are sums of shifts"):
        Shifts.of(component[None], 5)


def test_windows_beyond_the_widest_are_refused():
    with pytest.raises(ModelError, match="expected windows of up to 15 x 15, got 17 x 17"):
        Shifts.of((), 17)


def test_as_many_matrices_as_betas_are_expected():
    patches = make_patches(0, edge_features=3)
    with pytest.raises(ModelError, match="2 matrices for 3 betas"):
        make_schedule(patches.experts, Shifts.of(patches.sigma_components[5][:2], 5))


def test_lanes_begin_at_cache_lines():
    assert [padded(n) for n in (1, LANES, LANES + 1)] == [LANES, LANES, 2 * LANES]
    for shape in (3, (2, 5)):
        memory = aligned(shape, np.float32)
        assert memory.ctypes.data % 64 == 0
        assert memory.size == np.prod(shape)
        assert not memory.any()


@pytest.mark.parametrize("level", [0.0, 77.0, 255.0])
def test_a_plain_picture_gives_the_biases_alone(level):
    """No contrast: every neuron sees its bias, at every position of the window."""
    patches = make_patches(1, edge_features=0)
    picture = np.full((90, 120), level, np.float32)
    points = f32([40, 50, 60, 70, 80, 40, 45, 50, 45, 40])
    maps = PatchExperts(patches).response_maps(picture, points, f32([[1.2, -0.1], [0.1, 1.2]]), 0, 5)
    for found, expert in zip(maps, patches.experts[0], strict=True):
        assert expert is not None
        counted = expert.alphas > 1e-4
        sigmoids = 2 * expert.alphas[counted] / (1 + np.exp(-expert.biases[counted]))
        assert np.allclose(found, sigmoids.sum() / (2 * expert.alphas.sum()), rtol=1e-4)


def test_responses_do_not_depend_on_brightness_and_contrast():
    experts = PatchExperts(make_patches(2))
    picture, _, turn = scene(3)
    points = f32([40, 50, 60, 70, 80, 40, 45, 50, 45, 40])  # well inside: the zeros beyond the edge do not scale
    before = experts.response_maps(picture, points, turn, 0, 7)
    after = experts.response_maps(picture * np.float32(0.5) + np.float32(30), points, turn, 0, 7)
    assert np.abs(before - after).max() <= 1e-4 * before.max()


def test_responses_move_with_the_picture():
    experts = PatchExperts(make_patches(2))
    picture, _, turn = scene(4)
    points = f32([40, 50, 60, 70, 80, 40, 45, 50, 45, 40])
    before = experts.response_maps(picture, points, turn, 0, 7)
    moved = np.roll(picture, (3, -5), axis=(0, 1))
    after = experts.response_maps(moved, points + f32([-5] * 5 + [3] * 5), turn, 0, 7)
    assert np.abs(before - after).max() <= 1e-5 * before.max()


def test_the_nearest_view_is_taken():
    experts = PatchExperts(make_patches(2))
    assert experts.view_index(f32([1, 0, np.deg2rad(-22), 0, 0, 0])) == 0
    assert experts.view_index(f32([1, 0, np.deg2rad(-23), 0, 0, 0])) == 1


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "2015-10-15-15-14"])
def test_golden_response_maps(trace, face_model, clip):
    """Every traced response map of the face, the inner face and the eyes, at every scale and window."""
    events = trace(clip)
    fitters = {"main": face_model.main} | {part.name: part.fitter for part in face_model.parts}
    grays: dict[int, np.ndarray] = {}
    largest, medians, kinds = [], [], set()
    for event in events.resp:
        number, name = event["frame"], event["part"]
        file = f"f{number:06d}_resp_call{event['call']}_{name}_scale{event['scale']}_w{event['w']}.npy"
        if number not in grays:
            grays[number] = f32(np.load(events.folder / f"f{number:06d}_gray.npy"))
        g = f32(event["params_global"])
        points = fitters[name].pdm.landmarks_px(g, f32(event["params_local"]))
        experts = fitters[name].experts[event["scale"]]
        view = experts.view_index(g)
        assert view == event["view"]
        turn = f32(event["ref_to_img"]).reshape(2, 2)
        maps = experts.response_maps(grays[number], points, turn, view, event["w"])
        wanted = np.load(events.folder / file)
        seen = experts.visible[view]
        away = np.abs(maps - wanted)[seen]
        largest.append(away.max())
        medians.append(np.median(away))
        kinds.add((name, event["scale"], event["w"]))
    assert len(largest) == 95
    assert len(kinds) == 3 + 1 + 4
    # Landmarks of 300 px are traced with the last bit (3e-5 px); where a sample stands on the edge of a 1/32-px cell
    # it falls to the other side, which shows as some 1e-4. Everything else is the noise of float32 sums.
    assert max(medians) <= 1e-6
    assert max(largest) <= 3e-3
    assert np.median(largest) <= 3e-4
