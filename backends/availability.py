"""Which backends this machine can compute with, why not, and what would have to be installed."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path

from auflow.backends.installing import install
from auflow.backends.names import BACKENDS, BackendName
from auflow.backends.ort_files import OrtFiles, look_at_ort_files
from auflow.errors import BackendError

__all__ = ["ORT_PROVIDERS", "Availability", "look", "look_at_all", "require"]

# Of ONNX Runtime, for each backend that is one; the last one takes what the others refuse.
ORT_PROVIDERS: dict[BackendName, tuple[str, ...]] = {
    "ort-cpu": ("CPUExecutionProvider",),
    "ort-cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "ort-tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    "ort-coreml": ("CoreMLExecutionProvider", "CPUExecutionProvider"),
}
_LIBRARIES = {
    "CUDAExecutionProvider": "onnxruntime_providers_cuda",
    "TensorrtExecutionProvider": "onnxruntime_providers_tensorrt",
}
_GPU_PACKAGE_FOR = (("Linux", "x86_64"), ("Windows", "AMD64"))
_CUDA_OF_TENSORRT = "13"  # of tensorrt-cu13
_LEAST_CAPABILITY = {13: (7, 5)}  # CUDA 13 has no code for Maxwell, Pascal and Volta any more
_FROM_NVIDIA = "; its libraries are fetched from NVIDIA's own package index, which must be within reach"
_DRIVER = "install NVIDIA's driver (`nvidia-smi` must list the GPU; a container needs `--gpus all`)"


@dataclass(frozen=True, slots=True)
class Availability:
    """What is known of one backend on this machine."""

    backend: BackendName
    usable: bool
    what: str  # what would compute: "ONNX Runtime 1.32.0 on the CPU"; where it is not usable, why
    remedy: str = ""  # what to type or install; "" where it is usable, or where nothing helps


def require(name: BackendName) -> None:
    """Refuse a backend that is not to be had.

    Raises
    ------
    BackendError
        with the reason and what to install
    """
    found = look(name)
    if not found.usable:
        raise BackendError(f"backend {name}: {found.what}" + (f"\n{found.remedy}" if found.remedy else ""))


def look_at_all() -> tuple[Availability, ...]:
    """Of all backends, in the order of `BACKENDS`."""
    return tuple(look(name) for name in BACKENDS)


@lru_cache(maxsize=len(BACKENDS))
def look(name: BackendName) -> Availability:
    """Of one backend. Loads its libraries, and for a GPU asks the driver for one; nothing is computed."""
    if name == "numba":
        return Availability(name, True, f"Numba {_version('numba')}, kernels compiled for this CPU")
    if name == "tensorrt":
        return _tensorrt()
    if name == "coreml":
        return _coreml()
    return _ort(name)


def _ort(name: BackendName) -> Availability:
    wanted = ORT_PROVIDERS[name][0]
    if wanted in _LIBRARIES and (why := _no_gpu()):
        return Availability(name, False, why, _DRIVER)  # first: nothing that could be installed helps without one
    files = look_at_ort_files()
    if files.state == "damaged":
        return Availability(name, False, files.what, files.mend(gpu=wanted in _LIBRARIES))
    try:
        import onnxruntime as ort
    except ImportError as error:
        return Availability(name, False, f"ONNX Runtime cannot be loaded: {error}", install("onnxruntime"))
    if not hasattr(ort, "get_available_providers"):  # a folder without its files can be imported
        what = f"ONNX Runtime is damaged: what is in {', '.join(ort.__path__)} is not all of it"
        return Availability(name, False, what, install("--force-reinstall", "--no-deps", "onnxruntime"))
    if wanted not in ort.get_available_providers():
        return _no_provider(name, ort.__version__, files)
    if wanted in _LIBRARIES:
        if old := _too_old(_cuda_of_ort()):
            return Availability(name, False, *old)
        if reason := _cannot_load(_LIBRARIES[wanted]):
            return Availability(name, False, f"{wanted} cannot be loaded: {reason}", _remedy_of_library(reason))
    return Availability(name, True, f"ONNX Runtime {ort.__version__}, {wanted.removesuffix('ExecutionProvider')}")


def _no_provider(name: BackendName, version: str, files: OrtFiles) -> Availability:
    """Of a provider that this build of ONNX Runtime does not have."""
    wanted = ORT_PROVIDERS[name][0]
    what = f"ONNX Runtime {version} as installed here has no {wanted}"
    if wanted == "CoreMLExecutionProvider":
        return Availability(name, False, f"{what}: Core ML is Apple's")
    if files.state == "overwritten":
        return Availability(name, False, f"{what}: {files.what}", files.mend(gpu=True))
    system, machine = platform.system(), platform.machine()
    if (system, machine) not in _GPU_PACKAGE_FOR:
        return Availability(name, False, f"{what}, and there is no package onnxruntime-gpu for {system} on {machine}")
    return Availability(name, False, what, install("auflow[gpu]"))


def _cuda_of_ort() -> str:
    """The version of CUDA that ONNX Runtime is built for, "" where it does not tell."""
    from onnxruntime.capi import build_and_package_info

    return str(getattr(build_and_package_info, "cuda_version", ""))


def _too_old(cuda: str) -> tuple[str, str] | None:
    """Why the first GPU is too old for what is built for this CUDA, and what to do; None where it is not."""
    from auflow.backends.nvidia import look_for_gpus

    found = look_for_gpus()
    major = int(cuda.partition(".")[0] or 0)
    if isinstance(found, str) or not major:
        return None
    gpu = found[0]
    if int(gpu.driver_cuda.partition(".")[0]) < major:
        what = f"{gpu.name}: its driver does CUDA up to {gpu.driver_cuda}, what is installed is built for CUDA {cuda}"
        return what, f"update NVIDIA's driver to one for CUDA {major} (`nvidia-smi` tells what it has)"
    least = _LEAST_CAPABILITY.get(major)
    if least and gpu.compute_capability < least:
        capability = ".".join(map(str, gpu.compute_capability))
        what = f"{gpu.name} has compute capability {capability}, CUDA {major} needs {'.'.join(map(str, least))} or more"
        return what, ""
    return None


def _cannot_load(library: str) -> str | None:
    """Why a provider's library does not load, in the loader's words, which name what is missing."""
    import onnxruntime as ort

    _load_what_it_needs(tensorrt=library.endswith("tensorrt"))
    folder = Path(ort.__file__).parent / "capi"
    names = [f"lib{library}.so", f"{library}.dll"]
    found = next((folder / each for each in names if (folder / each).is_file()), None)
    if found is None:
        return f"{names[0]} is not in {folder.name}"
    try:
        shared = found.with_name(found.name.replace(library, "onnxruntime_providers_shared"))
        if shared.is_file():
            ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(found))
    except OSError as error:
        return str(error)
    return None


def _load_what_it_needs(*, tensorrt: bool) -> None:
    """CUDA, cuDNN and TensorRT from NVIDIA's packages, where they are installed: the loader does not look there."""
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):  # it prints what it lacks; what matters of that is told by the loader
            ort.preload_dlls()
    if tensorrt:
        with suppress(ImportError):
            importlib.import_module("tensorrt_libs")  # loads all that are in it


