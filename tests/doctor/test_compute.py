"""GPUs and backends of machines that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auflow.backends.names import BACKENDS
from auflow.doctor.compute import Compute, gather, judge
from auflow.tests.doctor.fake_machine import Answers, machine, only

H200: dict[str, Any] = {"name": "NVIDIA H200", "memory_bytes": 139 << 30, "compute_capability": [9, 0]}
H200 |= {"driver": "580.65.06", "driver_cuda": "13.0"}
NO_DRIVER = "there is no NVIDIA driver here"
CARD = {
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:01:00.0/device": "0x2335\n",
    "/sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
    "/sys/bus/pci/devices/0000:02:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:02:00.0/device": "0x22bd\n",
    "/sys/bus/pci/devices/0000:02:00.0/class": "0x040300\n",  # its sound
}


def backends(*usable: str, **remedies: str) -> dict[str, Any]:
    return {
        name: {
            "value": {
                "backend": name,
                "usable": name in usable,
                "what": f"about {name}",
                "remedy": remedies.get(name.replace("-", "_"), "" if name in usable else "pip install it"),
            }
        }
        for name in BACKENDS
    } | packages("fine", "onnxruntime 1.32.0")


def packages(state: str, what: str) -> dict[str, Any]:
    """Of ONNX Runtime, as a child tells of them."""
    told = {"state": state, "what": what, "mend_for_gpu": "install the GPU's", "mend_without": "install the plain one"}
    return {"conflict": {"value": told}}


def look(
    tmp_path: Path, gpus: Any, told: dict[str, Any], files: dict[str, str] | None = None, **places: Any
) -> Compute:
    return gather(machine(tmp_path, files, **places), ask=Answers(gpus={"nvidia": gpus}, backend=told))


def test_a_machine_without_a_gpu(tmp_path: Path) -> None:
    found = judge(look(tmp_path, {"value": NO_DRIVER}, backends("numba", "ort-cpu")))
    assert {finding.state for finding in found} == {"fine"}
    assert not any(finding.mend for finding in found)  # nothing to install would help


def test_a_machine_with_a_gpu_that_is_used(tmp_path: Path) -> None:
    facts = look(tmp_path, {"value": [H200]}, backends(*BACKENDS), CARD)
    gpu = only(judge(facts), "NVIDIA 0")
    assert gpu.what == "NVIDIA H200, 139 GiB, compute capability 9.0, driver 580.65.06, CUDA up to 13.0"


def test_a_card_without_a_driver_is_a_note(tmp_path: Path) -> None:
    module = {"/sys/module/nvidia/version": "580.65.06\n"}  # a container that was started without --gpus
    facts = look(tmp_path, {"value": NO_DRIVER}, backends("numba", "ort-cpu"), CARD | module)
    assert facts.cards == ("10de:2335",)
    found = only(judge(facts), "NVIDIA")
    assert found.state == "note"
    assert "driver 580.65.06 in the kernel, but there is no NVIDIA driver here" in found.what
    assert "--gpus all" in found.mend
    assert only(judge(facts), "ort-cuda").mend == "pip install it"


def test_a_gpu_that_is_hidden(tmp_path: Path) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "-1"}
    facts = look(tmp_path, {"value": "no GPU"}, backends("numba", "ort-cpu"), CARD, environment=environment)
    found = only(judge(facts), "NVIDIA")
    assert (found.state, found.mend) == ("note", "unset CUDA_VISIBLE_DEVICES")


def test_a_driver_that_crashes(tmp_path: Path) -> None:
    facts = look(tmp_path, {"error": "it crashes the process (signal 11)"}, backends("numba", "ort-cpu"))
    found = only(judge(facts), "NVIDIA")
    assert found.state == "broken"
    assert "signal 11" in found.what


@pytest.mark.parametrize(
    ("usable", "name", "state"),
    [
        (("ort-cpu",), "numba", "broken"),
        (("numba",), "ort-cpu", "broken"),
        (("numba", "ort-cpu"), "ort-cuda", "note"),
        (("numba", "ort-cpu"), "tensorrt", "note"),
    ],
)
def test_backends_that_are_not_to_be_had_beside_a_gpu(
    tmp_path: Path, usable: tuple[str, ...], name: str, state: str
) -> None:
    found = only(judge(look(tmp_path, {"value": [H200]}, backends(*usable))), name)
    assert (found.state, found.mend) == (state, "pip install it")


def test_a_package_for_the_gpu_that_does_not_work_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auflow.doctor import compute

    monkeypatch.setattr(compute, "installed_version", lambda name: "1.27" if name == "onnxruntime-gpu" else "")
    facts = look(tmp_path, {"value": [H200]}, backends("numba", "ort-cpu"))
    assert only(judge(facts), "ort-cuda").state == "broken"
    assert only(judge(facts), "tensorrt").state == "note"


def test_a_backend_that_crashes(tmp_path: Path) -> None:
    told = backends("numba", "ort-cpu") | {"ort-cpu": {"error": "it crashes the process (signal 4)"}}
    found = only(judge(look(tmp_path, {"value": NO_DRIVER}, told)), "ort-cpu")
    assert (found.state, found.mend) == ("broken", "install its packages again")


@pytest.mark.parametrize(
    ("gpus", "state", "judged", "mend"),
    [
        (NO_DRIVER, "overwritten", "note", "install the plain one"),
        ([H200], "overwritten", "broken", "install the GPU's"),
        (NO_DRIVER, "damaged", "broken", "install the plain one"),
        ([H200], "damaged", "broken", "install the GPU's"),
    ],
)
def test_both_packages_of_onnx_runtime(tmp_path: Path, gpus: Any, state: str, judged: str, mend: str) -> None:
    told = backends("numba", "ort-cpu") | packages(state, "one was written over the other")
    found = only(judge(look(tmp_path, {"value": gpus}, told)), "ONNX Runtime")
    assert (found.state, found.what, found.mend) == (judged, "one was written over the other", mend)


def test_packages_that_cannot_be_looked_at(tmp_path: Path) -> None:
    told = backends("numba", "ort-cpu") | {"conflict": {"error": "it hangs"}}
    assert only(judge(look(tmp_path, {"value": NO_DRIVER}, told)), "ONNX Runtime").state == "note"


def test_core_ml_is_for_macs(tmp_path: Path) -> None:
    told = backends("numba", "ort-cpu")
    assert only(judge(look(tmp_path, {"value": NO_DRIVER}, told)), "coreml").state == "fine"
    mac = look(tmp_path, {"value": NO_DRIVER}, told, platform="darwin")
    assert only(judge(mac), "coreml").state == "note"
    assert only(judge(mac), "coreml").mend == "pip install it"
