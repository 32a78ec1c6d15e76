"""Rows as text: what Python's own formatting of every number gives, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.settings import StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.rows import RowText

LAYOUTS = {
    "video": StageSettings(),
    "several faces": StageSettings(faces="all"),
    "pictures": StageSettings(faces="pictures"),
    "no arrays": StageSettings(columns=frozenset()),
    "action units": StageSettings(columns=frozenset({"aus"})),
}
# Halves of the last digit, as they are and just missed, zeros of both signs, ends of the tables, what has no digits.
TIES = [0.25, 0.75, -0.25, 0.125, 0.0625, 0.05, 0.15, 0.0015, 1.0005, -1.0005, 2.675, 0.0000005, 1.0000005]
EDGES = [0.0, -0.0, -0.04, -0.0004, 0.95, 9.95, 99.95, 0.9995, 9999.94, 9999.95, 9999.9999996, 10000.0, -12345.678]
ODD = [1e9, -1e18, np.inf, -np.inf, np.nan, 1e-30, -1e-30]


def numbers_of(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Rows (n, columns) of any values as the columns hold them: integers, single and double precision."""
    rows = values.astype(np.float64).copy()
    at = 0
    for group in layout.groups:
        part = rows[:, at : at + len(group.names)]
        if np.issubdtype(group.dtype, np.integer):
            part[:] = np.rint(np.nan_to_num(part, posinf=1e6, neginf=-1e6)).clip(-1e6, 1e6)
        else:
            part[:] = part.astype(group.dtype)
        at += len(group.names)
    return rows


def check(layout: Layout, precision, rows: np.ndarray) -> None:
    wanted = [layout.row_format(precision) % tuple(row) for row in rows.tolist()]
    assert [line.decode() for line in RowText(layout, precision).lines(rows)] == wanted


@pytest.mark.parametrize("precision", ["openface", "full"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_equals_python_formatting(name, precision):
    layout = Layout.of(LAYOUTS[name])
    rng = np.random.default_rng(len(name))
    count = len(layout.header().split(", "))
    scales = np.repeat([0.01, 1.0, 30.0, 1000.0], 12)[:, None]
    check(layout, precision, numbers_of(layout, rng.normal(0, 1, (48, count)) * scales))


@pytest.mark.parametrize("precision", ["openface", "full"])
@pytest.mark.parametrize("special", [TIES, EDGES, ODD], ids=["ties", "edges", "odd"])
def test_special_values_in_every_column(precision, special):
    layout = Layout.of(StageSettings())
    count = len(layout.header().split(", "))
    rows = np.array([np.full(count, value) for value in special])
    mixed = np.resize(np.array([*special, 1.0, 2.5]), (len(special) + 2, count))
    with np.errstate(over="ignore", invalid="ignore"):
        check(layout, precision, numbers_of(layout, np.concatenate([rows, mixed])))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-2e4, 2e4) | st.integers(-(10**7), 10**7).map(lambda k: k / 2000), min_size=1, max_size=40))
def test_any_values(values):
    layout = Layout.of(StageSettings())
    count = len(layout.header().split(", "))
    rows = numbers_of(layout, np.resize(np.array(values), (3, count)))
    for precision in ("openface", "full"):
        check(layout, precision, rows)


def test_most_rows_go_by_table():
    """The short cut is taken: rows of ordinary numbers need no Python formatting."""
    layout = Layout.of(StageSettings())
    text = RowText(layout, "openface")
    rng = np.random.default_rng(0)
    rows = numbers_of(layout, rng.normal(0, 300, (200, len(layout.header().split(", ")))))
    _, doubtful = text._cells(rows[:, text._plain :])
    assert doubtful.mean() < 0.05
    assert text._plain == 5
