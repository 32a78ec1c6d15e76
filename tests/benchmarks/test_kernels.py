"""The counts of arithmetic by hand, and the kernels of a real face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.benchmarks import arithmetic, cases, kernels
from auflow.errors import InputError
from auflow.models.types import CcnfPatchExpert


def expert(alphas: list[float]) -> CcnfPatchExpert:
    k = len(alphas)
    return CcnfPatchExpert(
        np.zeros((k, 11, 11), np.float32), np.ones(k), np.zeros(k), np.array(alphas), np.zeros(2), 1.0
    )


def test_response_map_counts_neurons_that_are_on() -> None:
    assert arithmetic.response_map_flop([expert([0.5, 0.0, 1.0]), None], 3) == 2 * 121 * 9 * 2


def test_rnet_by_hand() -> None:
    conv1 = 2 * 28 * 3 * 9 * 22 * 22  # 24 -> 22, pooled to 11
    conv2 = 2 * 48 * 28 * 9 * 9 * 9  # 11 -> 9, pooled to 4
    conv3 = 2 * 64 * 48 * 4 * 3 * 3  # 4 -> 3
    assert arithmetic.network_flop("RNet", 24, 24) == conv1 + conv2 + conv3 + 2 * 128 * 576 + 2 * 6 * 128


def test_pnet_works_at_every_place() -> None:
    conv1 = 2 * 10 * 3 * 9 * 10 * 12  # 12 x 14 -> 10 x 12, pooled to 5 x 6
    conv2 = 2 * 16 * 10 * 9 * 3 * 4
    conv3 = 2 * 32 * 16 * 9 * 1 * 2
    assert arithmetic.network_flop("PNet", 12, 14) == conv1 + conv2 + conv3 + 2 * 6 * 32 * 2


def test_optimisation_counts_every_iteration() -> None:
    one = arithmetic.nu_rlms_flop(68, 34, 9, 1)
    assert arithmetic.nu_rlms_flop(68, 34, 9, 5) == 5 * one
    assert one > 6 * 34 * 35 + 40**3 // 3  # the modes' own block and its factors
    assert arithmetic.nu_rlms_flop(68, 0, 9, 1) < one / 4


def test_peaks_are_those_of_a_computer() -> None:
    peaks = arithmetic.measure_peaks(rounds=1)
    assert 0.1 < peaks.gflop_per_s < 10_000
    assert 0.1 < peaks.gigabytes_per_s < 10_000


def test_every_kernel_of_a_face(demo_dir: Path, models_dir: Path) -> None:
    found = cases.cases_of(demo_dir / "astronaut.mp4", models_dir)
    names = [case.name for case in found]
    assert len(names) == len(set(names))
    for start in (
        "response map main 0.25 11x11",
        "response map inner",
        "response map eye",
        "similarity warp",
        "NU-RLMS rigid",
        "NU-RLMS non-rigid",
        "mean shift",
        "calc_params face, 68",
        "validator",
        "eleven starts",
        "alignment",
        "FHOG",
        "median insert",
        "heads",
        "MTCNN 320x240",
        "MTCNN 1920x1080",
    ):
        assert any(name.startswith(start) for name in names), start
    by_name = dict(zip(names, found, strict=True))
    for name in names:
        if name.startswith(("NU-RLMS", "validator")):  # they change nothing that they start from
            assert by_name[name].call() == by_name[name].call()
    detection = by_name["MTCNN 640x480"]
    assert detection.flop is not None
    assert 1e8 < detection.flop < 1e10
    assert len(detection.call()) == 1


def test_times_are_per_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        for _ in range(2000):
            pass

    monkeypatch.setattr(kernels, "cases_of", lambda clip, root: [cases.Case("work", work, flop=1000)])
    (cost,) = kernels.measure(Path("a.avi"), Path("models"), budget_s=0.05)
    assert cost.calls >= 5 * 10  # several at once, in five rounds
    assert 1 < cost.us.least <= cost.us.median < 10_000
    assert cost.gflop_per_s == pytest.approx(1000 / cost.us.least / 1e3)


def test_clip_without_a_face(tmp_path: Path, models_dir: Path) -> None:
    import cv2

    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(InputError, match="no face"):
        cases.cases_of(tmp_path, models_dir)
