"""GPUs, and the backends that can compute with them or with the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auflow.backends.names import BACKENDS, BackendName
from auflow.doctor.child import Ask, ask
from auflow.doctor.finding import Finding, State
from auflow.doctor.packages import installed_version
from auflow.doctor.places import Places

__all__ = ["Backend", "Compute", "Gpu", "OrtPackages", "gather", "judge"]

_NVIDIA = ("ort-cuda", "ort-tensorrt", "tensorrt")
_APPLE = ("ort-coreml", "coreml")
_NEEDED = ("numba", "ort-cpu")  # the references
_WHAT_IS_ASKED_FOR = {"ort-cuda": ("onnxruntime-gpu",), "tensorrt": ("tensorrt", "tensorrt-cu13")}
_DRIVER = "install NVIDIA's driver: `nvidia-smi` must list the GPU (a container needs `--gpus all`)"
_DISPLAY_CLASS = "0x03"
_NVIDIA_VENDOR = "0x10de"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One of NVIDIA's, as its driver tells."""

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    driver: str  # its version
    cuda: str  # newest that the driver can do


@dataclass(frozen=True, slots=True)
class Backend:
    """One backend, as `auflow.backends.availability` found it in a child process."""

    name: BackendName
    usable: bool
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class OrtPackages:
    """Whose files ONNX Runtime's are, as `auflow.backends.ort_files` found."""

    state: str
    what: str
    mend_for_gpu: str
    mend_without: str


@dataclass(frozen=True, slots=True)
class Compute:
    """What can compute."""

    platform: str
    gpus: tuple[Gpu, ...]
    no_gpu: str  # why there is none, "" where there are
    gpu_crash: bool  # whether the driver took the look at it down
    cards: tuple[str, ...]  # NVIDIA's on the PCI bus, whether they have a driver or not: "10de:2335"
    kernel_driver: str  # version of NVIDIA's module in the kernel, "" where there is none
    visible: str | None  # CUDA_VISIBLE_DEVICES
    backends: tuple[Backend, ...]
    packages: OrtPackages | None  # of ONNX Runtime; None where looking at them failed
    asked_for: tuple[str, ...]  # backends whose packages somebody has installed


def gather(places: Places, ask: Ask = ask) -> Compute:
    """Ask the driver and the libraries, in child processes, for they may crash."""
    gpus = ask("gpus", ["nvidia"])["nvidia"]
    answers = ask("backend", ["conflict", *BACKENDS])
    found, conflict = gpus.get("value"), answers["conflict"].get("value")
    return Compute(
        platform=places.platform,
        gpus=tuple(map(_gpu, found)) if isinstance(found, list) else (),
        no_gpu="" if isinstance(found, list) else str(found or gpus.get("error")),
        gpu_crash="error" in gpus,
        cards=_cards(places),
        kernel_driver=places.read("/sys/module/nvidia/version").strip(),
        visible=places.environment.get("CUDA_VISIBLE_DEVICES"),
        backends=tuple(_backend(name, answers[name]) for name in BACKENDS),
        packages=OrtPackages(**conflict) if conflict else None,
        asked_for=tuple(name for name, packages in _WHAT_IS_ASKED_FOR.items() if any(map(installed_version, packages))),
    )


def judge(facts: Compute) -> list[Finding]:
    """Findings on GPUs and backends."""
    return [*_gpus(facts), _conflict(facts), *(_judged(backend, facts) for backend in facts.backends)]


def _gpus(facts: Compute) -> list[Finding]:
    hidden = f" (CUDA_VISIBLE_DEVICES is {facts.visible!r})" if facts.visible is not None else ""
    if facts.gpus:
        return [
            Finding(
                "gpu",
                f"NVIDIA {number}",
                "fine",
                f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, compute capability"
                f" {'.'.join(map(str, gpu.compute_capability))}, driver {gpu.driver}, CUDA up to {gpu.cuda}{hidden}",
            )
            for number, gpu in enumerate(facts.gpus)
        ]
    if facts.gpu_crash:
        what = f"asking NVIDIA's driver failed: {facts.no_gpu}"
        return [Finding("gpu", "NVIDIA", "broken", what, _DRIVER)]
    if facts.cards and facts.visible is not None:
        return [Finding("gpu", "NVIDIA", "note", f"{facts.no_gpu}{hidden}", "unset CUDA_VISIBLE_DEVICES")]
    if facts.cards:
        kernel = f" and driver {facts.kernel_driver} in the kernel" if facts.kernel_driver else ""
        what = f"a card of NVIDIA's is in this machine ({', '.join(facts.cards)}){kernel}, but {facts.no_gpu}"
        return [Finding("gpu", "NVIDIA", "note", what, _DRIVER)]
    return [Finding("gpu", "NVIDIA", "fine", f"none here: {facts.no_gpu}{hidden}")]


def _conflict(facts: Compute) -> Finding:
    found = facts.packages
    if found is None:
        return Finding("backends", "ONNX Runtime", "note", "which of its packages are here cannot be told")
    if found.state == "fine":
        return Finding("backends", "ONNX Runtime", "fine", found.what or "not installed by pip, as far as can be told")
    # Without a GPU the package for GPUs is not missed.
    state: State = "broken" if facts.gpus or found.state == "damaged" else "note"
    mend = found.mend_for_gpu if facts.gpus else found.mend_without
    return Finding("backends", "ONNX Runtime", state, found.what, mend)


def _judged(backend: Backend, facts: Compute) -> Finding:
    if backend.usable:
        return Finding("backends", backend.name, "fine", backend.what)
    if backend.name in _NEEDED or (backend.name in facts.asked_for and facts.gpus):
        return Finding("backends", backend.name, "broken", backend.what, backend.remedy)
    if backend.name in _NVIDIA and not (facts.gpus or facts.cards):
        # What would have to be installed is of no use without a GPU.
        return Finding("backends", backend.name, "fine", f"not for this machine, without an NVIDIA GPU: {backend.what}")
    if backend.name in _APPLE and facts.platform != "darwin":
        return Finding("backends", backend.name, "fine", f"not for this machine: {backend.what}")
    return Finding("backends", backend.name, "note", f"not here: {backend.what}", backend.remedy)


def _gpu(told: Mapping[str, Any]) -> Gpu:
    major, minor = told["compute_capability"]
    return Gpu(told["name"], told["memory_bytes"], (major, minor), told["driver"], told["driver_cuda"])


def _backend(name: BackendName, answer: Mapping[str, Any]) -> Backend:
    if "error" in answer:
        return Backend(name, False, f"looking at it failed: {answer['error']}", "install its packages again")
    told = answer["value"]
    return Backend(name, told["usable"], told["what"], told["remedy"])


def _cards(places: Places) -> tuple[str, ...]:
    """NVIDIA's display devices on the PCI bus, as vendor:device."""
    found: list[str] = []
    folder = places.at("/sys/bus/pci/devices")
    devices: Sequence[str] = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else ()
    for device in devices:
        vendor, kind, number = (
            places.read(f"/sys/bus/pci/devices/{device}/{name}").strip() for name in ("vendor", "class", "device")
        )
        if vendor == _NVIDIA_VENDOR and kind.startswith(_DISPLAY_CLASS):
            found.append(f"{vendor[2:]}:{number[2:]}")
    return tuple(found)
