"""docs/formats.md: its examples run, its tables are those of the files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from auflow.stages.records import SourceInfo
from auflow.stages.settings import FORMATS, StageSettings
from auflow.stages.sink import ResultSink
from auflow.tests.sink.test_formats import add, table

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)
SAYS = [
    "AU12 in ",
    "AU",
    "mm head position, camera frame, x (right)",
    "astronaut.mp4 px ",
    "AU12",
    "60 ",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table in all formats."""
    folder = tmp_path_factory.mktemp("document")
    info = SourceInfo("somewhere/astronaut.mp4", "video", 64, 48, 25.0, 60)
    sink = ResultSink(folder / "astronaut.csv", StageSettings(formats=FORMATS), info)
    add(sink, 1, 60)
    sink.finish(table(60))
    return folder


def section(title: str) -> str:
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("code", "says"), list(zip(EXAMPLES, SAYS, strict=True)))
def test_the_examples_run(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, says: str
) -> None:
    monkeypatch.chdir(results)
    exec(compile(code, "docs/formats.md", "exec"), {})
    assert says in capsys.readouterr().out


def test_the_example_for_a_shell_runs(results: Path) -> None:
    (command,) = re.findall(r"```sh\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    run = subprocess.run(["sh", "-c", command], cwd=results, check=True, capture_output=True, text=True)
    assert len(run.stdout.splitlines()) == 45  # every fourth fake frame has no face


def test_the_keys_of_a_row(results: Path) -> None:
    with (results / "astronaut.jsonl").open() as file:
        header, row = json.loads(next(file)), json.loads(next(file))
    told = re.findall(r"^\| `(\w+)` \| (.*?) ?\|", section("JSON lines"), flags=re.MULTILINE)
    assert [key for key, _ in told] == list(row)
    for key, unit in told:
        of_key = header["units"].get(key, "1")
        leaves = dict.fromkeys(of_key.values() if isinstance(of_key, dict) else [of_key])
        if set(leaves) != {"1"}:
            assert unit.replace("unit vector", "1") == ", ".join(leaves), key


def test_the_keys_of_the_provenance(results: Path) -> None:
    told = re.findall(r"^\| (`.*?`) \|", section("Provenance"), flags=re.MULTILINE)
    keys = [key for cell in told for key in re.findall(r"`(\w+)`", cell)]
    found = json.loads(pq.read_schema(results / "astronaut.parquet").metadata[b"auflow"])
    assert keys == list(found)
    for name in found["source"]:
        assert f"`{name}`" in section("Provenance")


def test_the_types_of_the_columns(results: Path) -> None:
    schema = pq.read_schema(results / "astronaut.parquet")
    names = {"int32": "int32", "bool": "bool", "int8": "int8", "float32": "float"}
    rest = set(schema.names)
    for cell, told in re.findall(r"^\| (`.*?) \| (\w+)", section("Parquet"), flags=re.MULTILINE):
        for first in re.findall(r"`(\w+)`", cell):
            if first in schema.names:
                assert str(schema.field(first).type) == names[told], first
        rest -= {name for name in rest if str(schema.field(name).type) == names[told]}
    assert {str(schema.field(name).type) for name in rest} == {"double"}
