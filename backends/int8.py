"""Which instructions a CPU has to multiply 8-bit numbers; Numba is not loaded for that.

Sources: Intel's description of VPDPBUSD (AVX-512 VNNI, AVX-VNNI) and VPMADDWD.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from auflow.errors import BackendError

__all__ = ["INSTRUCTIONS", "PLAIN", "Instructions", "best_instructions", "require_int8", "target_features"]


@dataclass(frozen=True, slots=True)
class Instructions:
    """One way to multiply: `lanes` columns of sums to a vector, `rows` x `vectors` vectors of them in registers."""

    name: str
    needs: tuple[str, ...]  # features of the CPU, as LLVM names them
    llvm: str  # the intrinsic that multiplies; "" is plain arithmetic, which every CPU has
    lanes: int
    rows: int
    vectors: int
    pairs: bool = False  # two activations of 16 bits at a time instead of four of 8

    @property
    def group(self) -> int:
        """Activations of one row that are multiplied at a time."""
        return 2 if self.pairs else 4


PLAIN = Instructions("plain arithmetic", (), "", 4, 4, 4, pairs=True)
INSTRUCTIONS: tuple[Instructions, ...] = (  # the fastest first
    Instructions("AVX-512 VNNI", ("avx512vnni", "avx512vl"), "llvm.x86.avx512.vpdpbusd.512", 16, 8, 3),
    Instructions("AVX-VNNI", ("avxvnni",), "llvm.x86.avx512.vpdpbusd.256", 8, 4, 3),
    Instructions("AVX-512, in pairs", ("avx512bw",), "llvm.x86.avx512.pmaddw.d.512", 16, 8, 3, pairs=True),
    Instructions("AVX2, in pairs", ("avx2",), "llvm.x86.avx2.pmadd.wd", 8, 4, 2, pairs=True),
    PLAIN,
)
# What NUMBA_CPU_NAME may say with NUMBA_CPU_FEATURES empty, for kernels that run on many machines.
_LEVELS = {"x86-64-v3": ("avx2",), "x86-64-v4": ("avx2", "avx512bw", "avx512vl")}


def target_features() -> tuple[str, Mapping[str, bool]]:
    """The machine ("x86_64") and the CPU features that Numba compiles for: this CPU's, or what the environment says."""
    name, told = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if told is None and str(name).lower() == "generic":
        told = ""
    if told is None:
        import llvmlite.binding as llvm

        told = llvm.get_host_cpu_features().flatten()
    known = dict.fromkeys(_LEVELS.get(name or "", ()), True)
    return platform.machine(), known | {each[1:]: each[0] == "+" for each in told.split(",") if each}


def best_instructions(machine: str, features: Mapping[str, bool]) -> Instructions:
    """The fastest way that a CPU with these features has."""
    if machine not in ("x86_64", "AMD64"):
        return PLAIN
    return next(how for how in INSTRUCTIONS if all(features.get(each) for each in how.needs))


def require_int8() -> Instructions:
    """The fastest way of this machine.

    Raises
    ------
    BackendError
        It has none that is faster than float32.
    """
    how = best_instructions(*target_features())
    if how is PLAIN:
        raise BackendError(
            "int8: needs an x86 CPU with AVX2 or more, and kernels that may use it (NUMBA_CPU_NAME and "
            "NUMBA_CPU_FEATURES in the environment); elsewhere float32 is faster: take --cen-precision float32"
        )
    return how
