"""Python, auflow, its libraries and extras, with versions that are made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import auflow
from auflow.doctor.packages import Package, fits, needed, of_extras
from auflow.doctor.software import Software, gather, judge
from auflow.tests.doctor.fake_machine import Answers, machine, only

REQUIRES = [
    "av<19,>=17",
    "onnxruntime<2,>=1.20",
    'pywin32; sys_platform == "no such system"',
    'pyarrow<27,>=17; extra == "parquet"',
    'onnxruntime-gpu>=1.27; python_version >= "3" and extra == "gpu"',
    'coremltools>=8; sys_platform == "no such system" and extra == "coreml"',
    'auflow[parquet]; extra == "dev"',
]


def versions(**installed: str) -> Any:
    return lambda name: installed.get(name.replace("-", "_"), "")


def facts(**changed: Any) -> Software:
    given: dict[str, Any] = {
        "python": "3.12.1",
        "python_asked": "<3.14,>=3.11",
        "python_fits": True,
        "interpreter": "/usr/bin/python",
        "auflow": "1.0",
        "metadata": "1.0",
        "place": Path("/site/auflow"),
        "checkout": False,
    }
    return Software(**given | changed)


def test_ranges() -> None:
    assert fits("<19,>=17", "17.0.1")
    assert not fits("<19,>=17", "19.0")
    assert fits(">=1", "2.0rc1")
    assert not fits(">=1", "torn")


def test_what_is_needed() -> None:
    found = needed(REQUIRES, versions(av="19.0", onnxruntime="1.25"))
    assert found == [
        Package("av", "<19,>=17", "19.0", False),
        Package("onnxruntime", "<2,>=1.20", "1.25", True),
    ]


def test_the_gpu_package_stands_in_for_onnx_runtime() -> None:
    assert needed(REQUIRES[1:2], versions(onnxruntime_gpu="1.27"))[0].name == "onnxruntime-gpu"


def test_extras_have_what_applies_here() -> None:
    found = of_extras(REQUIRES, ["parquet", "gpu", "coreml", "dev"], versions(pyarrow="5"))
    assert found == {
        "parquet": [Package("pyarrow", "<27,>=17", "5", False)],
        "gpu": [Package("onnxruntime-gpu", ">=1.27", "", False)],
        "coreml": [],
    }


def test_the_installation_that_runs_this_is_fine(tmp_path: Path) -> None:
    found = gather(machine(tmp_path), ask=Answers())
    assert (found.auflow, found.metadata) == (auflow.__version__, auflow.__version__)
    libraries = [each for each in judge(found) if each.area in ("python", "libraries")]
    assert {each.state for each in libraries} == {"fine"}
    assert {"Python", "auflow", "numpy", "pyzmq"} <= {each.name for each in libraries}


@pytest.mark.parametrize(
    ("changed", "name", "state", "mend"),
    [
        ({"python_fits": False}, "Python", "broken", "install Python 3.11"),
        ({"metadata": "0.9"}, "auflow", "note", "pip install --force-reinstall auflow"),
        ({"metadata": None, "checkout": True}, "auflow", "note", "pip install -e /site/auflow"),
        ({"packages": [Package("av", ">=17", "", False)]}, "av", "broken", "pip install 'av>=17'"),
        ({"packages": [Package("av", ">=17", "16", False)]}, "av", "broken", "pip install 'av>=17'"),
    ],
)
def test_faults(changed: Mapping[str, Any], name: str, state: str, mend: str) -> None:
    found = only(judge(facts(**changed)), name)
    assert found.state == state
    assert found.mend.startswith(mend)


def test_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    crashes = {"numba": {"error": "it crashes the process (signal 4)"}}
    found = only(judge(gather(machine(tmp_path), ask=Answers(**{"import": crashes}))), "numba")
    assert found.state == "broken"
    assert "signal 4" in found.what
    assert found.mend.startswith("pip install --force-reinstall 'numba")


def test_opencv_5_runs_whatever_the_metadata_says(tmp_path: Path) -> None:
    """Another of OpenCV's packages was written over the one that auflow asks for."""
    told = {"cv2": {"value": "5.1.0"}}
    installed = versions(opencv_python_headless="4.12", opencv_python="5.1.0.90")
    found = judge(gather(machine(tmp_path), ask=Answers(**{"import": told}), versions=installed))
    trap = only(found, "OpenCV")
    assert trap.state == "broken"
    assert "0.54" in trap.what
    assert trap.mend.startswith("pip uninstall -y opencv-python ; pip install --force-reinstall")
    assert "'opencv-python-headless<5," in trap.mend


def test_several_packages_of_opencv_are_a_note() -> None:
    given = facts(loaded={"opencv-python-headless": "4.12.0"}, opencvs=["opencv-python-headless", "opencv-python"])
    assert only(judge(given), "OpenCV").state == "note"


@pytest.mark.parametrize(
    ("name", "packages", "state"),
    [
        ("web", [Package("starlette", ">=1", "1.1", True)], "fine"),
        ("web", [Package("starlette", ">=1", "", False)], "note"),
        ("web", [Package("starlette", ">=1", "0.5", False)], "broken"),
        ("gpu", [Package("onnxruntime-gpu", ">=1", "", False)], "fine"),
        ("coreml", [], "fine"),
        ("new", [Package("x", "", "", False), Package("y", "", "1", True)], "note"),
    ],
)
def test_extras(name: str, packages: list[Package], state: str) -> None:
    found = only(judge(facts(extras={name: packages})), name)
    assert found.state == state
    assert bool(found.mend) == (state != "fine")
    if found.mend:
        assert found.mend == f"pip install 'auflow[{name}]'"
