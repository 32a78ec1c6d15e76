"""What a run takes from a profile where its user has said nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auflow.backends.choice import AUTO, Asked, choose
from auflow.backends.names import REFERENCE, STAGES, BackendName, StageName
from auflow.errors import UsageError
from auflow.profiles.profile import Profile, TrackingChoice
from auflow.profiles.store import Loaded
from auflow.stages.settings import Model, StageSettings

__all__ = ["Applied", "apply_profile", "backends_for", "check_precision", "resolve"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run comes to, and what is to be told of it."""

    settings: StageSettings
    jobs: int | None  # of the profile; None where it says nothing, or the user has said it
    notes: tuple[str, ...]


def resolve(
    settings: StageSettings, asked: Asked, loaded: Loaded, *, given: Collection[str] = (), jobs: bool = True
) -> Applied:
    """The settings with the backend of each stage, and what a profile says where the user has said nothing.

    Parameters
    ----------
    asked : backends, by the user
    given : fields of `settings` that the user has chosen himself, which stay
    jobs : whether the number of inputs at the same time may be the profile's

    Raises
    ------
    BackendError
        A backend that was asked for is not to be had here.
    UsageError
        It cannot compute in the precision that was asked for.
    """
    profile = loaded.profile
    measured = {} if profile is None else backends_for(profile, settings.model)
    choice = choose(asked, measured)
    chosen = replace(settings, **choice.settings)
    check_precision(chosen)
    ignored = (loaded.ignored,) if loaded.ignored else ()
    if profile is None or loaded.path is None:
        return Applied(chosen, None, (*ignored, *choice.notes))
    tuned = apply_profile(chosen, profile, given=given)
    without = {stage: REFERENCE[stage] for stage in STAGES if asked.get(stage, AUTO) == AUTO}
    count = profile.choices.jobs if jobs else None
    note = _note(replace(chosen, **_backend_fields(without)), tuned, profile, loaded.path, count)
    return Applied(tuned, count, (note, *choice.notes))


def check_precision(settings: StageSettings) -> None:
    """Refuse 8 bits of what a graph computes in float32.

    Raises
    ------
    UsageError
    """
    if settings.cen_precision == "int8" and settings.clnf_backend != REFERENCE["clnf"]:
        raise UsageError(
            f"int8 is of CE-CLM's experts by {REFERENCE['clnf']}; {settings.clnf_backend} computes them in float32: "
            "leave out one of the two"
        )


def backends_for(profile: Profile, model: Model) -> dict[StageName, BackendName]:
    """What `auto` means: the profile's choices, and the reference where it has measured nothing.

    The landmark fit was measured with one model, and says nothing of another's.
    """
    found = dict(profile.backends)
    if profile.model != model:
        found["clnf"] = REFERENCE["clnf"]
    return found


def apply_profile(settings: StageSettings, profile: Profile, *, given: Collection[str] = ()) -> StageSettings:
    """The settings with what the profile says of batches, precision and tracking; backends stay as they are.

    Parameters
    ----------
    settings : with backends that are resolved
    given : fields that the user has chosen himself, which stay
    """
    choices = profile.choices
    taken: dict[str, Any] = {}
    if settings.detect_backend == choices.backends["detect"]:  # another one has other batches that suit it
        taken["detect_batch"] = choices.detect_batch
    if settings.model == "ceclm" and settings.clnf_backend == REFERENCE["clnf"]:
        taken["cen_precision"] = choices.cen_precision
    if choices.tracking is not None and "tracking" not in given and _tracked_alike(settings, profile):
        taken |= _tracking(choices.tracking)
    return replace(settings, **{name: value for name, value in taken.items() if name not in given})


def _note(before: StageSettings, after: StageSettings, profile: Profile, path: Path, jobs: int | None) -> str:
    """A sentence that tells what a run takes from the profile."""
    taken = [
        f"{stage} by {getattr(after, field)}"
        for stage, field in ((stage, f"{stage}_backend") for stage in STAGES)
        if getattr(after, field) != getattr(before, field)
    ]
    if after.detect_batch != before.detect_batch:
        taken.append(f"detection in batches of {after.detect_batch}")
    if after.cen_precision != before.cen_precision:
        taken.append(f"CE-CLM's experts in {after.cen_precision}")
    if after.tracking != before.tracking:
        taken.append(f"{after.tracking} tracking, as was allowed when tuning: numbers differ within {profile.budget}")
    taken += [f"{jobs} at the same time"] * (jobs is not None)
    what = "; ".join(taken) or "nothing else than without it"
    return f"profile {path}: {what} (--profile none goes without)"


def _backend_fields(backends: Mapping[StageName, BackendName]) -> dict[str, Any]:
    return {f"{stage}_backend": name for stage, name in backends.items()}


def _tracked_alike(settings: StageSettings, profile: Profile) -> bool:
    """Whether the run follows the kind of faces, by the model, with which coherent tracking was held to the budget."""
    tuned = (profile.faces, profile.model, False, profile.faces == "all")
    return (settings.faces, settings.model, settings.wild, settings.identities) == tuned


def _tracking(choice: TrackingChoice) -> dict[str, Any]:
    if choice.tracking == "openface":
        return {}
    return {
        "tracking": choice.tracking,
        "detect_every": choice.detect_every,
        "reuse_below_percent": choice.reuse_below_percent,
    }
