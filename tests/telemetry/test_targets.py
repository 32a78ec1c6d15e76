"""The file that Prometheus reads: always whole, always what is there."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from auflow.errors import OutputError
from auflow.telemetry.targets import OWN_PATH, Targets


def test_what_is_there_is_told_and_written_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "targets.json"
    targets = Targets(path)
    assert targets.tell({"clnf-0": 4001, "au-0": 4000, "bus-0": 0}, "127.0.0.1:8717")
    own, au, clnf = json.loads(path.read_text())
    assert own == {
        "targets": ["127.0.0.1:8717"],
        "labels": {"worker": "orchestrator", "instance": "127.0.0.1:8717", "__metrics_path__": OWN_PATH},
    }
    assert au == {"targets": ["127.0.0.1:4000"], "labels": {"worker": "au-0", "instance": "127.0.0.1:8717"}}
    assert clnf["targets"] == ["127.0.0.1:4001"]
    path.unlink()
    assert not targets.tell({"au-0": 4000, "clnf-0": 4001}, "127.0.0.1:8717")
    assert not path.exists()
    assert targets.tell({"au-0": 4000, "clnf-0": 4002}, "127.0.0.1:8717")  # it was started again
    assert [entry["targets"] for entry in json.loads(path.read_text())][2] == ["127.0.0.1:4002"]
    assert [entry.name for entry in path.parent.iterdir()] == ["targets.json"]
    targets.withdraw()
    assert json.loads(path.read_text()) == []


def test_without_an_address_of_its_own_the_machine_is_the_instance(tmp_path: Path) -> None:
    Targets(tmp_path / "t.json").tell({"au-0": 4000}, "")
    (entry,) = json.loads((tmp_path / "t.json").read_text())
    assert entry["labels"]["instance"] == platform.node()


def test_a_place_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    targets = Targets(tmp_path / "file" / "targets.json")
    with pytest.raises(OutputError, match=r"targets cannot be written: .*telemetry\.targets"):
        targets.tell({"au-0": 4000}, "")
    (tmp_path / "file").unlink()
    assert targets.tell({"au-0": 4000}, "")
    targets.withdraw()
