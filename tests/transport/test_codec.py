"""Messages: what is sent is what arrives, to the bit and the type; everything else raises."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.records import AuFrame, AuTable, FaceFit, SourceInfo
from auflow.stages.statistics import Convergence, StreamStatistics
from auflow.transport import messages as m
from auflow.transport.codec import VERSION, decode, encode
from auflow.transport.faults import TransportError

RNG = np.random.default_rng(5)
INFO = SourceInfo("/a/b ü.mp4", "video", 640, 480, 29.97, None, 90)
FRAME = m.FrameReady(3, 41, 1.6400000000000001, 2, 1 << 40, 480, 640, 12345.678)


def _values(kind: type, **changes: Any) -> dict[str, Any]:
    """Something valid for every scalar field, so that new fields of a record do not break these tests."""
    plain: dict[str, Any] = {"int": 4, "float": 0.1, "bool": True, "str": "x"}
    names = {f.name: str(f.type).removesuffix(" | None") for f in dataclasses.fields(kind)}
    return {**{name: plain[kind] for name, kind in names.items() if kind in plain}, **changes}


FIT = FaceFit(
    **_values(
        FaceFit,
        params_global=RNG.normal(size=6).astype(np.float32),
        params_local=RNG.normal(size=34).astype(np.float32),
        landmarks_px=RNG.normal(size=136).astype(np.float32),
        landmarks_mm=RNG.normal(size=204).astype(np.float32),
        pose=np.array([0.1, -0.0, np.inf, -np.inf, np.nan, 5e-324]),
    )
)
AU = AuFrame(41, 0, RNG.normal(size=17), np.zeros(18))
TABLE = AuTable(RNG.normal(size=(5, 17)), np.ones((5, 18)))
END = m.StreamEnd(3, 5, 7, 2, 1, 2, False, False, True, None, TABLE)
STATE = m.StreamState(40, b"clnf\0", b"", b"sink", b"tally")
START = m.StreamStart(3, INFO, '{"name": "a"}', 0, None)
WRITTEN = m.StreamWritten(
    **_values(m.StreamWritten, worker="sink-0", output=None, error="disk full", statistics=StreamStatistics())
)


def changed_au() -> AuFrame:
    """One with the optional arrays too."""
    hog = RNG.normal(size=4464).astype(np.float32)
    return dataclasses.replace(AU, hog=hog, aligned=RNG.integers(0, 255, (112, 112, 3), np.uint8))


EVERY = [
    START,
    dataclasses.replace(START, segment=2, resume=STATE),
    FRAME,
    dataclasses.replace(FRAME, captured_s=1.7e9, clock="rtcp", failed=True),
    m.Snapshot(3, 40, b"clnf", b""),
    m.FitReady(FRAME, (FIT,)),
    m.AuReady(FRAME, (FIT, FIT), (AU, changed_au())),
    END,
    dataclasses.replace(END, error="broke", table=None),
    m.Credit(4),
    m.Ack(3, 5),
    m.Released(1, 9),
    m.DetectRequest(0, FRAME),
    m.Boxes(3, 41, RNG.normal(size=(2, 5)).astype(np.float32)),
    m.Boxes(3, 41, np.zeros((0, 5), np.float32)),
    m.StreamOpened("decode-0", 3, INFO, 40),
    WRITTEN,
    dataclasses.replace(
        WRITTEN, output="a.csv", statistics=StreamStatistics(Convergence(5, 1, 9, 4, 40), first_result_at_s=1.5)
    ),
    m.SinkTally(5, 4, 1, 0, "a.csv", StreamStatistics()),
    m.Assign(0, '{"name": "a"}'),
    m.Skip(0, remove=True),
    m.Fault("au-0", "ValueError", "no", "Traceback\n", -1, -1),
    m.Exit(),
]


def changed(record: Any, **changes: Any) -> Any:
    """The record with values that its types may not allow."""
    return dataclasses.replace(record, **changes)


def same(a: Any, b: Any) -> bool:
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_identity(record: Any) -> None:
    assert same(decode(encode(record)), record)


def test_every_message_has_a_tag() -> None:
    kinds = [value for value in vars(m).values() if isinstance(value, type) and value.__module__ == m.__name__]
    assert {kind.__name__ for kind in kinds} == set(m.__all__)


def test_decoded_arrays_are_like_those_of_the_inline_run() -> None:
    fit = decode(encode(m.FitReady(FRAME, (FIT,))))
    assert isinstance(fit, m.FitReady)
    assert fit.fits[0].landmarks_px.flags.writeable  # a kernel compiled for writable arrays takes them
    assert fit.fits[0].landmarks_px.flags.c_contiguous
    assert fit.fits[0].landmarks_px.flags.aligned


def test_strided_arrays_arrive_in_order() -> None:
    fit = changed(FIT, params_local=np.arange(68, dtype=np.float32)[::2])
    arrived = decode(encode(m.FitReady(FRAME, (fit,))))
    assert isinstance(arrived, m.FitReady)
    assert (arrived.fits[0].params_local == np.arange(0, 68, 2)).all()


def test_numpy_floats_and_ints_are_floats() -> None:
    fit = changed(FIT, confidence=np.float32(0.1), timestamp_s=2)
    arrived = decode(encode(m.FitReady(FRAME, (fit,))))
    assert isinstance(arrived, m.FitReady)
    assert type(arrived.fits[0].confidence) is float
    assert arrived.fits[0].confidence == float(np.float32(0.1))
    assert type(arrived.fits[0].timestamp_s) is float


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (m.Credit("4"), "Credit.frames: expected int, got str"),  # type: ignore[arg-type]
        (m.Credit(True), "Credit.frames: expected int, got bool"),
        (m.FitReady(FRAME, (changed(FIT, success=np.True_),)), "FaceFit.success: expected bool"),
        (m.FitReady(FRAME, (changed(FIT, confidence=True),)), "FaceFit.confidence: expected float, got bool"),
        (
            m.FitReady(FRAME, (changed(FIT, params_global=np.zeros(6)),)),
            r"FaceFit.params_global: expected \(6,\) float32, got \(6,\) float64",
        ),
        (
            m.Boxes(0, 1, np.zeros((2, 4), np.float32)),
            r"Boxes.boxes: expected \('k', 5\) float32, got \(2, 4\) float32",
        ),
        (m.FitReady(FRAME, FIT), "FitReady.fits: expected tuple, got FaceFit"),  # type: ignore[arg-type]
        (changed(AU, aligned=np.zeros((2, 2, 3), np.uint8)), "expected a message record"),
        (
            m.AuReady(FRAME, (FIT,), (changed(AU, hog=np.zeros(4464)),)),
            r"AuFrame.hog: expected \(4464,\) float32, got \(4464,\) float64",
        ),
        (m.FitReady(FRAME, (AU,)), "FitReady.fits: expected FaceFit, got AuFrame"),  # type: ignore[arg-type]
        (INFO, "expected a message record, got SourceInfo"),
        ({"frames": 4}, "expected a message record, got dict"),
    ],
)
def test_encode_refuses(record: object, message: str) -> None:
    with pytest.raises(TransportError, match=message):
        encode(record)


def _array(code: bytes, shape: tuple[int, ...], size: int) -> msgpack.ExtType:
    header = code + bytes([len(shape)]) + b"".join(side.to_bytes(4, "little") for side in shape)
    return msgpack.ExtType(1, header + bytes(size))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ([VERSION, "Credit", [4], 0], r"expected \[version, tag, fields\]"),
        ({"a": 1}, "that are none: ValueError"),
        ([VERSION + 1, "Credit", [4]], f"expected version {VERSION}, got {VERSION + 1}"),
        ([True, "Credit", [4]], f"expected version {VERSION}, got bool"),
        ([VERSION, "Debit", [4]], "expected a known message type, got 'Debit'"),
        ([VERSION, ["Credit"], [4]], "expected a known message type"),
        ([VERSION, "Credit", []], "Credit: expected 1 fields, got 0"),
        ([VERSION, "Credit", [4, 4]], "Credit: expected 1 fields, got 2"),
        ([VERSION, "Credit", 4], "Credit: expected 1 fields, got int"),
        ([VERSION, "Credit", [4.0]], "Credit.frames: expected int, got float"),
        ([VERSION, "Credit", [None]], "Credit.frames: expected int, got NoneType"),
        ([VERSION, "Boxes", [0, 1, b"0" * 20]], "Boxes.boxes: expected an array"),
        ([VERSION, "Boxes", [0, 1, _array(b"f", (2, 5), 40)]], None),
        ([VERSION, "Boxes", [0, 1, _array(b"d", (2, 5), 80)]], "expected .* float32, got .* float64"),
        ([VERSION, "Boxes", [0, 1, _array(b"f", (10,), 40)]], r"expected \('k', 5\) float32, got \(10,\)"),
        ([VERSION, "Boxes", [0, 1, _array(b"f", (2, 5), 39)]], "expected 40 bytes, got 39"),
        ([VERSION, "Boxes", [0, 1, _array(b"f", (1 << 31, 1 << 31), 0)]], "expected 18446744073709551616 bytes"),
        ([VERSION, "Boxes", [0, 1, _array(b"O", (2, 5), 80)]], "expected an array header"),
        ([VERSION, "Boxes", [0, 1, _array(b"f", (1, 1, 1, 2, 5), 40)]], "expected an array header"),
        ([VERSION, "Boxes", [0, 1, msgpack.ExtType(1, b"f")]], "expected an array extension"),
        ([VERSION, "Boxes", [0, 1, msgpack.ExtType(2, bytes(60))]], "expected an array extension, got type 2"),
    ],
)
def test_decode_refuses(message: object, expected: str | None) -> None:
    payload = msgpack.packb(message)
    if expected is None:
        assert isinstance(decode(payload), m.Boxes)
        return
    with pytest.raises(TransportError, match=expected):
        decode(payload)


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_no_truncated_or_longer_message_passes(record: object) -> None:
    payload = encode(record)
    for end in range(len(payload)):
        with pytest.raises(TransportError):
            decode(payload[:end])
    with pytest.raises(TransportError):
        decode(payload + b"\0")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=64))
def test_noise_never_gets_through(noise: bytes) -> None:
    with pytest.raises(TransportError):
        decode(noise)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_flipped_byte_raises_or_gives_a_valid_record(at: int, value: int) -> None:
    payload = bytearray(encode(START))
    payload[at % len(payload)] = value
    try:
        record = decode(bytes(payload))
    except TransportError:
        return
    assert decode(encode(record)) == record
