"""CCNF response maps: sampling, statistics, Sigma and the whole response; references, properties, traces."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def cut(image, a, b, x, y, side: int) -> np.ndarray:
    steps, out = np.empty((2, side), np.int32), np.full((side, side), np.nan, np.float32)
    patch.grid_steps(np.float32(a), np.float32(b), steps)
    patch.warp_patch(image, np.float32(a), np.float32(b), np.float32(x), np.float32(y), steps, out)
    return out


def fenced(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture that lies between NaNs in memory: a read before or after it shows in the result."""
    memory = np.full((height + 40) * width, np.nan, np.float32)
    picture = memory[20 * width : (20 + height) * width].reshape(height, width)
    picture[:] = np.random.default_rng(seed).uniform(1, 255, picture.shape)
    assert picture.flags.c_contiguous
    return picture


class Watched:
    """A picture that refuses every index outside of it, negative ones too."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture, self.shape = picture, picture.shape
        self.reads = 0

    def __getitem__(self, place: tuple[int, int]) -> np.float32:
        row, column = place
        assert 0 <= row < self.shape[0], f"row {row} of {self.shape}"
        assert 0 <= column < self.shape[1], f"column {column} of {self.shape}"
        self.reads += 1
        return self.picture[row, column]


POSES = st.tuples(
    st.floats(0.3, 5), st.floats(-3.1, 3.1), st.floats(-40, 120), st.floats(-40, 100), st.sampled_from([13, 17, 19, 21])
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(POSES)
def test_patches_agree_with_the_reference_and_opencv(reference, pose):
    scale, turn, x, y, side = pose
    image = fenced(60, 80)
    a, b, x, y = f32([scale * np.cos(turn), scale * np.sin(turn), x, y])
    patch = cut(image, a, b, x, y, side)
    ref = reference("clnf_response")
    # Weights of 1/32 px are exact in float32, products of 255 with them to 1e-5; fused additions move the last bit.
    assert np.allclose(patch, ref.warp_patch(image, a, b, x, y, side, exact=False), atol=1e-4)
    matrix, shift = ref.warp_corner(a, b, x, y, side)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(image, np.column_stack([matrix, shift]), (side, side), flags=flags)
    # An OpenCV that samples without the 1/32-px grid may be 1/64 px off per axis, on noise of 254 gray values a pixel.
    assert np.abs(patch - theirs).max() <= 254 * 2 / 64
    assert np.median(np.abs(patch - theirs)) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_a_smooth_picture_is_sampled_where_it_should_be(reference, seed):
    """Against sampling without the 1/32-px grid: the rounding alone may be seen."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(f32(rng.uniform(0, 255, (90, 90))), (0, 0), 3)
    a, b, x, y = f32([*rng.uniform(-2, 2, 2), 45, 45])
    wanted = reference("clnf_response").warp_patch(image, a, b, x, y, 19, exact=True)
    slope = max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1))
    assert np.abs(cut(image, a, b, x, y, 19) - wanted).max() <= 2 * slope / 64 + 1e-3


def test_whole_pixels_are_taken_as_they_are():
    image = fenced(40, 50)
    assert np.array_equal(cut(image, 1, 0, 20, 15, 11), image[10:21, 15:26])
    assert np.array_equal(cut(image, 0, 1, 20, 15, 11), np.rot90(image[10:21, 15:26]))


CORNERS = list(itertools.product((-3.3, 0.0, 49.0, 52.7), (-3.3, 0.0, 39.0, 42.7)))


@pytest.mark.parametrize(("x", "y"), CORNERS)
def test_patches_beyond_the_edge_are_zero_there(reference, x, y):
    image = fenced(40, 50)
    side = 19
    patch = cut(image, 1.3, 0.4, x, y, side)
    wanted = reference("clnf_response").warp_patch(image, *f32([1.3, 0.4, x, y]), side, exact=False)
    assert (patch == 0).any()
    assert np.allclose(patch, wanted, atol=1e-4)


@pytest.mark.parametrize(("x", "y"), [*CORNERS, (25.0, 20.0), (9.9, 10.1), (-500.0, 20.0), (25.0, 1e6)])
def test_nothing_is_read_outside_the_picture(monkeypatch, x, y):
    """The plain Python kernels on a picture that checks its indices (a compiled kernel reads on in silence)."""
    for name in ("pixel_or_zero", "bilinear"):
        monkeypatch.setattr(patch, name, plain(getattr(patch, name)))
    image = fenced(40, 50)
    watched = Watched(image)
    for a, b in ((1.0, 0.0), (0.6, -0.5), (-0.3, 0.4)):
        side = 13
        steps, out = np.empty((2, side), np.int32), np.full((side, side), np.nan, np.float32)
        a, b = np.float32(a), np.float32(b)
        plain(patch.grid_steps)(a, b, steps)
        plain(patch.warp_patch)(watched, a, b, np.float32(x), np.float32(y), steps, out)
        assert np.allclose(out, cut(image, a, b, x, y, side), atol=1e-4)
    assert (watched.reads > 0) == (abs(x) < 100 and abs(y) < 100)


def test_far_outside_is_black():
    image = fenced(40, 50)
    for x, y in ((-500, 20), (25, -500), (25, 1e6), (1e6, 1e6)):
        assert not cut(image, 2, 1, x, y, 15).any()


@pytest.mark.parametrize("offset", [0, 200])
@pytest.mark.parametrize("side", [13, 17, 21])
def test_window_statistics_agree_with_the_reference(reference, side, offset):
    area = f32(np.random.default_rng(side).uniform(0, 55, (side, side)) + offset)
    window = side - patch.SUPPORT + 1
    wanted_mean, wanted_norm = reference("clnf_response").window_statistics(area.astype(float), patch.SUPPORT)
    centre = np.rint(area.mean(dtype=float))
    mean, inverse = (np.full(side * side, np.nan, np.float32) for _ in range(2))
    patch.window_statistics(area, mean, inverse)
    place = (np.arange(window)[:, None] * side + np.arange(window)).reshape(-1)
    assert np.allclose(mean[place] + centre, wanted_mean.reshape(-1), atol=1e-4)
    assert np.allclose(inverse[place], 1 / wanted_norm.reshape(-1), rtol=2e-6)
    assert abs(area.mean(dtype=float)) <= 0.5001


def lanes(seed: int, side: int) -> np.ndarray:
    """Patches side by side: (side, side, LANES), each lane another one."""
    offset = np.arange(LANES) * 5.0
    return f32(np.random.default_rng(seed).uniform(0, 55, (side, side, LANES)) + offset)


@pytest.mark.parametrize("side", [13, 15, 17, 19, 21, 25])
def test_lane_statistics_are_those_of_each_patch(reference, side):
    area, window = lanes(side, side), side - patch.SUPPORT + 1
    flat = area.reshape(-1).copy()
    mean, inverse = (np.full(window * window * LANES, np.nan, np.float32) for _ in range(2))
    patch.lane_statistics(flat, side, mean, inverse)
    for lane in range(LANES):
        one = area[:, :, lane].astype(float)
        wanted_mean, wanted_norm = reference("clnf_response").window_statistics(one, patch.SUPPORT)
        assert np.allclose(mean[lane::LANES] + np.rint(one.mean()), wanted_mean.reshape(-1), atol=1e-4)
        assert np.allclose(inverse[lane::LANES], 1 / wanted_norm.reshape(-1), rtol=2e-6)
        assert np.allclose(flat[lane::LANES], (one - np.rint(one.mean())).reshape(-1), atol=1e-5)


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