def _remedy_of_library(why: str) -> str:
    if "nvinfer" in why or "nvonnxparser" in why:
        return install("auflow[tensorrt]")
    if "libcuda." in why or "nvcuda.dll" in why:
        return _DRIVER
    # Not auflow[gpu]: that would write onnxruntime over it where somebody has left that out.
    return install("onnxruntime-gpu[cuda,cudnn]")  # as packages: no toolkit of CUDA is needed


def _no_gpu() -> str | None:
    """Why there is no NVIDIA GPU to compute on; None where there is one."""
    from auflow.backends.nvidia import look_for_gpus

    found = look_for_gpus()
    return found if isinstance(found, str) else None


def _tensorrt() -> Availability:
    if why := _no_gpu():
        return Availability("tensorrt", False, why, _DRIVER)
    remedy = install("auflow[tensorrt]")
    for package, module in (("tensorrt-cu13", "tensorrt"), ("cuda-bindings", "cuda.bindings.runtime")):
        if not _importable(module):
            return Availability("tensorrt", False, f"the package {package} is not installed{_FROM_NVIDIA}", remedy)
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # the bindings are there, the libraries are not, or not all
        return Availability("tensorrt", False, f"TensorRT cannot be loaded: {error}{_FROM_NVIDIA}", remedy)
    if old := _too_old(_CUDA_OF_TENSORRT if _version("tensorrt-cu13") else ""):
        return Availability("tensorrt", False, *old)
    return Availability("tensorrt", True, f"TensorRT {tensorrt.__version__}")


def _coreml() -> Availability:
    if platform.system() != "Darwin":
        what = f"Core ML computes on macOS only, this is {platform.system()}; models can be written here all the same"
        return Availability("coreml", False, what, "")
    if not _importable("coremltools"):
        return Availability("coreml", False, "coremltools is not installed", install("auflow[coreml]"))
    return Availability("coreml", True, f"Core ML by coremltools {_version('coremltools')}")


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
