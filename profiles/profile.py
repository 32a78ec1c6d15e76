"""A profile: what was chosen, the figures that it rests on, and where and by what they were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from auflow.backends.names import BACKENDS, REFERENCE, STAGES, BackendName, StageName
from auflow.profiles.machine import Machine, Versions
from auflow.profiles.reading import Reader
from auflow.stages.settings import CenPrecision, Faces, Model, StageSettings, Tracking

__all__ = ["FORM", "GROUPS", "Choices", "Figure", "Group", "Profile", "TrackingChoice", "Verdict", "read_profile"]

FORM = 1  # raised when a key goes or changes its meaning

Group = Literal["detect", "clnf", "au", "cen", "tracking", "together", "jobs"]  # what was tried against each other
GROUPS: tuple[Group, ...] = get_args(Group)

Verdict = Literal[
    "reference", "faster", "within the noise", "slower", "budget missed", "not asked for", "not usable", "failed"
]
_DEFAULTS = StageSettings()
_MOST_JOBS = 1024
_MOST_PATCHES = 1_000_000
_MOST_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True)
class TrackingChoice:
    """How faces are followed, where the user has allowed that to be chosen."""

    tracking: Tracking = "openface"
    detect_every: int = _DEFAULTS.detect_every
    reuse_below_percent: float = _DEFAULTS.reuse_below_percent


@dataclass(frozen=True, slots=True)
class Choices:
    """What was found to be best."""

    backends: dict[StageName, BackendName]
    detect_batch: int = 0  # of the detection backend above; 0: what suits it
    cen_precision: CenPrecision = "float32"
    tracking: TrackingChoice | None = None  # None: the user has not allowed it to be chosen
    jobs: int | None = None  # inputs worked on at the same time; None: not measured

    @classmethod
    def reference(cls) -> Choices:
        """What a run does without a profile."""
        return cls(dict(REFERENCE))


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was tried. Figures that were not taken are None."""

    group: Group
    candidate: str  # as it is shown: "ort-cpu, batch 8"
    verdict: Verdict
    chosen: bool = False
    cost_ms: float | None = None  # what is compared: a frame's time in the stage, a look for faces, a frame by `jobs`
    measure: str = ""  # of that: "CPU ms a frame"
    ratio: float | None = None  # of that to the reference's
    noise: float | None = None  # share by which it had to be less
    cpu_ms: float | None = None  # CPU time of a frame, all stages
    fps: float | None = None
    landmarks_px: float | None = None  # mean distance from the exact run's
    au_mean_r: float | None = None  # mean of Pearson's r of the AU intensities
    why: str = ""  # the budget that it misses, or what kept it from being measured


@dataclass(frozen=True, slots=True)
class Profile:
    """All that a profile's file holds."""

    choices: Choices
    machine: Machine
    versions: Versions
    figures: tuple[Figure, ...]
    model: Model = "clnf"  # with which the stages were measured ...
    faces: Faces = "widest"  # ... and which faces
    clips: tuple[str, ...] = ()  # names of the files
    measured: str = ""  # when: ISO 8601, UTC
    budget: str = ""  # in words

    @property
    def backends(self) -> dict[StageName, BackendName]:
        """What each stage is to be computed by where the user has said nothing, or `auto`."""
        return self.choices.backends

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"form": FORM, **asdict(self)}


def read_profile(document: object) -> Profile:
    """The profile that a parsed file holds.

    Raises
    ------
    ValueError
        It is none, or damaged, or of another form; the message is half a sentence: "choices.jobs: expected ...".
    """
    whole = Reader(document, "")
    form = whole.value("form")
    if form != FORM:
        raise ValueError(f"it has form {form!r}, this auflow reads form {FORM}")
    machine, versions = whole.part("machine"), whole.part("versions")
    return Profile(
        choices=_choices(whole.part("choices")),
        machine=Machine(machine.text("cpu"), machine.whole("cores", 1, 1 << 20), machine.texts("gpus")),
        versions=Versions(*(versions.text(name) for name in ("auflow", "onnxruntime", "numba"))),
        figures=tuple(_figure(part) for part in whole.parts("figures")),
        model=whole.one_of("model", get_args(Model)),
        faces=whole.one_of("faces", get_args(Faces)),
        clips=whole.texts("clips"),
        measured=whole.text("measured"),
        budget=whole.text("budget"),
    )


def _choices(part: Reader) -> Choices:
    backends = part.part("backends")
    tracking = None if part.value("tracking") is None else _tracking(part.part("tracking"))
    return Choices(
        backends={stage: backends.one_of(stage, BACKENDS) for stage in STAGES},
        detect_batch=part.whole("detect_batch", 0, _MOST_PATCHES),
        cen_precision=part.one_of("cen_precision", get_args(CenPrecision)),
        tracking=tracking,
        jobs=None if part.value("jobs") is None else part.whole("jobs", 1, _MOST_JOBS),
    )


def _tracking(part: Reader) -> TrackingChoice:
    return TrackingChoice(
        part.one_of("tracking", get_args(Tracking)),
        part.whole("detect_every", 1, _MOST_FRAMES),
        part.number("reuse_below_percent", 0, 100),
    )


def _figure(part: Reader) -> Figure:
    return Figure(
        group=part.one_of("group", GROUPS),
        candidate=part.text("candidate"),
        verdict=part.one_of("verdict", get_args(Verdict)),
        chosen=part.flag("chosen"),
        cost_ms=part.figure("cost_ms"),
        measure=part.text("measure"),
        ratio=part.figure("ratio"),
        noise=part.figure("noise"),
        cpu_ms=part.figure("cpu_ms"),
        fps=part.figure("fps"),
        landmarks_px=part.figure("landmarks_px"),
        au_mean_r=part.figure("au_mean_r"),
        why=part.text("why"),
    )
