"""What a table says of its origin: enough to know what it is, and nothing of whose disk it lay on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import auflow
from auflow.errors import InputError
from auflow.models import manifest
from auflow.stages.records import AuTable, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.provenance import created_now, models_digest, provenance_of, read_provenance

NOTHING = AuTable(np.zeros((0, 17)), np.zeros((0, 18)))


def info(path: Path | str, **more: object) -> SourceInfo:
    return replace(SourceInfo(str(path), "video", 640, 480, 25.0, 842), **more)


def of(path: Path | str, settings: StageSettings | None = None, **more: object) -> dict:
    return provenance_of(settings or StageSettings(), info(path, **more), frames=3, rows=3, created="x")


def test_what_is_told(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(bytes(1234))
    settings = StageSettings(columns=("aus",), wild=True)
    told = of(path, settings)
    assert {key: told[key] for key in ("program", "version", "schema", "openface", "created", "frames", "rows")} == {
        "program": "auflow",
        "version": auflow.__version__,
        "schema": 1,
        "openface": "2.2.0",
        "created": "x",
        "frames": 3,
        "rows": 3,
    }
    assert told["source"] == {
        "name": "talk.mp4",
        "bytes": 1234,
        "kind": "video",
        "width_px": 640,
        "height_px": 480,
        "fps": 25.0,
        "frames": 842,
        "rotation_deg": 0,
    }
    assert told["columns"] == Layout.of(settings).names()
    assert (told["settings"]["wild"], told["settings"]["formats"]) == (True, ("csv",))
    assert (told["au_values"], of(path, StageSettings(faces="all"))["au_values"]) == ("offline", "static")
    assert json.loads(json.dumps(told, allow_nan=False))["au_values_meaning"].startswith("after OpenFace's pass")


@pytest.mark.parametrize(
    ("settings", "numbers", "values"),
    [
        (StageSettings(), "tracker", "offline"),
        (StageSettings(faces="all"), "tracker", "static"),
        (StageSettings(faces="all", tracking="coherent", identities=True), "person", "offline"),
        (StageSettings(faces="pictures"), "picture", "static"),
    ],
)
def test_what_faces_are_numbered_by(tmp_path: Path, settings: StageSettings, numbers: str, values: str) -> None:
    told = of(tmp_path / "talk.mp4", settings)
    assert (told["face_numbers"], told["tracking"], told["au_values"]) == (numbers, settings.tracking, values)
    assert (numbers == "tracker") == ("may pass to another person" in told["face_numbers_meaning"])


def test_no_folder_is_told(tmp_path: Path) -> None:
    told = of(tmp_path / "talk.mp4", StageSettings(faces="pictures", boxes_dir=str(tmp_path / "boxes")))
    assert told["settings"]["boxes_dir"] == "boxes"
    assert str(tmp_path) not in json.dumps(told)
    assert str(tmp_path.parent.name) not in json.dumps(told)


@pytest.mark.parametrize(
    ("path", "kind", "name"), [("-", "video", "-"), ("gone.mp4", "video", "gone.mp4"), ("door", "live", "door")]
)
def test_inputs_that_have_no_size(tmp_path: Path, monkeypatch, path: str, kind: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "door").write_bytes(b"a file that has the name of a stream")
    assert [of(path, kind=kind)["source"][key] for key in ("name", "bytes")] == [name, None]


def test_a_folder_and_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for path in (folder, "."):
        source = of(path, kind="images", fps=float("nan"))["source"]
        assert (source["name"], source["bytes"], source["fps"]) == ("frames", None, None)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    text = json.dumps(of(name))
    text.encode("utf-8")
    assert json.loads(text)["source"]["name"] == "caf?.mp4"


def test_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert created_now() == "1970-01-01T00:00:00Z"
    for nonsense in ("", "soon", "-5", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", nonsense)
        assert created_now() > "2026-"


def test_the_digest_is_of_the_models_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    first = models_digest("clnf")
    assert len(first) == 64
    assert models_digest("ceclm") != first
    files = list(manifest.load_manifest())
    place = next(number for number, file in enumerate(files) if file.needed)
    files[place] = replace(files[place], sha256="0" * 64)
    monkeypatch.setattr("auflow.stages.sink.provenance.load_manifest", lambda: tuple(files))
    assert models_digest("clnf") != first
    licences = [file for file in manifest.load_manifest() if file.needed]
    monkeypatch.setattr("auflow.stages.sink.provenance.load_manifest", lambda: tuple(licences))
    assert models_digest("clnf") == first  # the licences' text changes no number


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_it_is_read_back(tmp_path: Path, form) -> None:
    settings = StageSettings(formats=(form,), camera=(1.0, 2.0, 3.0, 4.0))
    sink = ResultSink(tmp_path / "a.csv", settings, info("talk.mp4"))
    path = sink.finish(NOTHING)
    found = read_provenance(path)
    wanted = provenance_of(settings, info("talk.mp4"), frames=0, rows=0, created=found["created"])
    assert found == json.loads(json.dumps(wanted))


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"[]\n", b"{}", b'{"program":"other"}', b"[" * 100_000, b"\xff\xfe", b"PAR1PAR1", bytes(2_000_000)],
    ids=range(9),
)
def test_files_that_are_none_of_ours(tmp_path: Path, form: str, content: bytes) -> None:
    path = tmp_path / f"a.{form}"
    with pytest.raises(InputError, match=rf"a\.{form}: cannot be read: No such file"):
        read_provenance(path)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.{form}: (says nothing of its origin|is no whole Parquet file)"):
        read_provenance(path)


def test_parquet_of_another_program(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": pa.array([1], pa.int32())}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="says nothing of its origin"):
        read_provenance(tmp_path / "a.parquet")


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"program":"auflow","schema":2}\n')
    with pytest.raises(InputError, match="expected schema 1, got 2; update"):
        read_provenance(tmp_path / "a.jsonl")
