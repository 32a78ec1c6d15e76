"""Messages of the live bus: what is in them, and that they can be said in JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, FaceFit
from auflow.transport.faults import TransportError
from auflow.transport.schema import (
    Moment,
    StreamReport,
    pack_result,
    pack_segment,
    pack_stream,
    to_json_line,
    unpack_message,
)

MOMENT = Moment(7, 0.28, 1_800_000_000.123456, "rtcp", 0.0831234)


def fit(face: int = 0) -> FaceFit:
    rng = np.random.default_rng(face)
    return FaceFit(
        index=7,
        timestamp_s=0.28,
        face_id=face,
        success=True,
        accepted=True,
        confidence=0.975,
        params_global=np.zeros(6, np.float32),
        params_local=np.zeros(34, np.float32),
        landmarks_px=rng.uniform(0, 640, 136).astype(np.float32),
        landmarks_mm=np.zeros(204, np.float32),
        pose=np.array([1.5, -2.25, 600.126, 0.1, -0.2, 0.300001]),
        gaze=np.array([0.1, 0.2, -0.9, -0.1, 0.2, -0.9, 0.05, -0.06]),
    )


def au(face: int = 0, online: bool = True) -> AuFrame:
    intensities = np.linspace(-1, 6, 17)
    presences = np.arange(18) % 2.0
    return AuFrame(7, face, intensities, presences, online=np.linspace(0, 5, 17) if online else None)


def read(payload: bytes) -> dict[str, Any]:
    message = unpack_message(payload)
    assert json.loads(to_json_line(message)) == message  # JSON says the same, digit for digit
    return message


def test_a_result_has_every_field_and_no_other() -> None:
    (payload,) = pack_result("cam1", 41, MOMENT, (fit(),), (au(),))
    message = read(payload)
    assert list(message) == [
        *("v", "type", "stream", "seq", "face", "frame", "time_s", "captured_s", "clock", "age_s"),
        *("success", "confidence", "values", "au_r", "au_c", "landmarks", "pose", "gaze"),
    ]
    head = {key: message[key] for key in list(message)[:13]}
    assert head == {
        "v": 1,
        "type": "result",
        "stream": "cam1",
        "seq": 41,
        "face": 0,
        "frame": 7,
        "time_s": 0.28,
        "captured_s": 1_800_000_000.123456,
        "clock": "rtcp",
        "age_s": 0.083123,
        "success": True,
        "confidence": 0.975,
        "values": "online",
    }
    assert tuple(message["au_r"]) == AU_INTENSITIES
    assert tuple(message["au_c"]) == AU_PRESENCES
    assert message["au_c"]["AU01"] == 0
    assert message["au_c"]["AU02"] == 1
    assert message["pose"] == {"tx": 1.5, "ty": -2.25, "tz": 600.13, "rx": 0.1, "ry": -0.2, "rz": 0.3}
    assert message["gaze"] == {"left": [0.1, 0.2, -0.9], "right": [-0.1, 0.2, -0.9], "angle_x": 0.05, "angle_y": -0.06}


def test_landmarks_are_points_in_pixels() -> None:
    (payload,) = pack_result("cam1", 1, MOMENT, (fit(),), (au(),))
    landmarks = np.array(read(payload)["landmarks"])
    assert landmarks.shape == (68, 2)
    assert np.abs(landmarks - fit().landmarks_px.reshape(2, 68).T).max() <= 0.0051


def test_the_online_intensities_or_else_the_clamped_ones() -> None:
    (corrected,) = pack_result("cam1", 1, MOMENT, (fit(),), (au(),))
    (plain,) = pack_result("cam1", 1, MOMENT, (fit(),), (au(online=False),))
    assert list(read(corrected)["au_r"].values()) == pytest.approx(np.linspace(0, 5, 17), abs=5e-5)
    assert list(read(plain)["au_r"].values()) == pytest.approx(np.clip(np.linspace(-1, 6, 17), 0, 5), abs=5e-5)


def test_each_face_has_its_own_message_and_number() -> None:
    payloads = pack_result("cam1", 10, MOMENT, (fit(0), fit(3)), (au(0), au(3)))
    assert [(read(p)["seq"], read(p)["face"]) for p in payloads] == [(10, 0), (11, 3)]
    assert pack_result("cam1", 10, MOMENT, (), ()) == []


def test_faces_that_do_not_match_are_an_error() -> None:
    with pytest.raises(TransportError, match=r"expected fits and AUs of the same faces, got \[0\] and \[1\]"):
        pack_result("cam1", 1, MOMENT, (fit(0),), (au(1),))


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_null(odd: float) -> None:
    wrong = fit()
    wrong.landmarks_px[3] = odd
    wrong.pose[0] = odd
    wrong.gaze[:] = odd
    values = au()
    values.presences[1] = odd
    assert values.online is not None
    values.online[0] = odd
    moment = replace(MOMENT, captured_s=None, age_s=odd)
    (payload,) = pack_result("cam1", 1, moment, (replace(wrong, confidence=odd),), (values,))
    message = read(payload)
    assert message["landmarks"][3][0] is None
    assert message["pose"]["tx"] is None
    assert message["pose"]["tz"] == 600.13
    assert message["gaze"]["left"] == [None] * 3
    assert message["au_r"]["AU01"] is None
    assert (message["captured_s"], message["age_s"], message["confidence"]) == (None, None, None)


def test_a_stream_and_a_segment() -> None:
    counts = {"in": 10, "done": 7, "failed": 1, "dropped": 2, "dropped.too_old": 2}
    report = StreamReport("streaming", None, 640, 480, 15.0004, "rtcp")
    stream = read(pack_stream("cam1", 5, 1_800_000_000.5, report, counts))
    assert (stream["state"], stream["fps"], stream["width_px"], stream["counts"]) == ("streaming", 15.0, 640, counts)
    difference = np.linspace(0, 0.5, 17)
    segment = read(pack_segment("cam1", 6, 1.0, counts, output="cam1.csv", difference=difference))
    assert (segment["type"], segment["values"], segment["output"]) == ("segment", "offline", "cam1.csv")
    assert segment["difference"]["AU45"] == 0.5
    assert read(pack_segment("cam1", 6, 1.0, counts))["difference"] is None


def test_a_name_that_is_not_utf8_can_still_be_sent() -> None:
    assert read(pack_segment("a\udcffb", 1, 1.0, {}))["stream"] == "a?b"


def test_a_line_is_one_line() -> None:
    line = to_json_line(read(pack_segment("a\nb\r\u2028", 1, 1.0, {})))
    assert line.count("\n") == 1
    assert json.loads(line)["stream"] == "a\nb\r\u2028"


GOOD = {"v": 1, "type": "result", "stream": "a", "seq": 1}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "expected a message"),
        (b"\xc1", "expected a message"),
        (b"\x91" * 5000, "expected a message"),
        (msgpack.packb([1]), "expected a map"),
        (msgpack.packb({**GOOD, "v": True}), "expected a map"),
        (msgpack.packb({**GOOD, "v": 2}), "got 2; update the older auflow"),
        (msgpack.packb({**GOOD, "type": "other"}), "expected type, stream and seq"),
        (msgpack.packb({**GOOD, "type": ["result"]}), "expected type, stream and seq"),
        (msgpack.packb({**GOOD, "stream": b"a"}), "expected type, stream and seq"),
        (msgpack.packb({**GOOD, "seq": 1.5}), "expected type, stream and seq"),
        (msgpack.packb(GOOD) + b"x", "expected a message"),
    ],
)
def test_what_is_no_message_is_refused(payload: bytes, expected: str) -> None:
    with pytest.raises(TransportError, match=expected):
        unpack_message(payload)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "odd", [b"bytes", math.nan, math.inf, msgpack.ExtType(5, b"x"), deep(5000)], ids=lambda v: str(type(v))
)
def test_what_json_cannot_say_is_refused(odd: object) -> None:
    with pytest.raises(TransportError, match="live bus: expected"):
        to_json_line({**GOOD, "odd": odd})
