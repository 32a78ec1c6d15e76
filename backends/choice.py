"""Which backend computes which stage: what the user asks for, what `auflow tune` measured, else the reference."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from auflow.backends.availability import look, require
from auflow.backends.names import BACKENDS, REFERENCE, STAGES, BackendName, StageName
from auflow.errors import UsageError

__all__ = ["AUTO", "Asked", "Choice", "choose", "read_asked"]

AUTO: Literal["auto"] = "auto"
Asked = Mapping[StageName, "BackendName | Literal['auto']"]  # a stage that is not in it: auto


@dataclass(frozen=True, slots=True)
class Choice:
    """What computes each stage, and what is to be told of it."""

    backends: Mapping[StageName, BackendName]
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `auflow.stages.settings.StageSettings` that say so."""
        return {f"{stage}_backend": name for stage, name in self.backends.items()}


def read_asked(text: str) -> Asked:
    """What `--backend` says: NAME for all stages, or STAGE=NAME,...; of both the latter counts for its stage.

    Raises
    ------
    UsageError
    """
    asked: dict[StageName, BackendName | Literal["auto"]] = {}
    everywhere: dict[StageName, BackendName | Literal["auto"]] = {}
    for word in filter(None, (each.strip() for each in text.split(","))):
        stage, equals, name = word.rpartition("=")
        stages = (_stage(stage),) if equals else STAGES
        said = asked if equals else everywhere
        if any(each in said for each in stages):
            raise UsageError(f"{stage or 'all stages'}: two backends are named in {text!r}; leave out one of them")
        for each in stages:
            said[each] = _name(each, name, only=bool(equals))
    if not asked and not everywhere:
        raise UsageError(f"expected a backend, one of auto, {', '.join(BACKENDS)}, got {text!r}")
    return {**everywhere, **asked}


def choose(asked: Asked, measured: Mapping[StageName, BackendName]) -> Choice:
    """The backend of each stage.

    Parameters
    ----------
    asked : by the user
    measured : the best of each stage as `auflow tune` found; nothing where it has not been run. Only "auto" takes it

    Raises
    ------
    BackendError
        One that was asked for is not to be had here.
    """
    chosen: dict[StageName, BackendName] = {}
    notes = []
    for stage in STAGES:
        wanted = asked.get(stage, AUTO)
        if wanted != AUTO:
            require(wanted)
            chosen[stage] = wanted
            continue
        best = measured.get(stage, REFERENCE[stage])
        if best != REFERENCE[stage] and not (found := look(best)).usable:
            notes.append(
                f"{stage}: {best}, which `auflow tune` found best, is not to be had here any more: {found.what}; "
                f"computed by {REFERENCE[stage]}"
            )
            best = REFERENCE[stage]
        chosen[stage] = best
    if not measured and any(asked.get(stage, AUTO) == AUTO for stage in STAGES) and (idle := _idle()):
        notes.append(f"{idle} is here, but nobody has measured whether it is faster: `auflow tune CLIP` does")
    return Choice(chosen, tuple(notes))


def _stage(word: str) -> StageName:
    if word not in STAGES:
        raise UsageError(f"expected a stage, one of {', '.join(STAGES)}, before the =, got {word!r}")
    return word


def _name(stage: StageName, word: str, *, only: bool) -> BackendName | Literal["auto"]:
    if word == AUTO:
        return AUTO
    if word not in BACKENDS:
        raise UsageError(f"expected a backend, one of auto, {', '.join(BACKENDS)}, got {word!r}")
    if word == "numba" and REFERENCE[stage] != "numba":
        if only:
            raise UsageError(f"{stage} has no kernels in Numba; its reference is {REFERENCE[stage]}")
        return REFERENCE[stage]
    return word


def _idle() -> str | None:
    """An accelerator that "auto" leaves alone. Asks the driver only: libraries take a while to load."""
    if platform.system() == "Darwin":
        return "Core ML"
    from auflow.backends.nvidia import look_for_gpus

    gpus = look_for_gpus()
    return None if isinstance(gpus, str) else gpus[0].name
