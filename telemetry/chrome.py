"""A timeline in Chrome's trace format (JSON), which ui.perfetto.dev and chrome://tracing open.

The format's terms: a `ph` of "X" is a slice with its begin `ts` and length `dur` in microseconds, "M" names things, "C"
is a counter. All processes of the run are threads of one there, so that their tracks stand below each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.telemetry.timeline import KINDS
from auflow.telemetry.tracks import Track

__all__ = ["lines"]

_PID = 1
_FRAME, _LOAD, _CHECKPOINT, _END, _WAIT = range(len(KINDS))


def lines(
    tracks: Sequence[Track],
    inputs: Sequence[str],
    began_s: float,
    counter: tuple[NDArray[np.float64], NDArray[np.float64]],
    told: Mapping[str, Any],
) -> Iterator[str]:
    """The document, in pieces, so that it need not be in memory as a whole.

    Parameters
    ----------
    tracks : of the processes, in the order in which they are shown
    inputs : names of the streams
    began_s : monotonic; shown as 0
    counter : processes that were busy at once: (n + 1,) times, and (n,) values from each to the next
    told : what else is to be kept in it
    """
    yield f'{{"displayTimeUnit":"ms","otherData":{json.dumps(told)},"traceEvents":[\n'
    yield _meta("process_name", 0, {"name": "auflow"})
    for number, track in enumerate(tracks, 1):
        yield f",\n{_meta('thread_name', number, {'name': track.worker})}"
        yield f",\n{_meta('thread_sort_index', number, {'sort_index': number})}"
    for number, track in enumerate(tracks, 1):
        for record in track.records.tolist():
            yield f",\n{_slice(number, track.role, record, inputs, began_s)}"
    for at_s, busy in zip(counter[0].tolist(), [*counter[1].tolist(), 0.0], strict=True):
        yield (
            f',\n{{"ph":"C","pid":{_PID},"name":"processes busy at once","ts":{1e6 * (at_s - began_s):.1f},'
            f'"args":{{"processes":{busy:.3f}}}}}'
        )
    yield "\n]}\n"


def _meta(what: str, number: int, values: Mapping[str, Any]) -> str:
    event = {"ph": "M", "pid": _PID, "tid": number, "name": what, "args": values}
    return json.dumps(event, separators=(",", ":"))


def _slice(number: int, role: str, record: tuple[Any, ...], inputs: Sequence[str], began_s: float) -> str:
    _, kind, _, life, batch, stream, frame, from_s, to_s, since_s = record
    args: dict[str, Any] = {}
    if frame:
        args["frame"] = frame
    if 0 <= stream < len(inputs):
        args["input"] = inputs[stream]
    if since_s:
        args["waited_ms"] = round(1e3 * max(0.0, from_s - since_s), 3)
    if batch > 1:
        args["batch"] = batch
    if kind == _LOAD and life:
        args["start"] = life + 1
    return (
        f'{{"ph":"X","pid":{_PID},"tid":{number},"ts":{1e6 * (from_s - began_s):.1f},"dur":{1e6 * (to_s - from_s):.1f},'
        f'"cat":"{KINDS[kind]}","name":"{_name(role, kind, frame, batch)}","args":{json.dumps(args)}}}'
    )


def _name(role: str, kind: int, frame: int, batch: int) -> str:
    if kind == _FRAME:
        return f"{role} {frame}" if batch == 1 else f"{role} {frame} (of {batch})"
    return {
        _LOAD: f"{role} starts",
        _CHECKPOINT: "checkpoint",
        _END: "end of the input",
        _WAIT: "waits for detection",
    }[kind]
