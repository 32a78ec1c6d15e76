"""KDE grid, mean shift, likelihood, NU-RLMS and the scales of a fit; references, properties, traces."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from auflow.stages.clnf import fit_kernels
from auflow.stages.clnf import nu_rlms_kernels as kernels
from auflow.stages.clnf.fitter import FitOutcome, FitSettings
from auflow.stages.clnf.lanes import aligned, padded
from auflow.stages.clnf.pdm import pack, step_memory

A = np.float32(-0.5 / 1.75**2)


def f32(values) -> np.ndarray:
    return np.asarray(values, np.float32)


def in_lanes(values, axes: int) -> np.ndarray:
    """Planar values (axes * n,) with zeros up to whole groups of lanes."""
    n = np.size(values) // axes
    out = aligned((axes, padded(n)), np.float32)
    out[:, :n] = np.reshape(values, (axes, n))
    return out.reshape(-1)


def out_of_lanes(values, n: int) -> np.ndarray:
    return values.reshape(2, -1)[:, :n].reshape(-1)


def side_by_side(responses) -> np.ndarray:
    """Maps (n, w, w) as the kernels have them: (w * w, N)."""
    n, window, _ = np.shape(responses)
    maps = aligned((window * window, padded(n)), np.float32)
    maps[:, :n] = np.reshape(responses, (n, -1)).T
    return maps


def table(window: int, a: float = float(A)) -> np.ndarray:
    out = np.full((10 * window, window), np.nan, np.float32)
    kernels.kde_table(window, np.float32(a), out)
    return out


def shift_memory(n: int, window: int) -> tuple:
    lanes = padded(n)
    return (
        aligned((2, window, lanes), np.float32), aligned(2 * lanes, np.float32), aligned((5, lanes), np.float32),
    )  # fmt: skip


def shift(responses, offsets, visible=None, a: float = float(A), kernel=None) -> np.ndarray:
    n, window, _ = responses.shape
    out = np.full(2 * padded(n), np.nan, np.float32)
    seen = np.ones(n, bool) if visible is None else visible
    move = kernel or kernels.mean_shift
    move(
        side_by_side(responses), seen, in_lanes(f32(offsets), 2), window, table(window, a), shift_memory(n, window), out
    )
    return out_of_lanes(out, n)


def likelihood(responses, visible, offsets) -> float:
    window = responses.shape[1]
    return kernels.landmark_likelihood(side_by_side(responses), visible, in_lanes(f32(offsets), 2), window, A)


@pytest.mark.parametrize("window", [3, 5])
def test_kde_table_agrees_with_the_reference(reference, window):
    """The kernel of a place, seen from a position, is the product of its column's and its row's."""
    lines = table(window)
    found = lines[:, None, None, :] * lines[None, :, :, None]  # [x, y, row, column]
    assert np.allclose(found.reshape(100 * window**2, -1), reference("clnf_fit").kde_grid(window, float(A)), atol=1e-6)


@pytest.mark.parametrize("window", [3, 7, 9, 11])
def test_mean_shift_agrees_with_the_reference(reference, window):
    rng = np.random.default_rng(window)
    n = 20
    responses = f32(rng.uniform(0, 1, (n, window, window)))
    visible = rng.random(n) < 0.8
    offsets = f32(rng.uniform(-window, window, 2 * n))  # many outside the window: they are clamped
    wanted = reference("clnf_fit").mean_shift(responses.astype(float), visible, offsets, float(A))
    found = shift(responses, offsets, visible)
    assert np.allclose(found, wanted, atol=2e-5)
    assert np.array_equal(found[np.tile(~visible, 2)], np.zeros(2 * (~visible).sum()))


@pytest.mark.parametrize(("column", "row"), [(0, 0), (8, 3), (4, 4), (1, 7)])
def test_a_single_peak_pulls_to_itself(column, row):
    responses = np.zeros((1, 9, 9))
    responses[0, row, column] = 0.7
    offsets = f32([0.33, -1.27])
    assert np.allclose(offsets + shift(responses, offsets), [column - 4, row - 4], atol=1e-5)


def test_a_flat_response_pulls_to_the_middle():
    offsets = f32([2.5, -3.0])
    moved = shift(np.ones((1, 9, 9)), offsets)
    assert moved[0] < 0 < moved[1]
    assert np.allclose(shift(np.ones((1, 9, 9)), [0, 0]), 0, atol=1e-6)


def test_mean_shift_turns_with_the_response():
    rng = np.random.default_rng(4)
    responses = rng.uniform(0, 1, (1, 7, 7))
    x, y = shift(responses, [1.2, -0.4])
    assert np.allclose(shift(responses.transpose(0, 2, 1), [-0.4, 1.2]), [y, x], atol=1e-5)
    assert np.allclose(shift(5 * responses, [1.2, -0.4]), [x, y], atol=1e-5)


def test_mean_shift_stays_in_the_table_at_every_edge():
    """No row beyond the table: the plain Python kernel raises where the compiled one would read past the end."""
    window = 3
    edges = f32([-np.inf, -1e9, -1.0, -0.999, 0, 1.85, 1.9, 1.95, 2.0, 1e9, np.inf])
    offsets = f32(np.stack(np.meshgrid(edges, edges)).reshape(2, -1)).reshape(-1)
    n = offsets.size // 2
    seen = getattr(kernels._seen_from, "py_func", kernels._seen_from)
    memory = shift_memory(n, window)
    seen(in_lanes(offsets, 2), n, window, table(window), memory[0], memory[1])
    assert ((memory[1] >= 0) & (memory[1] <= f32(2.9))).all()
    assert np.isfinite(shift(np.ones((n, window, window), np.float32), offsets)).all()


@pytest.mark.parametrize("window", [5, 9])
def test_likelihood_agrees_with_the_reference(reference, window):
    rng = np.random.default_rng(window)
    responses = f32(rng.uniform(0, 1, (12, window, window)))
    visible = rng.random(12) < 0.7
    offsets = f32(rng.uniform(-2, 2, 24))
    wanted = reference("clnf_fit").landmark_likelihood(responses.astype(float), visible, offsets.astype(float), A)
    assert likelihood(responses, visible, offsets) == pytest.approx(wanted, abs=1e-5)


def test_likelihood_counts_only_what_is_seen():
    responses = np.stack([np.full((5, 5), v, np.float32) for v in (1, 0)])
    both = likelihood(responses, np.array([True, True]), np.zeros(4))
    seen = likelihood(responses, np.array([True, False]), np.zeros(4))
    assert both == pytest.approx((seen + math.log(1e-8)) / 2, abs=1e-4)
    assert likelihood(responses, np.zeros(2, bool), np.zeros(4)) == 0


def bumps(rng, n: int, window: int, visible) -> np.ndarray:
    """Smooth single-peaked responses, as good experts give them."""
    centres = rng.uniform(-1.5, 1.5, (n, 2)) + (window - 1) // 2
    cells = np.arange(window)
    x, y = (np.exp(-0.3 * (cells - centres[:, k, None]) ** 2) for k in (0, 1))
    return f32(y[:, :, None] * x[:, None, :] * visible[:, None, None])


def run_nu_rlms(pdm, scene, *, rigid: bool, tolerance: float = 0.01) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Parameters and (likelihood, iterations, converged)."""
    g, p = scene.g.copy(), scene.p.copy()
    n, m = pdm.point_count, pdm.mode_count
    variance, strength, limit = scene.settings
    window, lanes = scene.responses.shape[1], padded(n)
    places, maps = aligned((5, 2 * lanes), np.float32), side_by_side(scene.responses)
    a = np.float32(-0.5 / variance)
    work = (shift_memory(n, window), step_memory(n, 0 if rigid else m), places, aligned(3 * lanes, np.float32))
    iterations, converged = kernels.nu_rlms(
        pack(pdm, scene.weights), in_lanes(scene.base, 2), maps, scene.visible, in_lanes(scene.weights, 1),
        scene.similarity, window, table(window, a), (np.float32(strength), limit, np.float32(tolerance)), work, g, p,
    )  # fmt: skip
    fitted = kernels.landmark_likelihood(maps, scene.visible, places[1], window, a)
    return g, p, (fitted, iterations, converged)


