"""The model of throughput: its formula on numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from auflow.benchmarks.model import predict, role_times_ms, scale
from auflow.benchmarks.runs import RunPlan

from .conftest import run_cost

MS = {"decode": 1.0, "clnf": 4.0, "au": 2.0, "sink": 1.0}  # 8 in all


def test_one_core_does_everything_in_turn() -> None:
    found = predict(MS, cores=1, lanes=1)
    assert (found.fps, found.bound) == (pytest.approx(125.0), "cores")


def test_one_lane_is_as_fast_as_its_slowest_stage() -> None:
    assert predict(MS, cores=2, lanes=1).fps == pytest.approx(250.0)
    found = predict(MS, cores=64, lanes=1)
    assert (found.fps, found.bound) == (pytest.approx(250.0), "clnf")


def test_lanes_fill_the_cores() -> None:
    found = predict(MS, cores=8, lanes=8)
    assert (found.fps, found.bound) == (pytest.approx(1000.0), "cores")
    found = predict(MS, cores=8, lanes=2)
    assert (found.fps, found.bound) == (pytest.approx(500.0), "clnf")


def test_what_lanes_share_bounds_them() -> None:
    detection = MS | {"detect": 2.0}
    # Four lanes have one detection process, five have two.
    assert predict(detection, cores=64, lanes=4).fps == pytest.approx(500.0)
    assert predict(detection, cores=64, lanes=5).fps == pytest.approx(1000.0)
    found = predict(MS | {"orchestrator": 0.5}, cores=64, lanes=64)
    assert (found.fps, found.bound) == (pytest.approx(2000.0), "orchestrator")


def test_processes_of_a_kind_count_together() -> None:
    run = run_cost(clnf=4.0, au=2.0)
    assert role_times_ms(run) == {"clnf": 4.0, "au": 2.0}


def test_predictions_stand_beside_what_was_measured() -> None:
    run = run_cost(RunPlan(cores=2), decode=1.0, clnf=4.0, au=2.0, sink=1.0)
    scaling = scale(run, {(1, 1): 120.0, (2, 2): 200.0})
    by_cores = {found.cores: found for found in scaling.single}
    assert (by_cores[1].measured_fps, by_cores[2].measured_fps) == (120.0, None)
    assert by_cores[1].fps == pytest.approx(125.0)
    many = {found.cores: found for found in scaling.many}
    assert (many[2].lanes, many[2].measured_fps, many[2].fps) == (2, 200.0, pytest.approx(250.0))
    assert set(many) == {2, 4, 8, 16, 64}
