"""One session: what is measured in which order, what is chosen of it, and the profile that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from auflow.backends.names import STAGES
from auflow.profiles.machine import these_versions, this_machine
from auflow.profiles.profile import Choices, Figure, Group, Profile, TrackingChoice
from auflow.stages.settings import StageSettings
from auflow.tuning.bench import Bench, measure_trial
from auflow.tuning.candidates import Candidate, Trial
from auflow.tuning.choosing import Measured, chosen_of, decide
from auflow.tuning.throughput import MEASURE

__all__ = ["MEASURES", "Session", "choices_of", "combined", "run_session"]

MEASURES: dict[Group, str] = {
    "detect": "CPU ms for a look for faces",
    "clnf": "CPU ms a frame in this stage",
    "au": "CPU ms a frame in this stage",
    "cen": "CPU ms a frame in this stage",
    "tracking": "CPU ms a frame",
    "together": "CPU ms a frame",
}
# What each group decides of the settings.
_FIELDS: dict[Group, tuple[str, ...]] = {
    "detect": ("detect_backend", "detect_batch"),
    "clnf": ("clnf_backend",),
    "au": ("au_backend",),
    "cen": ("cen_precision",),
    "tracking": ("tracking", "detect_every", "reuse_below_percent"),
}

MeasureJobs = Callable[[StageSettings], list[Measured]]


@dataclass(slots=True)
class Session:
    """What is known so far."""

    exact: StageSettings
    coherent: bool  # whether tracking may be chosen
    figures: list[Figure] = field(default_factory=list)
    chosen: dict[Group, Measured] = field(default_factory=dict)  # what differs from the reference
    jobs: int | None = None

    @property
    def settings(self) -> StageSettings:
        """With all that is chosen so far."""
        return combined(self.exact, self.chosen)

    def profile(self, *, clips: Sequence[str], budget: str) -> Profile:
        """As it stands."""
        return Profile(
            choices=choices_of(self.settings, coherent=self.coherent, jobs=self.jobs),
            machine=this_machine(),
            versions=these_versions(),
            figures=tuple(self.figures),
            model=self.exact.model,
            faces=self.exact.faces,
            clips=tuple(clips),
            measured=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            budget=budget,
        )


def run_session(
    session: Session,
    bench: Bench,
    trials: Sequence[Trial],
    said: Callable[[str], None],
    measure_jobs: MeasureJobs | None,
) -> None:
    """Measure and choose: group by group, then what was chosen together, then process counts with it.

    Parameters
    ----------
    said : hears what is measured next
    measure_jobs : process counts with these settings, the reference first; None: not measured

    Raises
    ------
    AuflowError
        Of the reference.
    KeyboardInterrupt
    """
    for number, trial in enumerate(trials, 1):
        said(f"{number} of {len(trials) + 1}: {trial.group}, {len(trial.others) + 1} candidates")
        measured = measure_trial(bench, trial)
        figures = decide(measured[0], measured[1:], measure=MEASURES[trial.group], allowed=trial.allowed)
        session.figures += figures
        best = chosen_of(figures, measured)
        if best is not measured[0]:
            session.chosen[trial.group] = best
        bench.forget(trial.reference.settings)
    _settle(session, bench, said)
    bench.forget(session.exact)
    if measure_jobs is not None:
        said(f"{len(trials) + 1} of {len(trials) + 1}: inputs at the same time")
        measured = measure_jobs(session.settings)
        figures = decide(measured[0], measured[1:], measure=MEASURE, wall=True)
        session.figures += figures
        session.jobs = int(chosen_of(figures, measured).candidate.name)


def combined(exact: StageSettings, chosen: dict[Group, Measured]) -> StageSettings:
    """The exact settings with what each group decides."""
    fields: dict[str, Any] = {}
    for group, measured in chosen.items():
        fields |= {name: getattr(measured.candidate.settings, name) for name in _FIELDS[group]}
    return replace(exact, **fields)


def choices_of(settings: StageSettings, *, coherent: bool, jobs: int | None) -> Choices:
    """Settings as a profile has them."""
    tracking = TrackingChoice(settings.tracking, settings.detect_every, settings.reuse_below_percent)
    return Choices(
        backends={stage: getattr(settings, f"{stage}_backend") for stage in STAGES},
        detect_batch=settings.detect_batch,
        cen_precision=settings.cen_precision,
        tracking=tracking if coherent else None,
        jobs=jobs,
    )


def _settle(session: Session, bench: Bench, said: Callable[[str], None]) -> None:
    """Each choice may be within the budget and all of them together not: the one that gains least is given up then."""
    while len(at_work := [group for group in session.chosen if group != "cen"]) > 1:
        said(f"together: {', '.join(f'{group} {session.chosen[group].candidate.name}' for group in at_work)}")
        settings = combined(session.exact, {group: session.chosen[group] for group in at_work})
        on_device = any(session.chosen[group].candidate.on_device for group in at_work)
        name = ", ".join(session.chosen[group].candidate.name for group in at_work)
        trial = Trial(
            "together",
            "all",
            Candidate("together", "the reference of all", session.exact),
            (Candidate("together", name, settings, on_device),),
        )
        measured = measure_trial(bench, trial)
        figures = decide(measured[0], measured[1:], measure=MEASURES["together"])
        if figures[1].verdict in ("faster", "within the noise"):
            # What each is worth by itself was measured more finely than the whole can be.
            session.figures += [replace(figures[0], chosen=False), replace(figures[1], chosen=True)]
            return
        session.figures += figures
        least = max(at_work, key=lambda group: _ratio(session, group))
        del session.chosen[least]
        session.figures = [_given_up(figure, least) for figure in session.figures]


def _ratio(session: Session, group: Group) -> float:
    return next((f.ratio or 1.0 for f in session.figures if f.group == group and f.chosen), 1.0)


def _given_up(figure: Figure, group: Group) -> Figure:
    """The reference is chosen in this group after all."""
    if figure.group != group:
        return figure
    why = "together with the other choices it is too much" if figure.chosen else figure.why
    return replace(figure, chosen=figure.verdict == "reference", why=why)