def similarity(source, target) -> tuple[np.ndarray, np.ndarray]:
    forward, backward = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
    fit_kernels.similarity(source, target, source.size // 2, forward, backward)
    return forward, backward


def make_scene(pdm, seed: int, *, limit: int = 5, strength: float = 10.0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    n = pdm.point_count
    g = f32([rng.uniform(1, 2), *rng.uniform(-0.4, 0.4, 3), 200, 150])
    p = f32(rng.uniform(-1, 1, 5) * np.sqrt(pdm.eigenvalues))
    base = pdm.landmarks_px(g, p)
    visible = rng.random(n) < 0.9
    weights = f32(rng.uniform(0.5, 2, n) * visible)
    return SimpleNamespace(
        g=g, p=p, base=base, visible=visible, weights=weights, responses=bumps(rng, n, 7, visible),
        similarity=similarity(base, pdm.shape_mm(p)[: 2 * n] * np.float32(0.35)),
        settings=(1.621**2, strength, limit),
    )  # fmt: skip


@pytest.mark.parametrize("rigid", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_nu_rlms_agrees_with_the_reference(reference, toy_pdm, model64, seed, rigid):
    # One iteration: a second one starts from positions rounded to the 0.1-px grid, where noise of 1e-6 may flip a cell.
    scene = make_scene(toy_pdm, seed, limit=1)
    g, p, (likelihood, iterations, converged) = run_nu_rlms(toy_pdm, scene, rigid=rigid)
    wide = [x.astype(float) for x in (scene.base, scene.responses)]
    wanted_g, wanted_p, wanted = reference("clnf_fit").nu_rlms(
        model64(toy_pdm), *wide, scene.visible, scene.weights.astype(float),
        tuple(s.astype(float) for s in scene.similarity), scene.settings,
        (scene.g.astype(float), scene.p.astype(float)), rigid=rigid,
    )  # fmt: skip
    assert np.allclose(g, wanted_g, rtol=1e-5, atol=5e-4)
    assert np.allclose(p, wanted_p, atol=5e-3)
    assert np.array_equal(p, scene.p) == rigid
    assert likelihood == pytest.approx(wanted, abs=1e-4)
    assert (iterations, converged) == (1, False)


@pytest.mark.parametrize("rigid", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_several_iterations_stay_near_the_reference(reference, toy_pdm, model64, seed, rigid):
    scene = make_scene(toy_pdm, seed)
    g, p, (likelihood, _, _) = run_nu_rlms(toy_pdm, scene, rigid=rigid)
    wide = [x.astype(float) for x in (scene.base, scene.responses)]
    wanted_g, wanted_p, wanted = reference("clnf_fit").nu_rlms(
        model64(toy_pdm), *wide, scene.visible, scene.weights.astype(float),
        tuple(s.astype(float) for s in scene.similarity), scene.settings,
        (scene.g.astype(float), scene.p.astype(float)), rigid=rigid,
    )  # fmt: skip
    fit = reference("clnf_fit")
    wanted_points = fit.project(fit.shape_3d(model64(toy_pdm), wanted_p), wanted_g)
    # A flipped grid cell moves one of 14 points by a tenth of a reference pixel (0.3 to 0.6 px in the image).
    assert np.abs(toy_pdm.landmarks_px(g, p) - wanted_points).max() < 0.3
    assert likelihood == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_climbs_and_the_shape_stays_plausible(toy_pdm, seed):
    scene = make_scene(toy_pdm, seed, limit=1, strength=0.001)
    before = run_nu_rlms(toy_pdm, scene, rigid=False)[2][0]  # of the start
    scene.settings = (scene.settings[0], 0.001, 8)
    g, p, (after, _, _) = run_nu_rlms(toy_pdm, scene, rigid=False)
    assert after > before
    assert (np.abs(p) <= 3 * np.sqrt(toy_pdm.eigenvalues) * (1 + 1e-6)).all()
    assert np.isfinite(g).all()


def test_local_parameters_are_clamped_to_three_deviations(toy_pdm):
    scene = make_scene(toy_pdm, 1, limit=1)
    scene.p = f32(10 * np.sqrt(toy_pdm.eigenvalues) * [1, -1, 1, -1, 1])
    _, p, _ = run_nu_rlms(toy_pdm, scene, rigid=False)
    assert np.allclose(np.abs(p), 3 * np.sqrt(toy_pdm.eigenvalues), rtol=1e-6)


def test_a_face_in_its_place_converges_at_once(toy_pdm):
    scene = make_scene(toy_pdm, 2)
    scene.responses[:] = bumps(SimpleNamespace(uniform=lambda *a: np.zeros(a[-1])), 14, 7, scene.visible)
    g, p, (_, iterations, converged) = run_nu_rlms(toy_pdm, scene, rigid=True)
    assert converged
    assert iterations <= 2
    assert np.allclose(g, scene.g, atol=2e-3)
    assert np.array_equal(p, scene.p)


@pytest.mark.parametrize("seed", range(4))
def test_similarity_is_recovered_and_inverted(seed):
    rng = np.random.default_rng(seed)
    shape = rng.uniform(-50, 50, (2, 14))
    angle, scale = rng.uniform(-3, 3), rng.uniform(0.2, 5)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    to_ref, to_img = similarity(f32((shape + 30).reshape(-1)), f32((turn @ shape - 7).reshape(-1)))
    assert np.allclose(to_ref, turn, atol=1e-5)
    assert np.allclose(to_ref @ to_img, np.eye(2), atol=1e-6)
    assert (to_ref.dtype, to_img.dtype) == (np.float32, np.float32)


def test_settings_follow_the_scale():
    main, eye = FitSettings(), FitSettings(1.0, 0.5, 0.0, refine=False)
    assert main.at_scale(0.25) == (1.5, 25, 0)
    assert main.at_scale(0.35) == pytest.approx((1.6214, 17.719, 0), abs=1e-3)
    assert main.at_scale(0.5) == (1.75, 10, 0)
    assert main.at_scale(1.0) == (2.0, 0.001, 0)  # 25 - 30 is below 0
    assert FitSettings(weight_factor=2.5).at_scale(0.5)[2] == 7.5
    assert eye.at_scale(1.0) == (1.0, 0.5, 0.0)


def test_a_face_that_became_too_small_ends_the_fit(face_model):
    gray = np.random.default_rng(0).uniform(0, 255, (60, 60)).astype(np.float32)
    g, p = f32([0.05, 0, 0, 0, 30, 30]), np.zeros(34, np.float32)
    outcome = face_model.main.fit(gray, (11, 9, 7), g, p)
    assert not outcome.ok
    state = face_model.fit(gray, f32([0.05, 0, 0, 0, 30, 30]), np.zeros(34, np.float32), tracking=False)
    assert not state.success
    assert state.confidence == 0


def test_a_fit_is_judged_when_asked(face_model):
    gray = np.random.default_rng(0).uniform(0, 255, (240, 320)).astype(np.float32)
    start = f32([2, 0, 0, 0, 160, 120])
    fits = [face_model.main.fit(gray, (0, 9, 0), start.copy(), np.zeros(34, np.float32), judge=j) for j in (0, 1)]
    assert fits[0].likelihood == 0
    assert fits[1].likelihood != 0


def test_limits_of_the_user_replace_those_of_the_model():
    eye = FitSettings(1.0, 0.5, 0.0, refine=False)
    assert eye.limited(None, None) == eye
    assert eye.limited(3, None) == FitSettings(1.0, 0.5, 0.0, refine=False, iterations=3)
    assert eye.limited(None, 0.0) == FitSettings(1.0, 0.5, 0.0, refine=False, tolerance_px=0.0)


def test_the_tolerance_ends_an_optimisation(toy_pdm):
    scene = make_scene(toy_pdm, 0, limit=20)
    work = [run_nu_rlms(toy_pdm, scene, rigid=True, tolerance=tolerance)[2] for tolerance in (0.0, 0.01, 1.0)]
    assert work[0][1:] == (20, False)
    assert 1 <= work[2][1] <= work[1][1] < 20
    assert work[1][2]
    assert work[2][2]


def test_a_fit_counts_its_work(face_model):
    """The face's two scales and all parts' scales, two optimisations each."""
    gray = np.random.default_rng(0).uniform(0, 255, (240, 320)).astype(np.float32)
    state = face_model.fit(gray, f32([2, 0, 0, 0, 160, 120]), np.zeros(34, np.float32), tracking=True)
    outcome = state.outcome
    assert outcome.optimisations == 2 * (2 + 1 + 2 * 2)
    assert outcome.optimisations <= outcome.iterations <= 5 * outcome.optimisations
    assert 0 <= outcome.converged <= outcome.optimisations
    total = FitOutcome(optimisations=2, converged=1, iterations=7)
    total.add(outcome)
    assert (total.optimisations, total.iterations) == (outcome.optimisations + 2, outcome.iterations + 7)


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "2015-10-15-15-14"])
def test_golden_rigid_and_nonrigid_parameters(trace, face_model, clip):
    """From the C++ program's response maps: its parameters after both halves of every scale of every model."""
    rigid, shapes, poses = [], [], []
    events = trace(clip)
    fitters = {"main": face_model.main} | {part.name: part.fitter for part in face_model.parts}
    for resp, turn, end in triples(events):
        fitter = fitters[resp["part"]]
        experts = fitter.experts[resp["scale"]]
        name = f"f{resp['frame']:06d}_resp_call{resp['call']}_{resp['part']}_scale{resp['scale']}_w{resp['w']}.npy"
        maps = side_by_side(f32(np.load(events.folder / name)))
        assert fitter.settings.at_scale(experts.scale) == pytest.approx((turn["sigma"], turn["reg"], turn["wf"]), 1e-5)
        g, p = f32(resp["params_global"]), f32(resp["params_local"])
        assert experts.view_index(g) == resp["view"]
        plan = fitter.plan(resp["scale"], resp["view"], resp["w"])
        turns = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
        n, lanes = fitter.pdm.point_count, padded(fitter.pdm.point_count)
        base, shape = aligned(2 * lanes, np.float32), aligned(3 * lanes, np.float32)
        kernels.start_scale(plan.pdm, n, plan.scale, g, p, shape, base, turns)
        shifting, *steps, places, shape = fitter.memory(plan)
        for half, step in enumerate(steps):
            kernels.nu_rlms(
                plan.pdm, base, maps, plan.visible, plan.weights, turns, plan.window, plan.table, plan.settings,
                (shifting, step, places, shape), g, p,
            )  # fmt: skip
            if half == 0:
                rigid.append(np.abs(g - turn["params_global"]).max())
                g[:] = turn["params_global"]  # the second half is judged by itself
        poses.append(np.abs(g - end["params_global"]).max())
        shapes.append(np.abs(p - end["params_local"]).max())
    assert len(rigid) == 95
    # The last bit of a translation of 300 px is 3e-5; now and then a point stands on the edge of a cell of the
    # 0.1-px grid and falls to the other side of it, which moves the optimum by hundredths of a pixel.
    for errors in (rigid, poses):
        assert np.median(errors) <= 1e-5
        assert np.percentile(errors, 90) <= 1e-4
        assert max(errors) <= 0.05
    assert np.median(shapes) <= 1e-4
    assert np.percentile(shapes, 90) <= 1e-3
    assert max(shapes) <= 0.05


def triples(events):
    """Each scale's events (resp, rigid, nonrigid)."""
    wanted = [event for event in events.order if event["ev"] in ("resp", "rigid", "nonrigid")]
    assert [event["ev"] for event in wanted[:3]] == ["resp", "rigid", "nonrigid"]
    return zip(wanted[::3], wanted[1::3], wanted[2::3], strict=True)
