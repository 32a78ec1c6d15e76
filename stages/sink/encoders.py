"""Which encoder the annotated video gets: those that are known, and the choice among those that work here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from auflow.child_program import run_child
from auflow.errors import UsageError

__all__ = ["ASKED", "ENCODERS", "HARDWARE", "SOFTWARE", "Choice", "Encoder", "Trial", "choose_encoders", "try_encoders"]

# Longer than a driver needs that is loaded for the first time; one that hangs must not hold up the run for ever.
PATIENCE_S = 15.0
_TRIAL = Path(__file__).with_name("encoder_trial.py")

Trial = Callable[[Sequence[str]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder of FFmpeg and how it is asked for a picture that is good to look at."""

    name: str  # FFmpeg's
    place: str  # where it works, for a sentence
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)  # FFmpeg's own
    ticks: int = 90_000  # of its clock in a second


# In the order in which they are preferred. A constant quality, about that of x264 with crf 20.
_HARDWARE = (
    Encoder("h264_nvenc", "the NVIDIA GPU", "yuv420p", {"preset": "p4", "rc": "vbr", "cq": "23", "b": "0"}),
    Encoder("h264_videotoolbox", "Apple's media engine", "yuv420p", {"q": "60", "allow_sw": "0"}),
    Encoder("h264_qsv", "the Intel GPU", "nv12", {"global_quality": "22"}),
    Encoder("h264_vaapi", "the GPU by VA-API", "vaapi", {"qp": "22"}),
)
_SOFTWARE = (
    Encoder("libx264", "the CPU", "yuv420p", {"preset": "veryfast", "crf": "20"}),
    Encoder("mpeg4", "the CPU", "yuv420p", {"qmin": "2", "qmax": "4"}, ticks=60_000),  # it counts to 65,535
)
HARDWARE = tuple(encoder.name for encoder in _HARDWARE)
SOFTWARE = tuple(encoder.name for encoder in _SOFTWARE)
ENCODERS: dict[str, Encoder] = {encoder.name: encoder for encoder in (*_HARDWARE, *_SOFTWARE)}
ASKED = ("auto", "software", *ENCODERS)  # what `--overlay-encoder` takes


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run encodes with, and the sentence that tells so."""

    encoders: tuple[str, ...]  # the first encodes; each further one is for videos that those before it refuse
    note: str


def choose_encoders(asked: str, trial: Trial | None = None) -> Choice:
    """The encoders of a run.

    Parameters
    ----------
    asked : one of `ASKED`: `auto` prefers hardware that works, `software` takes none, a name takes that and no other
    trial : tells of each name why it does not work here, "" where it does; None is `try_encoders`

    Raises
    ------
    UsageError
        What is asked for is unknown or does not work here; it has the reason and what does work.
    """
    trial = trial or try_encoders
    if asked not in ASKED:
        raise UsageError(f"--overlay-encoder: expected one of {', '.join(ASKED)}; got {asked!r}")
    wanted = {"auto": (*HARDWARE, *SOFTWARE), "software": SOFTWARE}.get(asked, (asked,))
    found = trial(wanted)
    working = tuple(name for name in wanted if not found[name])
    if not working:
        raise UsageError(_refusal(asked, found, trial))
    hardware = tuple(name for name in working if name in HARDWARE)[:1]
    software = tuple(name for name in working if name in SOFTWARE)
    first = (*hardware, *software)[0]
    note = f"the annotated video is encoded by {first} on {ENCODERS[first].place}"
    if asked == "auto" and not hardware:
        note += f": no hardware encoder works here (--overlay-encoder {HARDWARE[0]}, for one, tells why)"
    return Choice((*hardware, *software), note)


def _refusal(asked: str, found: Mapping[str, str], trial: Trial) -> str:
    if asked in ENCODERS:
        others = [name for name in ENCODERS if name != asked]
        state = trial(others)
        there = [name for name in others if not state[name]]
        remedy = f"take one of those that do: {', '.join(['auto', *there])}" if there else "install `av` from PyPI"
        return f"--overlay-encoder {asked}: it does not work here: {found[asked]}; {remedy}"
    return f"--overlay: no encoder works here ({_reasons(found)}); install `av` from PyPI, which has libx264"


def _reasons(found: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in found.items() if reason)


def try_encoders(names: Sequence[str], *, script: Path = _TRIAL, patience_s: float = PATIENCE_S) -> dict[str, str]:
    """Why each encoder does not work on this machine, "" where it does: it is opened and given pictures.

    That happens in a process of its own: a graphics driver that crashes or hangs takes no run along, and what it has
    loaded is gone with it.

    Parameters
    ----------
    names : of `ENCODERS`
    script : run with the encoders as JSON, prints [name, reason] as one line of JSON for each, in order
    patience_s : for all that one process has to try
    """
    found: dict[str, str] = {}
    while left := [name for name in names if name not in found]:
        command = [sys.executable, "-P", str(script), json.dumps([asdict(ENCODERS[name]) for name in left])]
        output, end = run_child(command, patience_s)
        answers = [json.loads(line) for line in output.splitlines() if line.startswith("[") and line.endswith("]")]
        found |= {name: reason for name, reason in answers if name in left}
        # The one without an answer is the one that it ended at; those behind it are tried without it.
        if silent := [name for name in left if name not in found]:
            found[silent[0]] = end
    return {name: found[name] for name in names}
