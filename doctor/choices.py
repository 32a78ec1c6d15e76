"""What auflow would use on this machine, and why: the same rules as a run's, in words."""

from __future__ import annotations

from collections.abc import Sequence

from auflow.backends.names import REFERENCE, STAGES, StageName
from auflow.doctor.compute import Compute
from auflow.doctor.finding import Choice
from auflow.doctor.processor import Processor, jobs_that_fit
from auflow.doctor.tuned import Tuned
from auflow.doctor.video import Video
from auflow.errors import UsageError
from auflow.stages.sink.encoders import choose_encoders

__all__ = ["choose"]

_TUNE = "`auflow tune CLIP`"


def choose(
    compute: Compute | None, processor: Processor | None, video: Video | None, tuned: Tuned | None
) -> list[Choice]:
    """The choices that can be told of with what was found out; None is what could not be."""
    tuned = tuned or Tuned()
    found = [] if video is None or video.error else [_decode(video)]
    if compute is not None:
        found += [_stage(stage, compute, tuned) for stage in STAGES]
    if video is not None and not video.error:
        found.append(_overlay(video))
    if processor is not None:
        found.append(_jobs(processor, tuned))
    return found


def _decode(video: Video) -> Choice:
    hardware = [name for name, why in video.devices.items() if not why]
    live = f"`hwaccel` of a live stream can ask for {' or '.join(hardware)}" if hardware else "no hardware decodes here"
    return Choice("decode", f"FFmpeg {video.ffmpeg}, in software", f"as all files are; {live}")


def _stage(stage: StageName, compute: Compute, tuned: Tuned) -> Choice:
    reference = REFERENCE[stage]
    usable = {backend.name: backend for backend in compute.backends if backend.usable}
    named = tuned.backends.get(stage)
    if named is not None and named in usable:
        when = f", {tuned.measured}" if tuned.measured else ""
        return Choice(stage, named, f"`auflow tune` measured it here ({tuned.path}{when})")
    if named is not None:
        why = next(backend.what for backend in compute.backends if backend.name == named)
        return Choice(stage, reference, f"the reference; {named}, which {tuned.path} names, is not to be had: {why}")
    others = [name for name in usable if name != reference and (name != "numba" or stage != "detect")]
    return Choice(stage, reference, f"the reference{_untried(others, compute)}")


def _untried(others: Sequence[str], compute: Compute) -> str:
    """Of what could be used instead: nothing is taken that nobody has measured here."""
    where = f" ({compute.gpus[0].name} is here)" if compute.gpus else ""
    if others:
        names = " and ".join(others)
        return f"; {names} can be used too{where}, but nobody has measured whether that is faster: {_TUNE}"
    if compute.gpus:
        return f"; no backend that works can use it{where}: see what is said of the backends"
    return ", and the only one that works here"


def _overlay(video: Video) -> Choice:
    def trial(names: Sequence[str]) -> dict[str, str]:
        return {name: video.encoders.get(name, "it was not tried") for name in names}

    try:
        choice = choose_encoders("auto", trial)
    except UsageError as error:
        return Choice("overlay", "nothing", str(error))
    return Choice("overlay", choice.encoders[0], choice.note)


def _jobs(processor: Processor, tuned: Tuned) -> Choice:
    if tuned.jobs is not None:
        return Choice("jobs", f"up to {tuned.jobs}", f"`auflow tune` measured it here ({tuned.path})")
    why = f"one input at a time for each of the {processor.cpus} CPUs that may be used"
    if (fit := jobs_that_fit(processor.cpus, processor.quota)) < processor.cpus:
        why += f"; a quota has time for {fit} only: `--jobs {fit}`"
    return Choice("jobs", f"up to {processor.cpus}", why)
