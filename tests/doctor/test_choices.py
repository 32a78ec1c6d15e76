"""What auflow would use and why: as a run chooses, and nothing that nobody has measured."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from auflow.backends.names import BACKENDS, REFERENCE, STAGES, BackendName, StageName
from auflow.doctor.choices import choose
from auflow.doctor.compute import Backend, Compute, Gpu
from auflow.doctor.finding import Choice
from auflow.doctor.processor import Processor
from auflow.doctor.tuned import Tuned
from auflow.doctor.video import Video

H200 = Gpu("NVIDIA H200", 139 << 30, (9, 0), "580.65.06", "13.0")


def compute(*usable: BackendName, gpus: tuple[Gpu, ...] = ()) -> Compute:
    found = tuple(Backend(name, name in usable, f"about {name}") for name in BACKENDS)
    return Compute("linux", gpus, "" if gpus else "none", False, (), "", None, found, "", ())


def chosen(compute: Compute, tuned: Tuned | None = None) -> Mapping[str, Choice]:
    return {choice.part: choice for choice in choose(compute, None, None, tuned)}


def test_without_a_profile_it_is_the_reference() -> None:
    found = chosen(compute("numba", "ort-cpu", "ort-cuda", gpus=(H200,)))
    assert {stage: found[stage].use for stage in STAGES} == REFERENCE
    assert found["detect"].why == (
        "the reference; ort-cuda can be used too (NVIDIA H200 is here), but nobody has measured whether that is "
        "faster: `auflow tune CLIP`"
    )
    assert "ort-cpu and ort-cuda can be used too" in found["clnf"].why


def test_numba_is_nothing_for_detection() -> None:
    assert chosen(compute("numba", "ort-cpu"))["detect"].why == "the reference, and the only one that works here"


def test_a_gpu_that_no_backend_can_use() -> None:
    found = chosen(compute("numba", "ort-cpu", gpus=(H200,)))["detect"]
    assert "no backend that works can use it (NVIDIA H200 is here)" in found.why


def test_a_profile_is_followed() -> None:
    tuned = Tuned("/p.json", backends={"detect": "ort-cuda"}, jobs=6, measured="2026-12-01")
    found = chosen(compute("numba", "ort-cpu", "ort-cuda", gpus=(H200,)), tuned)
    assert (found["detect"].use, found["clnf"].use) == ("ort-cuda", "numba")
    assert found["detect"].why == "`auflow tune` measured it here (/p.json, 2026-12-01)"


def test_a_profile_that_names_what_is_gone() -> None:
    found = chosen(compute("numba", "ort-cpu"), Tuned("/p.json", backends={"detect": "ort-cuda"}))["detect"]
    assert found.use == "ort-cpu"
    assert "ort-cuda, which /p.json names, is not to be had: about ort-cuda" in found.why


def test_it_is_what_a_run_chooses() -> None:
    from auflow.backends.availability import look_at_all
    from auflow.backends.choice import choose as choose_for_a_run

    usable = [found.backend for found in look_at_all() if found.usable]
    measured: dict[StageName, BackendName] = {"clnf": "ort-cpu", "au": "coreml"}
    for tuned, backends in (({}, {}), (measured, measured)):
        found = chosen(compute(*usable), Tuned("/p.json", backends=tuned))
        assert {stage: found[stage].use for stage in STAGES} == choose_for_a_run({}, backends).backends


@pytest.mark.parametrize(
    ("quota", "jobs", "use", "why"),
    [
        (None, None, "up to 8", "each of the 8 CPUs"),
        (0.5, None, "up to 8", "`--jobs 1`"),
        (None, 3, "up to 3", "`auflow tune` measured"),
    ],
)
def test_jobs(quota: float | None, jobs: int | None, use: str, why: str) -> None:
    processor = Processor("Xeon", "x86_64", (), 8, quota, {})
    (found,) = choose(None, processor, None, Tuned("/p.json", jobs=jobs))
    assert found.use == use
    assert why in found.why


def test_video() -> None:
    video = Video("18.0", "8.1", True, "av", "", {}, {"cuda": "", "vaapi": "no"}, {"h264_nvenc": "", "libx264": ""})
    decode, overlay = choose(None, None, video, None)
    assert decode.use == "FFmpeg 8.1, in software"
    assert "can ask for cuda" in decode.why
    assert overlay.use == "h264_nvenc"


def test_no_encoder_works() -> None:
    video = Video("18.0", "8.1", True, "av", "", {}, {}, {"libx264": "not in this build"})
    overlay = choose(None, None, video, None)[1]
    assert (overlay.use, "install `av`" in overlay.why) == ("nothing", True)


def test_what_could_not_be_looked_at_is_left_out() -> None:
    assert choose(None, None, None, None) == []
