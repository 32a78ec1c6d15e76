"""The processor: what it is, what it can do, how much of it may be used, and variables that make it slow."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from auflow.doctor.cgroup import limits
from auflow.doctor.finding import Finding
from auflow.doctor.places import Places
from auflow.threads import VARIABLES

__all__ = ["Processor", "gather", "jobs_that_fit", "judge"]

AREA = "processor"
_X86 = ("x86_64", "amd64", "i686")

# What counts for auflow, and the names that Linux and macOS have for it.
FEATURES: dict[str, tuple[str, ...]] = {
    "AVX2": ("avx2",),
    "FMA": ("fma",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX": ("amx_tile",),
    "NEON": ("asimd", "neon", "hw.optional.neon", "hw.optional.advsimd"),
    "dot product": ("asimddp", "hw.optional.arm.feat_dotprod"),
    "I8MM": ("i8mm", "hw.optional.arm.feat_i8mm"),
    "SVE": ("sve",),
    "BF16": ("avx512_bf16", "amx_bf16", "bf16", "hw.optional.arm.feat_bf16"),
}
# Numba's switches for those who look for faults in kernels: variable, values that do no harm, what others do.
_SWITCHES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("NUMBA_DISABLE_JIT", ("0",), "kernels are not compiled, which makes them hundreds of times slower"),
    ("NUMBA_BOUNDSCHECK", ("0",), "kernels check every index"),
    ("NUMBA_OPT", ("3", "max"), "kernels are compiled with less optimisation"),
    ("NUMBA_CPU_NAME", ("host",), "kernels are compiled for another processor than this one"),
    ("NUMBA_DEBUGINFO", ("0",), "kernels are compiled for a debugger"),
)


@dataclass(frozen=True, slots=True)
class Processor:
    """What is known of it."""

    model: str
    architecture: str
    features: tuple[str, ...] | None  # those of FEATURES that it has; None where the system does not tell
    cpus: int  # that this process may run on
    quota: float | None  # cores' worth of time that it may take; None is no limit
    variables: Mapping[str, str]  # of the environment, set by the user, that libraries heed


def gather(places: Places) -> Processor:
    """Read what the system tells, and the environment."""
    told = _from_sysctl(places) if places.platform == "darwin" else _from_cpuinfo(places)
    names, flags = told
    has = tuple(feature for feature, known in FEATURES.items() if flags.intersection(known)) if flags else None
    watched = (*VARIABLES, *(variable for variable, _, _ in _SWITCHES))
    return Processor(
        model=names or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        features=has,
        cpus=places.cpus(),
        quota=limits(places).cpus,
        variables={name: places.environment[name] for name in watched if places.environment.get(name)},
    )


def jobs_that_fit(cpus: int, quota: float | None) -> int:
    """Lanes that the processor has time for."""
    return max(1, min(cpus, math.ceil(quota)) if quota is not None else cpus)


def judge(facts: Processor) -> list[Finding]:
    """Findings on the processor."""
    return [
        Finding(AREA, "model", "fine", f"{facts.model} ({facts.architecture})"),
        _features(facts),
        _cores(facts),
        *_variables(facts.variables),
    ]


def _features(facts: Processor) -> Finding:
    if facts.features is None:
        return Finding(AREA, "features", "note", "the system does not tell what the processor can do")
    has = ", ".join(facts.features) or "none of those that auflow gains from"
    if facts.architecture.lower() in _X86 and "AVX2" not in facts.features:
        what = f"{has}; no AVX2: kernels are compiled for what there is, and are slower than the documents say"
        return Finding(AREA, "features", "note", what)
    return Finding(AREA, "features", "fine", has)


def _cores(facts: Processor) -> Finding:
    cores = f"{facts.cpus} CPU{'' if facts.cpus == 1 else 's'} may be used"
    fit = jobs_that_fit(facts.cpus, facts.quota)
    if facts.quota is None or fit >= facts.cpus:
        limit = "no quota" if facts.quota is None else f"a quota of {facts.quota:g}"
        return Finding(AREA, "cores", "fine", f"{cores}, {limit}: up to {facts.cpus} inputs at the same time (--jobs)")
    what = f"{cores}, but a quota gives them the time of {facts.quota:g}: --jobs is {facts.cpus} by itself, too many"
    return Finding(AREA, "cores", "note", what, f"auflow run --jobs {fit}")


def _variables(given: Mapping[str, str]) -> list[Finding]:
    found = [
        Finding(
            AREA,
            name,
            "note",
            f"{name}={given[name]} is set: each process would have as many threads, and auflow scales by processes",
            f"unset {name}",
        )
        for name in VARIABLES
        if given.get(name, "1") != "1"
    ]
    found += [
        Finding(AREA, name, "note", f"{name}={given[name]} is set: {effect}", f"unset {name}")
        for name, harmless, effect in _SWITCHES
        if name in given and given[name] not in harmless
    ]
    return found or [Finding(AREA, "environment", "fine", "no variable is set that makes auflow slow")]


def _from_cpuinfo(places: Places) -> tuple[str, frozenset[str]]:
    """Model and flags of the first processor; ARM has "Features" and mostly no name."""
    fields: dict[str, str] = {}
    for line in places.read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name") or fields.get("Hardware") or "", frozenset(flags.lower().split())


def _from_sysctl(places: Places) -> tuple[str, frozenset[str]]:
    """The same of macOS: "name: value" a line; of Intel's the flags are words, of Apple's each has a line."""
    lines = places.said_by(["sysctl", "machdep.cpu", "hw.optional"]).splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    words = " ".join(fields.get(f"machdep.cpu.{name}", "") for name in ("features", "leaf7_features")).lower().split()
    words += [name.lower() for name, value in fields.items() if name.startswith("hw.optional") and value == "1"]
    return fields.get("machdep.cpu.brand_string", ""), frozenset(words)
