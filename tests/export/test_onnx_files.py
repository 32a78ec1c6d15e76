"""Exported graphs: that they are valid, agree with the exact path, say so, and are not written when they do not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from auflow.cli import main
from auflow.errors import ModelError, OutputError
from auflow.export.exact_mtcnn import forward
from auflow.export.graphs import exports
from auflow.export.onnx_files import INDEX, write_onnx
from auflow.models.au_heads import load_au_heads
from auflow.models.clnf import load_clnf_models
from auflow.models.mtcnn import MaxPool, PRelu
from auflow.models.onnx.ccnf import build_ccnf_graph
from auflow.models.onnx.heads import build_heads_graph


@pytest.fixture(scope="module")
def folder(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    write_onnx(folder, exports(models_dir, ("mtcnn", "fhog", "heads")))
    (folder / "ccnf").mkdir()
    write_onnx(folder / "ccnf", (each for each in exports(models_dir, ("ccnf",)) if "eye" in each.name))
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.onnx"))


def test_every_file_is_valid_and_says_how_far_it_is_off(folder: Path) -> None:
    assert len(files(folder)) == 10
    for path in files(folder):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert (model.ir_version, model.opset_import[0].version) == (10, 17)
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert 0 <= float(told["error_max_abs"]) < 1e-4
        assert "against" in told["error_of"]
        assert "OpenFace-license" in told["weights_license"]


def test_the_index_tells_what_is_in_the_files(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    assert (index["ir_version"], index["opset"]) == (10, 17)
    for graph in index["graphs"]:
        session = ort.InferenceSession(str(folder / graph["file"]), providers=["CPUExecutionProvider"])
        for told, there in ((graph["inputs"], session.get_inputs()), (graph["outputs"], session.get_outputs())):
            assert {each.name: each.shape for each in there} == {name: each["shape"] for name, each in told.items()}
        data = (folder / graph["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (graph["bytes"], graph["sha256"])
    heads = next(graph for graph in index["graphs"] if graph["name"] == "au_heads")
    assert heads["decision_flips"] == 0.0
    shapes = {name: each["shape"] for name, each in heads["outputs"].items()}
    assert shapes == {"intensities": ["n", 17], "presences": ["n", 18], "decisions": ["n", 18]}
    fhog = next(graph for graph in index["graphs"] if graph["name"] == "fhog")
    assert fhog["inputs"]["faces"] == {"shape": ["n", 112, 112, 3], "dtype": "uint8", "span": [0, 255]}


def test_the_index_keeps_what_was_not_written_now(models_dir: Path, tmp_path: Path) -> None:
    write_onnx(tmp_path, exports(models_dir, ("mtcnn",)))
    write_onnx(tmp_path, exports(models_dir, ("fhog",)))
    (tmp_path / "mtcnn_pnet.onnx").unlink()
    write_onnx(tmp_path, exports(models_dir, ("fhog",)))
    names = [graph["name"] for graph in json.loads((tmp_path / INDEX).read_text())["graphs"]]
    assert names == ["mtcnn_rnet", "mtcnn_onet", "fhog"]
    for damaged in ("[]", "{", '{"auflow": "0.0.1", "graphs": 3}'):
        (tmp_path / INDEX).write_text(damaged)
        write_onnx(tmp_path, exports(models_dir, ("fhog",)))
        assert [g["name"] for g in json.loads((tmp_path / INDEX).read_text())["graphs"]] == ["fhog"]


def test_the_same_models_give_the_same_bytes(folder: Path, models_dir: Path, tmp_path: Path) -> None:
    write_onnx(tmp_path, exports(models_dir, ("mtcnn",)))
    for path in tmp_path.glob("*.onnx"):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_one_that_is_too_far_off_is_not_written(models_dir: Path, tmp_path: Path) -> None:
    (first, *_) = exports(models_dir, ("mtcnn",))
    strict = replace(first, check=lambda network: replace(first.check(network), limit=1e-12))
    with pytest.raises(ModelError, match=r"mtcnn_pnet: off by .* not written; `auflow models verify`"):
        write_onnx(tmp_path, [strict])
    assert list(tmp_path.iterdir()) == []
    wrong = replace(first, check=lambda network: replace(first.check(network), largest=float("nan")))
    with pytest.raises(ModelError, match="off by nan"):
        write_onnx(tmp_path, [wrong])


def test_changed_weights_are_noticed(models_dir: Path) -> None:
    """The checks compare with the weights, not with the graph's own arithmetic."""
    from auflow.backends.ort import OrtBackend
    from auflow.export.checks import check_ccnf, check_heads

    backend = OrtBackend("ort-cpu")
    heads = load_au_heads(models_dir)
    bent = replace(heads, intensities=replace(heads.intensities, weights=heads.intensities.weights * 1.01))
    found = check_heads(backend.load(build_heads_graph(bent, "bent")), heads, models_dir)
    assert found.largest > found.limit
    patches = next(part for part in load_clnf_models(models_dir).parts if "eye" in part.name).model.patches[0]
    view = tuple(
        None if expert is None else replace(expert, biases=expert.biases + 0.01) for expert in patches.experts[0]
    )
    other = build_ccnf_graph(replace(patches, experts=(view, *patches.experts[1:])), 3, "bent")
    found = check_ccnf(backend.load(other), patches, 3)
    assert found.largest > found.limit


def test_the_exact_pool_hangs_over_the_edge() -> None:
    image = np.arange(25, dtype=np.float64).reshape(1, 1, 5, 5)
    pooled = forward([MaxPool(2, 2)], image, sliding=True)
    np.testing.assert_array_equal(pooled[0, 0], [[6, 8, 9], [16, 18, 19], [21, 23, 24]])
    bent = forward([PRelu(np.array([0.5], np.float32))], -image, sliding=True)
    np.testing.assert_array_equal(bent, -image / 2)


def test_a_folder_that_cannot_be_written_to(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutputError, match=r"mtcnn_pnet\.onnx: cannot be written.*choose another folder with -o"):
        write_onnx(tmp_path / "gone", exports(models_dir, ("mtcnn",)))
    (tmp_path / "file").touch()
    words = ["models", "export", "onnx", "--dir", str(models_dir), "-o", str(tmp_path / "file" / "below")]
    assert main(words) == 3
    assert "cannot be made" in capsys.readouterr().err


def test_the_command(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["models", "export", "onnx", "--dir", str(models_dir), "-o", str(tmp_path / "out"), "--only", "mtcnn"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "mtcnn_onet.onnx" in out
    assert "3 graphs" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "index.json", "mtcnn_onet.onnx", "mtcnn_pnet.onnx", "mtcnn_rnet.onnx",
    ]  # fmt: skip


def test_no_such_group_and_no_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "export", "onnx", "--only", "gaze"])
    assert "expected some of mtcnn, ccnf, fhog, heads, cen" in capsys.readouterr().err
    assert main(["models", "export", "onnx", "--dir", str(tmp_path), "-o", str(tmp_path / "o")]) == 4
    assert "auflow models fetch" in capsys.readouterr().err
