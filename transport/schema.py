"""Messages of the live bus, version 1: one msgpack map with string keys each. docs/live-bus.md has every field.

    result    one face of one frame
    stream    the stream's state has changed, or a few seconds are over
    segment   a stream, or a part of one that was recorded, has ended

Numbers are rounded to well below what they mean and travel as doubles, so that msgpack and JSON say the same.
A number that is none (NaN, infinite) travels as nil.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, FaceFit
from auflow.transport.faults import TransportError

__all__ = [
    "SCHEMA_VERSION",
    "TYPES",
    "Moment",
    "StreamReport",
    "pack_result",
    "pack_segment",
    "pack_stream",
    "to_json_line",
    "unpack_message",
]

SCHEMA_VERSION = 1
TYPES = ("result", "stream", "segment")
_MAX_LIST = 4096  # of a message: lists within lists could else take gigabytes that the bytes do not
_MAX_MAP = 256
_POSE = ("tx", "ty", "tz", "rx", "ry", "rz")
_POSE_SCALE = np.array([1e2] * 3 + [1e5] * 3)  # 0.01 mm, 0.00001 rad


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame's place in time."""

    frame: int  # 1-based
    time_s: float  # since the stream's beginning
    captured_s: float | None  # Unix time; None for a file
    clock: str  # whose it is: "rtcp", "arrival" or "file"
    age_s: float  # from the frame's arrival to its publication


@dataclass(frozen=True, slots=True)
class StreamReport:
    """How a stream is doing."""

    state: str
    reason: str | None = None  # of a state that is no good news
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    clock: str | None = None


def pack_result(stream: str, seq: int, moment: Moment, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> list[bytes]:
    """One message per face of a frame.

    Parameters
    ----------
    stream : its name
    seq : of the first message; each further face takes one more
    moment : the frame's
    fits, aus : of the same faces, in the same order

    Raises
    ------
    TransportError
        Fits and AUs are not of the same faces.
    """
    if [fit.face_id for fit in fits] != [au.face_id for au in aus]:
        raise TransportError(
            f"{stream}: frame {moment.frame}: expected fits and AUs of the same faces, got "
            f"{[fit.face_id for fit in fits]} and {[au.face_id for au in aus]}"
        )
    time: dict[str, Any] = {
        "frame": moment.frame,
        "time_s": _rounded(moment.time_s, 6),
        "captured_s": _rounded(moment.captured_s, 6),
        "clock": moment.clock,
        "age_s": _rounded(moment.age_s, 6),
    }
    return [
        _packed({**_head("result", stream, seq + place), "face": fit.face_id, **time, **_values(fit, au)})
        for place, (fit, au) in enumerate(zip(fits, aus, strict=True))
    ]


def _values(fit: FaceFit, au: AuFrame) -> dict[str, Any]:
    online = np.clip(au.intensities, 0.0, 5.0) if au.online is None else au.online
    gaze = _numbers(fit.gaze, 1e5)
    return {
        "success": fit.success,
        "confidence": _rounded(float(fit.confidence), 4),
        "values": "online",
        "au_r": dict(zip(AU_INTENSITIES, _numbers(online, 1e4), strict=True)),
        "au_c": dict(zip(AU_PRESENCES, (au.presences > 0.5).astype(int).tolist(), strict=True)),
        "landmarks": _numbers(fit.landmarks_px.reshape(2, -1).T, 1e2),
        "pose": dict(zip(_POSE, _numbers(fit.pose, _POSE_SCALE), strict=True)),
        "gaze": {"left": gaze[0:3], "right": gaze[3:6], "angle_x": gaze[6], "angle_y": gaze[7]},
    }


def pack_stream(stream: str, seq: int, at_s: float, report: StreamReport, counts: Mapping[str, int]) -> bytes:
    """A message about a stream: at each change, and every few seconds for those who come late.

    Parameters
    ----------
    stream : its name
    seq : of this message
    at_s : Unix time
    report : how it is doing
    counts : frames so far, "in", "done", "failed" and "dropped" ("dropped.REASON" for each reason)
    """
    message = {
        **_head("stream", stream, seq),
        "at_s": _rounded(at_s, 6),
        "state": report.state,
        "reason": report.reason,
        "width_px": report.width_px,
        "height_px": report.height_px,
        "fps": _rounded(report.fps, 3),
        "clock": report.clock,
        "counts": dict(counts),
    }
    return _packed(message)


def pack_segment(
    stream: str,
    seq: int,
    at_s: float,
    counts: Mapping[str, int],
    *,
    output: str | None = None,
    difference: NDArray[np.float64] | None = None,
) -> bytes:
    """A message about what has ended: its counts and how far the online values were off.

    Parameters
    ----------
    stream : its name
    seq : of this message
    at_s : Unix time
    counts : frames of the segment, as in `pack_stream`
    output : path of the CSV with the offline values, None where none was asked for
    difference : (17,) mean absolute difference of online and offline intensities, None where it is not known
    """
    off = None if difference is None else dict(zip(AU_INTENSITIES, _numbers(difference, 1e4), strict=True))
    message = {
        **_head("segment", stream, seq),
        "at_s": _rounded(at_s, 6),
        "values": "offline",
        "counts": dict(counts),
        "output": output,
        "difference": off,
    }
    return _packed(message)


def _head(kind: str, stream: str, seq: int) -> dict[str, Any]:
    return {"v": SCHEMA_VERSION, "type": kind, "stream": stream, "seq": seq}


def _packed(message: dict[str, Any]) -> bytes:
    # A file's name need not be UTF-8: what cannot be said in it becomes a question mark.
    packed: bytes = msgpack.packb(message, unicode_errors="replace")
    return packed


def _numbers(values: NDArray[Any], scale: float | NDArray[np.float64]) -> list[Any]:
    exact = np.rint(values.astype(np.float64) * scale) / scale
    numbers: list[Any] = exact.tolist()
    return numbers if np.isfinite(exact).all() else [_without_nan(number) for number in numbers]


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value if math.isfinite(value) else None


def _rounded(value: float | None, digits: int) -> float | None:
    return round(float(value), digits) if value is not None and math.isfinite(value) else None


def unpack_message(payload: bytes) -> dict[str, Any]:
    """The map behind `payload`, as far as every reader must be sure of it: version, type, stream and seq.

    Raises
    ------
    TransportError
        No message of this version of the schema.
    """
    try:
        message = msgpack.unpackb(payload, max_array_len=_MAX_LIST, max_map_len=_MAX_MAP)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise TransportError(f"live bus: expected a message, got {len(payload)} bytes that are none") from error
    if not isinstance(message, dict) or type(message.get("v")) is not int:
        raise TransportError("live bus: expected a map with the version of the schema (v), got something else")
    if message["v"] != SCHEMA_VERSION:
        raise TransportError(
            f"live bus: expected version {SCHEMA_VERSION} of the schema, got {message['v']}; update the older auflow"
        )
    kind, stream, seq = (message.get(key) for key in ("type", "stream", "seq"))
    if kind not in TYPES or type(stream) is not str or type(seq) is not int:
        raise TransportError("live bus: expected type, stream and seq, got something else")
    return message


def to_json_line(message: Mapping[str, Any]) -> str:
    """A message as one line of JSON, its end included.

    Raises
    ------
    TransportError
        There is something in it that JSON cannot say.
    """
    try:
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise TransportError(f"live bus: expected numbers, text and lists of them, got {error}") from error
