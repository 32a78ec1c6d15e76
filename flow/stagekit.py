"""Makes the real stages for the worker processes. Each function imports only what its role needs.

A worker is told the name of this module, so that tests can give it another one with the same functions.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from auflow import kernel_cache
from auflow.backends.names import REFERENCE, StageName
from auflow.flow.compilation import compile_kernels
from auflow.flow.job import StreamJob
from auflow.stages.records import AuFrame, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.transport import messages as m

if TYPE_CHECKING:
    from auflow.stages.au import AuStage
    from auflow.stages.clnf import ClnfStage
    from auflow.stages.decode import Source
    from auflow.stages.decode.live.reader import LiveReader
    from auflow.stages.detect import MtcnnDetector
    from auflow.stages.sink import ResultSink
    from auflow.stages.sink.jsonl import JsonLinesSink
    from auflow.stages.sink.live import LiveSink

__all__ = [
    "ensure_kernels",
    "fit_together",
    "keep_picture",
    "make_au",
    "make_clnf",
    "make_detector",
    "make_jsonl",
    "make_live_sink",
    "make_sink",
    "open_live",
    "open_source",
    "preload",
    "prepare",
    "process_together",
    "read_checkpoint",
]

_MODULES = {"decode": "decode", "detect": "detect.mtcnn", "clnf": "clnf", "au": "au", "sink": "sink.result"}
_made: dict[str, Any] = {}  # stages that the nursery has made for its forks


def preload(role: str, models_root: Path, settings: StageSettings) -> None:
    """In the nursery: load what all CLNF or all AU workers share; they get it from `make_clnf` and `make_au`.

    Nothing is compiled here, for the nursery must stay responsive.
    """
    prepare(role)
    from numba.core.registry import cpu_target

    # What Numba puts off until the first kernel is called: its typing rules and its implementations.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    # A GPU does not survive a fork: what another backend computes is made by each worker.
    chosen = {"clnf": settings.clnf_backend, "au": settings.au_backend}[role]
    if kernel_cache.kernels_are_whole(settings.model) and chosen == REFERENCE[cast(StageName, role)]:
        make = {"clnf": make_clnf, "au": make_au}[role]
        _made[role] = make(models_root, settings)


def prepare(role: str) -> None:
    """Import the role's stage, so that its libraries load while other workers start, and keep OpenCV to one thread."""
    if role in _MODULES:
        importlib.import_module(f"auflow.stages.{_MODULES[role]}")
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def ensure_kernels(models_root: Path, settings: StageSettings) -> None:
    """Return when the kernels of both stages that have some are compiled, by whomsoever."""

    kernel_cache.ensure_kernels(settings.model, partial(compile_kernels, models_root, settings.model))


def open_source(path: Path, *, stopped: Callable[[], bool] | None = None) -> Source:
    """The decoder of one input; `stopped` is asked while nothing comes through a pipe."""
    from auflow.stages.decode import open_source as open_real_source

    return open_real_source(path, stopped=stopped)


def make_detector(models_root: Path, settings: StageSettings) -> MtcnnDetector:
    """The face detector."""
    from auflow.stages.detect import load_detector

    return load_detector(models_root, settings)


def make_clnf(models_root: Path, settings: StageSettings) -> ClnfStage:
    """The landmark fitter."""
    from auflow.stages.clnf import ClnfStage

    return _made.pop("clnf", None) or ClnfStage(models_root, settings)


def fit_together(work: Sequence[tuple[ClnfStage, Frame]]) -> None:
    """The fits that these frames, one of each stream, will ask for, in one go."""
    from auflow.stages.clnf import fit_together as fit_really

    fit_really(work)


def make_au(models_root: Path, settings: StageSettings) -> AuStage:
    """The AU predictor."""
    from auflow.stages.au import AuStage

    return _made.pop("au", None) or AuStage(models_root, settings)


def process_together(
    work: Sequence[tuple[AuStage, Frame, tuple[FaceFit, ...]]], at: Callable[[int], None]
) -> list[tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]]:
    """The AUs of frames of several streams; `at` is told which one something is done for."""
    from auflow.stages.au.together import AuWork, process_together

    return process_together([AuWork(*one) for one in work], at)


def make_sink(job: StreamJob, info: SourceInfo, resume: bytes | None) -> ResultSink:
    """Where the results of one file go, from the checkpoint's sink part `resume` on."""
    from auflow.stages.sink import ResultSink
    from auflow.stages.sink.checkpoint import identity_of
    from auflow.stages.sink.workspace import writing

    output = Path(job.output)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    identity = identity_of(job.source, job.settings, Path(job.models_root))
    return ResultSink(output, job.settings, info, resume, identity=identity)


def make_live_sink(job: StreamJob, info: SourceInfo, output: str, resume: bytes | None) -> LiveSink:
    """Where the CSV (none: "") and the checkpoints of one segment of a live stream go."""
    from auflow.stages.sink.checkpoint import identity_of
    from auflow.stages.sink.live import LiveSink

    identity = identity_of(job.source, job.settings, Path(job.models_root))
    path = Path(output) if output else None
    return LiveSink(Path(job.state), path, job.settings, info, identity, resume)


def make_jsonl(path: str) -> JsonLinesSink:
    """A file of JSON lines."""
    from auflow.stages.sink.jsonl import JsonLinesSink
    from auflow.stages.sink.workspace import writing

    with writing(Path(path)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    return JsonLinesSink(Path(path))


def read_checkpoint(job: StreamJob) -> m.StreamState | str | None:
    """The place from which a stream goes on; None where there is none, or why the one that is there will not do."""
    from auflow.stages.sink.checkpoint import CHECKPOINT, identity_of, read_checkpoint
    from auflow.stages.sink.live import read_live_checkpoint
    from auflow.stages.sink.paths import work_path

    state = Path(job.state)
    if not (work_path(state) / CHECKPOINT).exists():
        return None
    read = read_checkpoint if job.live is None else read_live_checkpoint
    found = read(state, identity_of(job.source, job.settings, Path(job.models_root)))
    if isinstance(found, str):
        return f"{job.name}: begins anew: {found}"
    states = found.states
    return m.StreamState(found.frames, states["clnf"], states["au"], found.sink, found.extra)


def keep_picture(job: StreamJob, index: int, pixels: NDArray[np.uint8]) -> Path:
    """Write a frame that ended workers as a PNG beside the output; the path of it."""
    import cv2

    folder = Path(job.output).with_name(Path(job.output).name.removesuffix(".csv") + "_quarantine")
    path = folder / f"frame_{index:06d}.png"
    with suppress(OSError):  # the picture is a help, no result
        folder.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


def open_live(job: StreamJob, first_index: int) -> LiveReader:
    """The reader of a live source; not started."""
    from auflow.stages.decode.live import LiveSpec
    from auflow.stages.decode.live.reader import LiveReader

    assert job.live is not None
    return LiveReader(LiveSpec(**job.live.spec), first_index=first_index)
