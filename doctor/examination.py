"""The whole examination: all areas at the same time, each with a time limit, and none can end the others."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from auflow.doctor import cameras, choices, compute, memory, model_files, processor, profile, software, storage, video
from auflow.doctor.compute import Compute
from auflow.doctor.finding import Choice, Finding
from auflow.doctor.places import Places
from auflow.doctor.processor import Processor
from auflow.doctor.tuned import Tuned
from auflow.doctor.video import Video

__all__ = ["AREAS", "Area", "Examination", "examine"]

PATIENCE_S = 30.0  # for all: a look in a child process gives up before that, a disk that hangs does not

_Facts = TypeVar("_Facts")


@dataclass(frozen=True, slots=True)
class Area:
    """One area: what gathers its facts, and what judges them."""

    name: str
    gather: Callable[[Places], Any]
    judge: Callable[[Any], Sequence[Finding]]


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found."""

    findings: tuple[Finding, ...]
    choices: tuple[Choice, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What does not work."""
        return tuple(finding for finding in self.findings if finding.state == "broken")

    @property
    def exit_code(self) -> int:
        """1 where something is broken, else 0."""
        return 1 if self.broken else 0


AREAS: tuple[Area, ...] = (
    Area("software", software.gather, software.judge),
    Area("processor", processor.gather, processor.judge),
    Area("memory", memory.gather, memory.judge),
    Area("ring", memory.gather_ring, memory.judge_ring),
    Area("storage", storage.gather, storage.judge),
    Area("compute", compute.gather, compute.judge),
    Area("profile", profile.gather, profile.judge),
    Area("video", video.gather, video.judge),
    Area("models", model_files.gather, model_files.judge),
    Area("cameras", cameras.gather, cameras.judge),
)


def examine(places: Places, areas: Sequence[Area] = AREAS, *, patience_s: float = PATIENCE_S) -> Examination:
    """Look at everything. What cannot be looked at is a finding and no exception."""
    seen = _see_all(places, areas, patience_s)
    findings = [finding for area in areas for finding in seen[area.name].findings]
    known = [seen[area.name].facts for area in areas]
    chosen = choices.choose(_of(known, Compute), _of(known, Processor), _of(known, Video), _of(known, Tuned))
    return Examination(tuple(findings), tuple(chosen))


@dataclass(frozen=True, slots=True)
class _Seen:
    findings: Sequence[Finding]
    facts: object = None


def _see_all(places: Places, areas: Iterable[Area], patience_s: float) -> Mapping[str, _Seen]:
    """What each area has to tell; one that hangs (a dead network drive) is left behind."""
    done: queue.SimpleQueue[tuple[str, _Seen]] = queue.SimpleQueue()
    seen = {area.name: _failed(area, f"no answer within {patience_s:g} s") for area in areas}
    for area in areas:
        # Daemons, for the interpreter would wait for any other at its end.
        threading.Thread(target=lambda area=area: done.put((area.name, _see(area, places))), daemon=True).start()
    until_s = time.monotonic() + patience_s
    for _ in seen:
        try:
            name, found = done.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            break
        seen[name] = found
    return seen


def _see(area: Area, places: Places) -> _Seen:
    try:
        facts = area.gather(places)
        return _Seen(area.judge(facts), facts)
    # A machine that needs a doctor fails in ways that nobody has thought of: each is told, and ends nothing else.
    except Exception as error:  # noqa: BLE001
        mend = f"pip install {error.name}" if isinstance(error, ModuleNotFoundError) and error.name else ""
        return _failed(area, f"{type(error).__name__}: {error}", mend)


def _failed(area: Area, why: str, mend: str = "") -> _Seen:
    return _Seen([Finding(area.name, "look", "broken", f"this could not be looked at: {why}", mend)])


def _of(facts: Iterable[object], kind: type[_Facts]) -> _Facts | None:
    return next((each for each in facts if isinstance(each, kind)), None)
