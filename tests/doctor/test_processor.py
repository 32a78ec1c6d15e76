"""The processor: what it can do, quotas of containers, and variables that make it slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow.doctor.cgroup import limits
from auflow.doctor.processor import Processor, gather, judge
from auflow.tests.doctor.fake_machine import machine, only

XEON = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: sse4_2 avx2 fma avx512f avx512_vnni amx_tile amx_bf16\n\n"
OLD = "processor\t: 0\nmodel name\t: Core 2\nflags\t\t: sse4_1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16 sve\nCPU part\t: 0xd40\n"
APPLE = (
    "machdep.cpu.brand_string: Apple M9\nhw.optional.AdvSIMD: 1\nhw.optional.arm.FEAT_DotProd: 1\n"
    "hw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_I8MM: 0\n"
)
INTEL_MAC = (
    "machdep.cpu.brand_string: Intel i7\nmachdep.cpu.features: FPU FMA AVX1.0\nmachdep.cpu.leaf7_features: AVX2\n"
)


@pytest.mark.parametrize(
    ("text", "model", "features"),
    [
        (XEON, "Xeon", ("AVX2", "FMA", "AVX-512", "VNNI", "AMX", "BF16")),
        (ARM, None, ("NEON", "dot product", "I8MM", "SVE", "BF16")),
        (OLD, "Core 2", ()),
        ("", None, None),
    ],
)
def test_features_of_linux(tmp_path: Path, text: str, model: str | None, features: tuple[str, ...] | None) -> None:
    facts = gather(machine(tmp_path, {"/proc/cpuinfo": text}))
    assert facts.features == features
    assert facts.model == model or model is None


@pytest.mark.parametrize(
    ("said", "model", "features"),
    [(APPLE, "Apple M9", ("NEON", "dot product", "BF16")), (INTEL_MAC, "Intel i7", ("AVX2", "FMA"))],
)
def test_features_of_macos(tmp_path: Path, said: str, model: str, features: tuple[str, ...]) -> None:
    facts = gather(machine(tmp_path, platform="darwin", said_by=lambda command: said))
    assert (facts.model, facts.features) == (model, features)


def facts(**changed: object) -> Processor:
    given: dict[str, object] = {
        "model": "Xeon",
        "architecture": "x86_64",
        "features": ("AVX2",),
        "cpus": 8,
        "quota": None,
        "variables": {},
    }
    return Processor(**given | changed)  # type: ignore[arg-type]


def test_a_machine_without_faults() -> None:
    assert {finding.state for finding in judge(facts())} == {"fine"}


@pytest.mark.parametrize("features", [(), None])
def test_an_old_processor_is_a_note(features: tuple[str, ...] | None) -> None:
    found = only(judge(facts(features=features)), "features")
    assert found.state == "note"


def test_arm_needs_no_avx2() -> None:
    assert only(judge(facts(architecture="aarch64", features=("NEON",))), "features").state == "fine"


@pytest.mark.parametrize(
    ("quota", "state", "mend"),
    [
        (0.5, "note", "auflow run --jobs 1"),
        (2.5, "note", "auflow run --jobs 3"),
        (8.0, "fine", ""),
        (None, "fine", ""),
    ],
)
def test_a_quota_below_the_cpus(quota: float | None, state: str, mend: str) -> None:
    found = only(judge(facts(quota=quota)), "cores")
    assert (found.state, found.mend) == (state, mend)


def test_a_quota_of_half_a_core_is_read(tmp_path: Path) -> None:
    files = {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "50000 100000\n"}
    assert gather(machine(tmp_path, files)).quota == 0.5


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {
        "/proc/self/cgroup": "0::/batch/job7\n",
        "/sys/fs/cgroup/batch/job7/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/batch/job7/memory.max": "max\n",
        "/sys/fs/cgroup/batch/cpu.max": "300000 100000\n",
        "/sys/fs/cgroup/batch/memory.max": "2000\n",
        "/sys/fs/cgroup/batch/memory.current": "1500\n",
        "/sys/fs/cgroup/batch/memory.stat": "anon 900\ninactive_file 600\n",
        "/sys/fs/cgroup/memory.max": "9000\n",
    }
    found = limits(machine(tmp_path, files))
    assert (found.cpus, found.memory_bytes, found.memory_free_bytes) == (3.0, 2000, 1100)


def test_groups_of_version_1(tmp_path: Path) -> None:
    files = {
        "/proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{2**63 - 4096}\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "400\n",
    }
    found = limits(machine(tmp_path, files))
    assert (found.cpus, found.memory_bytes, found.memory_free_bytes) == (1.5, 1000, 600)


@pytest.mark.parametrize("cpu_max", ["", "max 100000", "-1 100000", "torn"])
def test_no_quota(tmp_path: Path, cpu_max: str) -> None:
    files = {"/proc/self/cgroup": "0::/../../x\n", "/sys/fs/cgroup/cpu.max": cpu_max}
    assert limits(machine(tmp_path, files)).cpus is None


def test_variables_that_hurt(tmp_path: Path) -> None:
    environment = {
        "OMP_NUM_THREADS": "8",
        "MKL_NUM_THREADS": "1",
        "NUMBA_DISABLE_JIT": "1",
        "NUMBA_BOUNDSCHECK": "0",
        "HOME": "/",
    }
    found = [each for each in judge(gather(machine(tmp_path, environment=environment))) if each.name.isupper()]
    assert [(each.name, each.state, each.mend) for each in found] == [
        ("OMP_NUM_THREADS", "note", "unset OMP_NUM_THREADS"),
        ("NUMBA_DISABLE_JIT", "note", "unset NUMBA_DISABLE_JIT"),
    ]


def test_jobs_are_counted_as_a_run_counts_them() -> None:
    from auflow.doctor.places import usable_cpus
    from auflow.run_command import _available_cpus

    assert usable_cpus() == _available_cpus()
