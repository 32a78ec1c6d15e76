"""What pyproject.toml says of the package: its parts, its extras on each platform, and what an index shows of it."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import auflow

ROOT = Path(auflow.__file__).resolve().parent
PYPROJECT = ROOT / "pyproject.toml"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = {
    "Linux": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux on ARM": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
    "Windows on ARM": {"sys_platform": "win32", "platform_machine": "ARM64"},
    "macOS": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "macOS on Intel": {"sys_platform": "darwin", "platform_machine": "x86_64"},
}

pytestmark = pytest.mark.skipif(not PYPROJECT.is_file(), reason="installed without its pyproject.toml")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads(PYPROJECT.read_text())


@pytest.fixture(scope="module")
def project(pyproject: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pyproject["project"]
    return found


@pytest.fixture(scope="module")
def check_wheel() -> ModuleType:
    """The script that looks at what was built."""
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / ".ci" / "check_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_tree() -> list[str]:
    """All packages of the checkout, as they are imported."""
    folders = (path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py"))
    parts = (("auflow", *folder.parts) for folder in folders)
    left_out = {"tests", "build", ".venv", "dist"}
    return sorted(".".join(names) for names in parts if not left_out & set(names) and len(names) < 6)


def wanted(project: dict[str, Any], extra: str, platform: str) -> set[str]:
    requirements = map(Requirement, project["optional-dependencies"][extra])
    environment = {**PLATFORMS[platform], "platform_system": "", "python_version": "3.12"}
    return {each.name for each in requirements if each.marker is None or each.marker.evaluate(environment)}


def test_every_package_of_the_checkout_is_in_the_wheel(pyproject: dict[str, Any]) -> None:
    assert sorted(pyproject["tool"]["setuptools"]["packages"]) == in_tree()


def test_every_package_has_a_layer(pyproject: dict[str, Any]) -> None:
    (layers,) = (each["layers"] for each in pyproject["tool"]["importlinter"]["contracts"] if "layers" in each)
    known = {name.strip() for layer in layers for name in layer.split("|")}
    top = {name for name in in_tree() if name.count(".") == 1}
    assert top <= known


def test_the_version_stands_in_one_place(project: dict[str, Any]) -> None:
    assert project["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", auflow.__version__)
    assert f": {auflow.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_pythons_are_the_same_everywhere(project: dict[str, Any]) -> None:
    range_ = SpecifierSet(project["requires-python"])
    named = {text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)}
    assert named == set(PYTHONS)
    assert all(python in range_ for python in PYTHONS)
    assert not any(python in range_ for python in ("3.10", "3.14"))
    assert not any(text.startswith("License ::") for text in project["classifiers"])  # the SPDX expression says it


def test_onnx_runtime_for_gpus_is_asked_for_where_there_is_one(project: dict[str, Any]) -> None:
    found = {platform: wanted(project, "gpu", platform) for platform in PLATFORMS}
    assert {platform for platform, names in found.items() if names} == {"Linux", "Windows"}
    assert found["Linux"] == {"onnxruntime-gpu"}


def test_tensorrt_and_core_ml_are_asked_for_where_they_have_wheels(project: dict[str, Any]) -> None:
    tensorrt = {platform for platform in PLATFORMS if wanted(project, "tensorrt", platform)}
    coreml = {platform for platform in PLATFORMS if wanted(project, "coreml", platform)}
    assert tensorrt == {"Linux", "Linux on ARM", "Windows"}
    assert wanted(project, "tensorrt", "Linux") == {"cuda-bindings", "tensorrt-cu13"}
    assert coreml == {"Linux", "macOS", "macOS on Intel"}


def test_every_requirement_has_both_limits(project: dict[str, Any]) -> None:
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (Requirement(text) for texts in lists for text in texts):
        operators = {each.operator for each in requirement.specifier}
        assert requirement.name == "auflow" or operators in ({">=", "<"}, {"=="}), str(requirement)


@pytest.mark.parametrize("document", ["docs/install.md", "docs/pypi.md"])
def test_every_extra_is_explained(project: dict[str, Any], document: str) -> None:
    text = (ROOT / document).read_text()
    for extra in set(project["optional-dependencies"]) - {"dev", "grafana"}:
        assert f"| `{extra}` |" in text, extra


def test_the_description_for_an_index_leads_nowhere_else(project: dict[str, Any]) -> None:
    assert project["readme"] == "docs/pypi.md"
    links = re.findall(r"\]\(([^)]*)\)", (ROOT / "docs" / "pypi.md").read_text())
    assert links
    assert all(link.startswith("https://") for link in links)


def test_what_belongs_into_the_wheel(check_wheel: ModuleType) -> None:
    tree = ["cli.py", "web/__init__.py", "web/static/page.css", "tests/test_a.py", "docs/a.md", "README.md", "py.typed"]
    tree += ["benchmarks/__init__.py", "benchmarks/results/history.json", ".ci/check_wheel.py", "examples/consume.py"]
    assert check_wheel.expected(tree) == {
        "cli.py", "web/__init__.py", "web/static/page.css", "py.typed", "benchmarks/__init__.py"
    }  # fmt: skip


def test_a_wheel_that_is_not_the_checkout_is_told(check_wheel: ModuleType) -> None:
    code = (ROOT / "cli.py").read_bytes()
    check_wheel._compare("the wheel", {"cli.py": code}, {"cli.py"})
    for there, wanted_, why in (
        ({}, {"cli.py"}, "not in the wheel: cli.py"),
        ({"cli.py": code, "old.py": b""}, {"cli.py"}, "in the wheel, but does not belong there: old.py"),
        ({"cli.py": code + b"#"}, {"cli.py"}, "with another content than in the checkout: cli.py"),
    ):
        with pytest.raises(check_wheel.Wrong, match=why):
            check_wheel._compare("the wheel", there, wanted_)
