"""A profile of this machine."""

from __future__ import annotations

import pytest

from auflow.profiles.machine import these_versions, this_machine
from auflow.profiles.profile import Choices, Figure, Profile, TrackingChoice


@pytest.fixture
def profile() -> Profile:
    return Profile(
        choices=Choices(
            {"detect": "ort-cpu", "clnf": "ort-cpu", "au": "numba"},
            detect_batch=8,
            cen_precision="int8",
            tracking=TrackingChoice("coherent", 7, 2.5),
            jobs=3,
        ),
        machine=this_machine(),
        versions=these_versions(),
        figures=(
            Figure("clnf", "numba", "reference", cost_ms=3.0, measure="CPU ms a frame", ratio=1.0),
            Figure("clnf", "ort-cpu", "faster", chosen=True, ratio=0.5, noise=0.05, landmarks_px=0.01, au_mean_r=0.999),
            Figure("au", "ort-cuda", "not usable", why="there is no NVIDIA driver here"),
        ),
        clips=("a.mp4",),
        measured="2026-01-01T00:00:00Z",
        budget="landmarks 0.3 px",
    )
