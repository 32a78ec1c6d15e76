"""Spreads, aligned tables, and what each section shows."""

from __future__ import annotations

import pytest

from auflow.benchmarks import sheets
from auflow.benchmarks.arithmetic import Peaks
from auflow.benchmarks.kernels import KernelCost
from auflow.benchmarks.memory import Growth, MemoryCheck
from auflow.benchmarks.model import scale
from auflow.benchmarks.runs import RunPlan
from auflow.benchmarks.spread import Spread, percentile
from auflow.benchmarks.stages import StageCost, StageCosts
from auflow.benchmarks.tables import Table, amount
from auflow.benchmarks.versus import Side, Versus

from .conftest import run_cost


def test_spread_of_known_values() -> None:
    spread = Spread.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (spread.count, spread.least, spread.median, spread.most, spread.total) == (5, 1, 3, 5, 15)
    assert spread.p95 == pytest.approx(4.8)
    assert Spread.of([7.0]) == Spread(1, 7, 7, 7, 7, 7)


def test_percentile_lies_between_neighbours() -> None:
    assert percentile([0.0, 10.0], 25) == 2.5
    assert percentile([0.0, 10.0], 100) == 10.0


def test_columns_are_aligned() -> None:
    table = Table(("what", "n", "long head"), [("a long name", "1", "2"), ("b", "1,000", "-")], ("a note",))
    assert table.text().splitlines() == [
        "what             n  long head",
        "a long name      1          2",
        "b            1,000          -",
        "a note",
    ]


def test_amounts() -> None:
    assert [amount(1234.567), amount(0.5, 0), amount(None)] == ["1,234.57", "0", "-"]


def test_kernels_tell_their_share_of_the_peak() -> None:
    us = Spread.of([100.0, 120.0, 110.0])
    table = sheets.kernel_table([KernelCost("fast", us, 30, 25.0, None)], Peaks(100.0, 20.0))
    assert table.rows == [("fast", "100.0", "110.0", "30", "25.0", "25%", "-")]
    assert table.notes == ("peak of one core: 100 GFLOP/s (sgemm), 20.0 GB/s (copy)",)


def test_stages_add_up() -> None:
    clnf = StageCost("clnf", 3.0, Spread.of([2.0, 2.0, 5.0]))
    table = sheets.stage_table(StageCosts(3, 4.0, (clnf, StageCost("sink and loop", 1.0, None))))
    assert table.rows[0] == ("clnf", "3.000", "75.0%", "3", "2.000", "4.700", "5.000")
    assert table.rows[1][1:4] == ("1.000", "25.0%", "-")
    assert table.rows[2][:3] == ("all", "4.000", "100.0%")
    assert len({len(row) for row in table.rows}) == 1


def test_processes_share_the_time() -> None:
    row = sheets.process_table(run_cost(clnf=4.0)).rows[0]
    assert row == ("clnf-0", "4.00", "50%", "10%", "40%", "80", "100")


def test_run_too_short_for_its_processes() -> None:
    assert sheets.process_table(run_cost()).notes[0].endswith("give a longer clip")


def test_every_table_of_a_run_can_be_written() -> None:
    runs = [run_cost(RunPlan(cores=1), clnf=4.0, au=2.0), run_cost(RunPlan(no_cache=True), clnf=4.0)]
    assert "processes, 1 core" in sheets.run_table(runs).text()
    assert "bound by" in sheets.scaling_table(scale(runs[0], {(1, 1): 120.0})).text()
    names = [figure.name for figure in sheets.run_figures(runs)]
    assert "processes, 1 core: CPU a frame" in names
    assert "processes, no kernel cache: first AU" in names
    assert "processes, no kernel cache: CPU a frame" not in names  # compiling is no frame's work
    assert len(names) == len(set(names))


def test_versus_gives_the_ratio_with_its_range() -> None:
    ours = Side("auflow", "auflow run", Spread.of([1.0, 2.0, 3.0]), Spread.of([1.0]), 300.0)
    theirs = Side("slow", "/opt/slow x", Spread.of([10.0]), Spread.of([10.0]), 459.0)
    result = Versus(2, ours, theirs, Spread.of([4.0, 5.0, 6.0]), Spread.of([7.0]))
    table = sheets.versus_table([result])
    assert table.rows[0] == ("auflow, 2 cores", "2.00", "1.00", "300", "1", "1")
    assert table.rows[1] == ("slow, 2 cores", "10.00", "10.00", "459", "5.00 (4.00-6.00)", "7.00 (7.00-7.00)")
    assert sheets.versus_figures([result])[0].more_is_better


def test_memory_that_grows_is_told() -> None:
    total = Growth("all", 400.0, 420.0, 4000.0, 430.0, 600.0)
    held, broken = (MemoryCheck("one stream", 10_000, 60.0, (), total, allowed) for allowed in (2e7, 1e7))
    assert sheets.memory_table(held).notes[0].endswith("growth +20.0 MB, allowed 20.0 MB: holds")
    assert sheets.memory_table(broken).notes[0].endswith("allowed 10.0 MB: MEMORY GROWS")
