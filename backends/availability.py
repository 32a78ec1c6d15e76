"""Which backends this machine can compute with, why not, and what would have to be installed."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from auflow.backends.names import BACKENDS, BackendName
from auflow.errors import BackendError

__all__ = ["ORT_PROVIDERS", "Availability", "look", "look_at_all", "ort_conflict", "require"]

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
_GPU_PACKAGE = (
    "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'auflow[gpu]' and once more "
    "pip install --force-reinstall --no-deps onnxruntime-gpu (both packages write into one folder)"
)
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


def ort_conflict() -> str | None:
    """Why ONNX Runtime's packages stand in each other's way here; None where they do not.

    `onnxruntime` and `onnxruntime-gpu` are written into the same folder: the later one wins, and to remove one leaves
    a ruin of the other.
    """
    there = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(there) < 2:
        return None
    versions = " and ".join(f"{name} {_version(name)}" for name in there)
    return f"{versions} are both installed, into one folder: which of them runs is left to chance"


def _ort(name: BackendName) -> Availability:
    if importlib.util.find_spec("onnxruntime") is None:
        return Availability(name, False, "ONNX Runtime is not installed", "pip install onnxruntime")
    import onnxruntime as ort

    if not hasattr(ort, "get_available_providers"):  # what one of two packages leaves of the other
        return Availability(name, False, "ONNX Runtime is installed, but damaged", _GPU_PACKAGE)
    wanted = ORT_PROVIDERS[name][0]
    if wanted not in ort.get_available_providers():
        what = f"ONNX Runtime {ort.__version__} as installed here has no {wanted}"
        if wanted == "CoreMLExecutionProvider":
            return Availability(name, False, f"{what}: Core ML is Apple's", "")
        return Availability(name, False, what, _GPU_PACKAGE)
    if wanted in _LIBRARIES and (why := _cannot_load(_LIBRARIES[wanted])):
        return Availability(name, False, f"{wanted} cannot be loaded: {why}", _remedy_of_library(why))
    if wanted in _LIBRARIES and (why := _no_gpu()):
        return Availability(name, False, why, _DRIVER)
    return Availability(name, True, f"ONNX Runtime {ort.__version__}, {wanted.removesuffix('ExecutionProvider')}")


def _cannot_load(library: str) -> str | None:
    """Why a provider's library does not load, in the loader's words, which name what is missing."""
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN from the packages of NVIDIA, where they are installed
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


def _remedy_of_library(why: str) -> str:
    if "libnvinfer" in why or "nvinfer" in why:
        return "pip install 'auflow[tensorrt]'"
    if "libcuda" in why:
        return _DRIVER
    return "pip install 'onnxruntime-gpu[cuda,cudnn]': CUDA and cuDNN as packages, no CUDA toolkit needed"


def _no_gpu() -> str | None:
    """Why there is no NVIDIA GPU to compute on; None where there is one."""
    from auflow.backends.nvidia import look_for_gpus

    found = look_for_gpus()
    return found if isinstance(found, str) else None


def _tensorrt() -> Availability:
    for package, module in (("tensorrt", "tensorrt"), ("cuda-bindings", "cuda.bindings.runtime")):
        if not _importable(module):
            return Availability(
                "tensorrt", False, f"the package {package} is not installed", "pip install 'auflow[tensorrt]'"
            )
    if why := _no_gpu():
        return Availability("tensorrt", False, why, _DRIVER)
    return Availability("tensorrt", True, f"TensorRT {_version('tensorrt') or _version('tensorrt-cu13')}")


def _coreml() -> Availability:
    if platform.system() != "Darwin":
        what = f"Core ML computes on macOS only, this is {platform.system()}; models can be written here all the same"
        return Availability("coreml", False, what, "")
    if not _importable("coremltools"):
        return Availability("coreml", False, "coremltools is not installed", "pip install 'auflow[coreml]'")
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
