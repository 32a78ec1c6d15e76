"""CEN experts in 8 bits: exact products by every kind of instruction, rounding within its bounds, and what is left."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auflow.backends import int8 as support
from auflow.errors import BackendError, InputError
from auflow.models.cen import CenPatches, CenPatchExpert, DenseLayer, read_cen_patches
from auflow.stages.clnf import int8_kernels as kernels
from auflow.stages.clnf.cen_accuracy import Int8Error, measure_int8
from auflow.stages.clnf.cen_experts import CenPatchExperts
from auflow.stages.clnf.int8_product import COLUMNS, ROWS, make_product

X86 = support.target_features()[0] in ("x86_64", "AMD64")


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


@pytest.fixture(scope="module")
def files(reference) -> SimpleNamespace:
    return reference("cen_files")


def features_of(text: str) -> Mapping[str, bool]:
    return dict.fromkeys(text.split(), True)


@pytest.mark.parametrize(
    ("machine", "features", "name"),
    [
        ("x86_64", "avx2 avx512bw avx512vl avx512vnni avxvnni", "AVX-512 VNNI"),
        ("x86_64", "avx2 avxvnni", "AVX-VNNI"),
        ("AMD64", "avx2 avx512bw avx512vl", "AVX-512, in pairs"),
        ("x86_64", "avx2 avx512vnni", "AVX2, in pairs"),  # without avx512vl
        ("x86_64", "sse4.2 avx", "plain arithmetic"),
        ("arm64", "neon avx2", "plain arithmetic"),
    ],
)
def test_a_cpu_takes_the_fastest_that_it_has(machine, features, name):
    assert support.best_instructions(machine, features_of(features)).name == name


@pytest.mark.parametrize(
    ("environment", "has", "lacks"),
    [
        ({"NUMBA_CPU_NAME": "generic"}, "", "avx2"),
        ({"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}, "avx2", "avx512vnni"),
        ({"NUMBA_CPU_FEATURES": "+avx2,-avx512vnni,+fma"}, "avx2 fma", "avx512vnni"),
    ],
)
def test_what_numba_was_told_to_compile_for_counts(monkeypatch, environment, has, lacks):
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = support.target_features()[1]
    assert all(found.get(each) for each in has.split())
    assert not found.get(lacks)


@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="Numba was told what to compile for")
def test_features_are_those_that_numba_compiles_for():
    from numba.core.registry import cpu_target

    told = cpu_target.target_context.codegen().magic_tuple()[2]
    assert support.target_features()[1] == {each[1:]: each[0] == "+" for each in told.split(",") if each}


def test_a_cpu_without_any_is_refused(monkeypatch):
    monkeypatch.setattr(support, "target_features", lambda: ("aarch64", {}))
    with pytest.raises(BackendError, match="needs an x86 CPU with AVX2 or more"):
        support.require_int8()


def runnable() -> list[support.Instructions]:
    """All that this CPU has."""
    features = dict(support.target_features()[1])
    features["avxvnni"] = features.get("avxvnni") or features.get("avx512vnni")  # the same, in another encoding
    return [how for how in support.INSTRUCTIONS if not how.needs or (X86 and all(features.get(n) for n in how.needs))]


@pytest.mark.parametrize("how", runnable(), ids=lambda how: how.name)
def test_products_are_exact_whatever_multiplies(how):
    """The largest numbers that may meet, too: pairs of them overflow 16 bits."""
    rng = np.random.default_rng(0)
    product = make_product(how)
    for rows, inputs, outputs in ((ROWS, 5, COLUMNS), (3 * ROWS, 36, 5 * COLUMNS), (ROWS, 124, 7 * COLUMNS)):
        groups = -(-inputs // how.group)
        activations = rng.integers(0, 256, (rows, groups * how.group)).astype(np.int16 if how.pairs else np.uint8)
        weights = rng.integers(-127, 128, (groups * how.group, outputs)).astype(np.int8)
        activations[0], weights[:, 0], weights[:, 1] = 255, 127, -127
        packed = weights.reshape(groups, how.group, outputs // how.lanes, how.lanes).transpose(2, 0, 3, 1)
        out = np.full((rows, outputs), -1, np.int32)
        product(activations, np.ascontiguousarray(packed).reshape(-1), groups, out)
        assert np.array_equal(out, activations.astype(np.int32) @ weights.astype(np.int32))


def layered(rng: np.random.Generator, widths: tuple[int, ...], hidden: str) -> CenPatchExpert:
    layers = [
        DenseLayer(
            f32(rng.normal(0, 1 if i == 122 else i**-0.5, (i, o))), f32(rng.normal(0, 0.3, o)),
            "sigmoid" if o == 1 else hidden,
        )
        for i, o in itertools.pairwise(widths)
    ]  # fmt: skip
    return CenPatchExpert(11, 11, tuple(layers), 1.0)


def rounded(inputs: np.ndarray, expert: CenPatchExpert) -> np.ndarray:
    """The network in plain NumPy: weights and activations rounded, float64 otherwise."""
    values, first = inputs[:, 1:].astype(np.float64), True
    for layer in expert.layers[:-1]:
        weights, biases = layer.weights.astype(np.float64), layer.biases.astype(np.float64)
        if first:
            weights, biases = weights[1:], biases + weights[0]
        factors = np.abs(weights).max(axis=0) / 127
        steps = np.abs(values).max(axis=1, keepdims=True) / (127 if first else 255)
        steps[steps == 0] = 1
        total = (np.rint(values / steps) * steps) @ (np.rint(weights / factors) * factors) + biases
        values, first = np.maximum(total, 0) if layer.activation == "relu" else 1 / (1 + np.exp(-total)), False
    last = expert.layers[-1]
    return 1 / (1 + np.exp(-(values @ last.weights.astype(np.float64) + last.biases)))[:, 0]


@pytest.mark.parametrize("hidden", ["relu", "sigmoid"])
@pytest.mark.parametrize(("widths", "rows"), [((122, 50, 21, 1), 7), ((122, 33, 1), 24)])
def test_a_network_is_its_rounded_self(hidden, widths, rows):
    from auflow.stages.clnf.cen_int8 import Int8Memory, Int8Network

    rng = np.random.default_rng(3)
    expert, inputs = layered(rng, widths, hidden), f32(rng.normal(0, 0.1, (rows, 122)))
    inputs[:, 0] = 1
    inputs[2, 1:] = 0  # no contrast
    out, memory = np.empty(rows, np.float32), Int8Memory()
    Int8Network(expert, np.arange(122), memory).run(inputs, out)
    # A number on the border may be rounded to the other side: a step of 1/255 in one of many.
    np.testing.assert_allclose(out, rounded(inputs, expert), atol=5e-4)
    assert np.median(np.abs(out - rounded(inputs, expert))) < 2e-5
    again = np.empty(rows, np.float32)
    Int8Network(layered(rng, (122, 90, 40, 1), hidden), np.arange(122), memory).run(inputs, again)
    Int8Network(expert, np.arange(122), memory).run(inputs, again)
    assert np.array_equal(out, again)  # what others leave in the memory does not matter


def test_weights_are_rounded_by_the_output():
    weights = f32([[1.27, 0.0, 3e-9], [-0.64, 0.0, -3e-9]])
    packed = np.zeros(kernels.padded(2, kernels.GROUP) * COLUMNS, np.int8)
    factors, shifts = np.empty(3, np.float32), np.empty(3, np.int32)
    kernels.quantise_weights(weights, True, packed, factors, shifts)
    np.testing.assert_allclose(factors, [0.01, 0, 3e-9 / 127], rtol=1e-6)
    assert shifts.tolist() == [128 * (127 - 64), 0, 0]
    assert sorted(packed[packed != 0].tolist()) == [-127, -64, 127, 127]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("view", [0, 1, 2])
def test_response_maps_are_near_those_of_float32(tmp_path: Path, files, view, sparse):
    files.small(seed=1, widths=(122, 40, 20, 1)).write(tmp_path / "cen.dat")
    patches = read_cen_patches(tmp_path / "cen.dat")
    rng = np.random.default_rng(view)
    picture = f32(rng.uniform(0, 255, (90, 120)))
    points = f32([*rng.uniform(0, 120, 5), *rng.uniform(0, 90, 5)])
    maps, ours = (
        CenPatchExperts(patches, sparse=sparse, precision=precision).response_maps(
            picture, points, f32([[1.5, 0.2], [-0.2, 1.5]]), view, 9
        )
        for precision in ("float32", "int8")
    )
    assert not ours[~patches.visibilities[view]].any()
    assert (maps - ours).any()
    assert maps.std() > 50 * (maps - ours).std()


def test_an_expert_of_one_layer_stays_in_float32():
    """It has one output: nothing is rounded."""
    rng = np.random.default_rng(0)
    patches = CenPatches(
        0.25, np.zeros((1, 3)), np.ones((1, 1), np.bool_), np.zeros(1, np.int32), np.zeros(1, np.int32),
        ((layered(rng, (122, 1), "relu"),),),
    )  # fmt: skip
    picture = f32(rng.uniform(0, 255, (40, 40)))
    maps = [
        CenPatchExperts(patches, precision=precision).response_maps(picture, f32([20, 20]), np.eye(2, dtype="f4"), 0, 7)
        for precision in ("float32", "int8")
    ]
    np.testing.assert_allclose(*maps, atol=1e-6)


def test_a_mirrored_view_shares_the_packed_experts(tmp_path: Path, files):
    files.small().write(tmp_path / "cen.dat")
    experts = CenPatchExperts(read_cen_patches(tmp_path / "cen.dat"), precision="int8")
    picture, points = np.zeros((40, 40), np.float32), np.zeros(10, np.float32)
    held = []
    for view in (1, 2, 0):
        experts.response_maps(picture, points, np.eye(2, dtype="f4"), view, 3)
        held.append(len(experts._networks))
    assert held == [4, 4, 7]  # the left view stores nothing


def test_nothing_is_measured_on_no_faces():
    with pytest.raises(InputError, match="give a clip with a face"):
        measure_int8(SimpleNamespace(), [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p50", "p99", "floor", "passes"),
    [
        (0.01, 0.04, 0.001, True),
        (0.01, 0.19, 0.1, True),
        (0.01, 0.21, 0.1, False),  # more than twice the floor
        (0.06, 0.07, 0.5, False),  # what the table shows would change everywhere
    ],
)
def test_the_budget_of_int8(p50, p99, floor, passes):
    found = Int8Error(1, 0.02, 0.002, p50, p99, 1.0, floor / 10, floor, 18.0, 6.0)
    assert found.passes is passes
