"""NVIDIA's driver, asked directly: the library comes with it, so nothing need be installed."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Gpu", "look_for_gpus"]

_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    driver: str  # its version where the system tells, else as `driver_cuda`
    driver_cuda: str  # newest CUDA that the driver can do: "13.0"


def look_for_gpus() -> tuple[Gpu, ...] | str:
    """The GPUs that this process may use, at least one; or why there is none."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return f"there is no NVIDIA driver here ({library} is not to be found)"
    if code := cuda.cuInit(0):
        return f"NVIDIA's driver finds no GPU that it can use (cuInit gave {code})"
    count, driver = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    cuda.cuDriverGetVersion(ctypes.byref(driver))
    if count.value < 1:
        return "NVIDIA's driver is here, but no GPU (is CUDA_VISIBLE_DEVICES set?)"
    newest = f"{driver.value // 1000}.{driver.value % 1000 // 10}"
    return tuple(_gpu(cuda, number, _driver_version() or newest, newest) for number in range(count.value))


def _driver_version() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return ""


def _gpu(cuda: ctypes.CDLL, number: int, driver: str, driver_cuda: str) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), number)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    return Gpu(name.value.decode(errors="replace"), memory.value, (major.value, minor.value), driver, driver_cuda)
