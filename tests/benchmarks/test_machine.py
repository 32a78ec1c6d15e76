"""What a result says of its machine."""

from __future__ import annotations

import json
import re

import pytest

from auflow.benchmarks import machine


def test_machine_fits_into_json_and_file_names() -> None:
    found = machine.describe()
    json.dumps(found, allow_nan=False)
    assert found["cores_usable"] >= 1
    assert found["libraries"]["numpy"]
    assert re.fullmatch(r"[a-z0-9-]+-cores-\d+-gb", machine.machine_key(found))


def test_idle_machine_gives_no_warning() -> None:
    assert machine.busy_warning(0.02, "meanwhile") is None
    assert machine.busy_warning(None, "meanwhile") is None
    assert "meanwhile other work took 40% of the cores' time" in str(machine.busy_warning(0.4, "meanwhile"))


def test_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(1000, 500), (1400, 600)])  # 300 of 400 ticks busy
    own = iter([10.0, 11.0])
    monkeypatch.setattr(machine, "_cpu_ticks", lambda: next(ticks))
    monkeypatch.setattr(machine, "_own_cpu_s", lambda: next(own))
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    assert machine.OthersWatch().share() == 0.5


def test_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpu_ticks", lambda: None)
    assert machine.OthersWatch().share() is None
