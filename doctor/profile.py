"""The profile of `auflow tune`: whether there is one, and whether it holds good here."""

from __future__ import annotations

from auflow.doctor.finding import Finding
from auflow.doctor.places import Places
from auflow.doctor.tuned import Tuned
from auflow.profiles.store import load_profile

__all__ = ["gather", "judge"]

AREA = "profile"
_TUNE = "auflow tune CLIP"


def gather(_: Places) -> Tuned:
    """Read it."""
    loaded = load_profile()
    profile = loaded.profile
    if profile is None:
        return Tuned(ignored=loaded.ignored)
    return Tuned(str(loaded.path), "", profile.backends, profile.choices.jobs, profile.measured)


def judge(facts: Tuned) -> list[Finding]:
    """The finding on it; to have none is no fault."""
    if facts.ignored:
        return [Finding(AREA, "tuned", "note", facts.ignored, _TUNE)]
    if not facts.path or not facts.backends:
        return [Finding(AREA, "tuned", "fine", f"none: what is best here was not measured (`{_TUNE}` does)")]
    when = f", measured {facts.measured}" if facts.measured else ""
    return [Finding(AREA, "tuned", "fine", f"{facts.path}{when}; `run` and `serve` take from it what is here")]
