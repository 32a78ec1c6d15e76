"""What is tried against what: pure, from what this machine has and what the user asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from auflow.backends.availability import Availability
from auflow.backends.names import REFERENCE, STAGES, BackendName, StageName
from auflow.profiles.profile import Group
from auflow.stages.settings import StageSettings

__all__ = ["Candidate", "Timed", "Trial", "job_counts", "trials"]

Timed = Literal["looks", "detect", "clnf", "au", "all"]  # looks for faces by themselves, one stage, or the whole frame

_ON_CPU: tuple[BackendName, ...] = ("numba", "ort-cpu")
_CPU_BATCHES = (4, 8, 32, 64)  # of RNet's patches; a backend's own choice is tried anyhow
_DEVICE_BATCHES = (64,)
_QUICK_BATCHES = (8, 32)
# (detect_every, reuse_below_percent): the defaults, no descriptors kept, fewer kept, faces looked for more rarely.
_COHERENT = ((5, 5.0), (5, 0.0), (5, 2.0), (15, 5.0))
_ALL_COUNTS = 4  # cores up to which every process count is tried


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute."""

    group: Group
    name: str  # within its group, as it is shown
    settings: StageSettings
    on_device: bool = False  # so CPU time says nothing of what it costs: the clock on the wall does


@dataclass(frozen=True, slots=True)
class Trial:
    """Candidates that are measured in turn; the reference comes first."""

    group: Group
    timed: Timed
    reference: Candidate
    others: tuple[Candidate, ...]
    allowed: bool = True  # whether a candidate may be chosen; else it is only shown


def trials(
    exact: StageSettings, usable: Sequence[BackendName], *, quick: bool, coherent: bool, ceclm: bool
) -> list[Trial]:
    """What is measured in one process, in this order.

    Parameters
    ----------
    exact : what all is held against: exact tracking by the reference backends
    usable : backends that this machine has
    quick : fewer candidates
    coherent : whether coherent tracking may be chosen
    ceclm : whether CE-CLM's files are there
    """
    found = [_backends(exact, stage, usable, quick) for stage in STAGES]
    if ceclm:
        slow = replace(exact, model="ceclm")
        int8 = Candidate("cen", "int8", replace(slow, cen_precision="int8"))
        found.append(Trial("cen", "clnf", Candidate("cen", slow.cen_precision, slow), (int8,)))
    bounds = _COHERENT if coherent and not quick else _COHERENT[:1]
    others = tuple(_coherent(exact, *each) for each in bounds)
    found.append(Trial("tracking", "all", Candidate("tracking", "openface", exact), others, allowed=coherent))
    return [trial for trial in found if trial.others]


def unusable(found: Sequence[Availability]) -> list[Availability]:
    """Backends that this machine has not, with the reason."""
    return [each for each in found if not each.usable]


def job_counts(cores: int, streams: int | None, *, quick: bool) -> tuple[int, ...]:
    """Numbers of inputs at the same time that are tried; that which a run takes by itself comes first.

    Parameters
    ----------
    cores : that may be used
    streams : inputs that the user has at the same time; None: as many as there are cores, and one more
    """
    most = cores + 1 if streams is None else streams
    own = min(cores, most)
    if quick:
        found = {1, own}
    elif most <= _ALL_COUNTS + 1:
        found = set(range(1, most + 1))
    else:
        steps = {1 << place for place in range(most.bit_length())}
        found = {count for count in (*steps, cores // 2, 3 * cores // 4, own, cores + 1, most) if 0 < count <= most}
        found = {count for count in found if count <= cores + 1}  # more only make each other wait
    return (own, *sorted(found - {own}))


def _backends(exact: StageSettings, stage: StageName, usable: Sequence[BackendName], quick: bool) -> Trial:
    field = f"{stage}_backend"
    able = [name for name in usable if stage != "detect" or name != "numba"]  # which has no detector
    names = [REFERENCE[stage], *(name for name in able if name != REFERENCE[stage])]
    made = [_candidate(stage, name, replace(exact, **_fields({field: name}))) for name in names]
    if stage == "detect":
        made += [_batched(each, batch) for each in list(made) for batch in _batches(each, quick)]
    return Trial(stage, "looks" if stage == "detect" else stage, made[0], tuple(made[1:]))


def _candidate(stage: StageName, name: BackendName, settings: StageSettings) -> Candidate:
    return Candidate(stage, name, settings, on_device=name not in _ON_CPU)


def _batches(candidate: Candidate, quick: bool) -> Sequence[int]:
    if candidate.on_device:
        return _DEVICE_BATCHES
    return _QUICK_BATCHES if quick else _CPU_BATCHES


def _batched(candidate: Candidate, batch: int) -> Candidate:
    settings = replace(candidate.settings, detect_batch=batch)
    return replace(candidate, name=f"{candidate.name}, batch {batch}", settings=settings)


def _coherent(exact: StageSettings, detect_every: int, reuse_below_percent: float) -> Candidate:
    fields = {"tracking": "coherent", "detect_every": detect_every, "reuse_below_percent": reuse_below_percent}
    named = {"every": detect_every, "reuse": f"{reuse_below_percent:g} %"}
    name = f"coherent, {', '.join(f'{word} {value}' for word, value in named.items())}"
    return Candidate("tracking", name, replace(exact, **_fields(fields)))


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return dict(fields)
