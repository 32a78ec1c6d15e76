"""Several packages of ONNX Runtime in one folder, as installers leave them: what runs, and what mends it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auflow.backends import installing, nvidia
from auflow.backends.availability import look
from auflow.backends.ort_files import look_at_ort_files, require_ort_files
from auflow.cli import main
from auflow.errors import BackendError

CPU, GPU = "onnxruntime-1.32.0", "onnxruntime_gpu-1.31.1"
# Of the real wheels: which files both have, with other sizes.
SHARED = {"__init__.py": 10, "capi/build_and_package_info.py": 20, "capi/state.so": 300, "tools/convert.py": 5}
FILES = {
    CPU: SHARED,
    GPU: {name: size + 1 for name, size in SHARED.items()} | {"capi/libonnxruntime_providers_cuda.so": 900},
}


def install(folder: Path, package: str, name: str = "onnxruntime") -> None:
    """As pip does: files over whatever is there, and what they are into RECORD."""
    lines = []
    for file, size in FILES[package].items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        lines.append(f"{name}/{file},sha256=abc,{size}\n")
    info = folder / f"{package}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "RECORD").write_text("".join(lines) + f"{info.name}/RECORD,,\n{name}/__pycache__/__init__.pyc,,\n")


def uninstall(folder: Path, package: str) -> None:
    """As pip does: the files of its RECORD are removed, whoever wrote them last."""
    info = folder / f"{package}.dist-info"
    for file in FILES[package]:
        (folder / "onnxruntime" / file).unlink(missing_ok=True)
    (info / "RECORD").unlink()
    info.rmdir()


@pytest.fixture(autouse=True)
def with_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setattr(installing, "_is_uv", lambda: False)


def mends(folder: Path) -> tuple[str, str]:
    found = look_at_ort_files([str(folder)])
    return found.mend(gpu=True), found.mend(gpu=False)


def test_one_package_is_fine(tmp_path: Path) -> None:
    install(tmp_path, CPU)
    found = look_at_ort_files([str(tmp_path / "not there"), str(tmp_path)])
    assert (found.state, found.what) == ("fine", "onnxruntime 1.32.0")
    assert mends(tmp_path) == ("", "")


def test_what_no_installer_has_noted_is_left_alone(tmp_path: Path) -> None:
    assert look_at_ort_files([str(tmp_path)]).state == "fine"
    install(tmp_path, CPU)
    (tmp_path / f"{CPU}.dist-info" / "RECORD").unlink()
    assert look_at_ort_files([str(tmp_path)]).packages == ()


def test_the_package_for_gpus_on_top_is_what_was_wanted(tmp_path: Path) -> None:
    install(tmp_path, CPU)
    install(tmp_path, GPU)
    found = look_at_ort_files([str(tmp_path)])
    assert (found.state, found.what) == ("fine", "onnxruntime-gpu 1.31.1, written over onnxruntime")


def test_the_plain_package_on_top_is_told(tmp_path: Path) -> None:
    """What `pip install 'auflow[gpu]'` leaves in an empty environment."""
    install(tmp_path, GPU)
    install(tmp_path, CPU)
    found = look_at_ort_files([str(tmp_path)])
    assert found.state == "overwritten"
    assert found.what.startswith("onnxruntime 1.32.0 was written over onnxruntime-gpu 1.31.1")
    assert mends(tmp_path) == (
        "/venv/bin/python -m pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1",
        "/venv/bin/python -m pip uninstall -y onnxruntime-gpu && "
        "/venv/bin/python -m pip install --force-reinstall --no-deps onnxruntime==1.32.0",
    )


@pytest.mark.parametrize(("gone", "left"), [(GPU, CPU), (CPU, GPU)])
def test_to_remove_one_leaves_a_ruin_of_the_other(tmp_path: Path, gone: str, left: str) -> None:
    install(tmp_path, CPU)
    install(tmp_path, GPU)
    uninstall(tmp_path, gone)
    found = look_at_ort_files([str(tmp_path)])
    name, version = left.replace("_", "-").rsplit("-", 1)
    assert found.state == "damaged"
    assert f"{name} {version} is damaged: 3 of its" in found.what
    assert mends(tmp_path) == (f"/venv/bin/python -m pip install --force-reinstall --no-deps {name}=={version}",) * 2


def test_a_mixture_is_damaged(tmp_path: Path) -> None:
    """What two installers at once may leave."""
    install(tmp_path, GPU)
    install(tmp_path, CPU)
    (tmp_path / "onnxruntime/capi/state.so").write_bytes(b"x" * FILES[GPU]["capi/state.so"])
    found = look_at_ort_files([str(tmp_path)])
    assert found.state == "damaged"
    assert "none of them is whole" in found.what


def test_a_library_that_somebody_stripped_is_no_fault(tmp_path: Path) -> None:
    install(tmp_path, CPU)
    (tmp_path / "onnxruntime/capi/state.so").write_bytes(b"x")
    assert look_at_ort_files([str(tmp_path)]).state == "fine"


def test_tools_that_auflow_does_not_use_do_not_count(tmp_path: Path) -> None:
    install(tmp_path, CPU)
    (tmp_path / "onnxruntime/tools/convert.py").unlink()
    assert look_at_ort_files([str(tmp_path)]).state == "fine"


def test_siblings_with_a_folder_of_their_own_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "onnxruntime_ep_webgpu-0.4.0", {"__init__.py": 7})
    install(tmp_path, CPU)
    install(tmp_path, "onnxruntime_ep_webgpu-0.4.0", "onnxruntime_ep_webgpu")
    assert [str(each) for each in look_at_ort_files([str(tmp_path)]).packages] == ["onnxruntime 1.32.0"]


def test_a_third_package_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "onnxruntime_openvino-1.24.1", {"__init__.py": 7})
    for package in (GPU, "onnxruntime_openvino-1.24.1", CPU):
        install(tmp_path, package)
    with_gpu, without = mends(tmp_path)
    assert with_gpu.startswith("/venv/bin/python -m pip uninstall -y onnxruntime-openvino && ")
    assert with_gpu.endswith("onnxruntime-gpu==1.31.1")
    assert without.startswith("/venv/bin/python -m pip uninstall -y onnxruntime-gpu onnxruntime-openvino && ")


def test_the_commands_of_an_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setattr(installing.importlib.util, "find_spec", lambda _: None)
    install(tmp_path, GPU)
    install(tmp_path, CPU)
    assert mends(tmp_path) == (
        "uv pip install --python /venv/bin/python --reinstall --no-deps onnxruntime-gpu==1.31.1",
        "uv pip uninstall --python /venv/bin/python onnxruntime-gpu && "
        "uv pip install --python /venv/bin/python --reinstall --no-deps onnxruntime==1.32.0",
    )


def test_the_commands_of_an_environment_of_pipx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auflow-next").mkdir()
    (tmp_path / "auflow-next" / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "auflow-next"))
    install(tmp_path, GPU)
    install(tmp_path, CPU)
    assert mends(tmp_path) == (
        "pipx runpip auflow-next install --force-reinstall --no-deps onnxruntime-gpu==1.31.1",
        "pipx runpip auflow-next uninstall -y onnxruntime-gpu && "
        "pipx runpip auflow-next install --force-reinstall --no-deps onnxruntime==1.32.0",
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is looked at before all others."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "site").mkdir()
    look.cache_clear()
    yield tmp_path / "site"
    look.cache_clear()


def test_a_start_warns_or_refuses(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, CPU)
    assert require_ort_files() is None
    install(site, GPU)
    install(site, CPU)
    told = require_ort_files(gpu=True)
    assert told is not None
    assert told.endswith("\nto mend it: " + mends(site)[0])
    monkeypatch.setattr(nvidia, "look_for_gpus", lambda: "there is none")
    told = require_ort_files()
    assert told is not None
    assert told.endswith("\nto mend it: " + mends(site)[1])
    uninstall(site, GPU)
    with pytest.raises(BackendError, match=r"(?s)is damaged: .*\nto mend it: .*onnxruntime==1.32.0"):
        require_ort_files()
    assert look("ort-cpu").what == "onnxruntime 1.32.0 is damaged: 3 of its 3 files are missing"


def test_run_refuses_a_ruin_before_it_begins(
    site: Path, models_dir: Path, demo_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, CPU)
    (site / "onnxruntime/capi/state.so").unlink()
    code = main(["run", str(demo_dir / "astronaut.mp4"), "-o", str(tmp_path / "out"), "--inline"])
    assert code == BackendError.exit_code
    assert "--force-reinstall --no-deps onnxruntime==1.32.0" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_serve_and_detect_refuse_a_ruin(
    site: Path, models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(site, CPU)
    (site / "onnxruntime/capi/state.so").unlink()
    for words in (["serve", "--stream", "a=b.mp4"], ["detect"]):
        assert main(words) == BackendError.exit_code
        assert "onnxruntime 1.32.0 is damaged" in capsys.readouterr().err


def test_the_look_costs_a_start_little(site: Path) -> None:
    """A real folder has hundreds of entries; two packages with 14 files each that compute."""
    for number in range(300):
        (site / f"package{number}").mkdir()
    install(site, GPU)
    install(site, CPU)
    took = []
    for _ in range(20):
        before = time.process_time()
        look_at_ort_files()
        took.append(time.process_time() - before)
    assert min(took) < 2e-3


def test_the_look_imports_nothing_heavy() -> None:
    code = (
        "import sys; from auflow.backends.ort_files import look_at_ort_files; look_at_ort_files();"
        "print(sorted({'numpy', 'onnxruntime', 'importlib.metadata', 'csv', 'email'} & set(sys.modules)))"
    )
    python = os.path.join(sys.prefix, "bin", "python")
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
