"""The codec under fire: whatever the bytes, a record or a TransportError comes out, and nothing is executed."""

from __future__ import annotations

import ast
import dataclasses
import random
import types
import typing
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from auflow.transport import messages as m
from auflow.transport.codec import _ARRAYS, VERSION, decode, encode
from auflow.transport.faults import TransportError
from auflow.transport.schema import to_json_line, unpack_message

ROOT = Path(__file__).resolve().parents[2]


def sample(kind: type, name: str, annotation: Any, rng: np.random.Generator) -> Any:
    """A value for the field `name` of the record `kind`."""
    if (kind, name) in _ARRAYS:
        code, shape = _ARRAYS[kind, name]
        return rng.integers(0, 200, [2 if side is None else side for side in shape]).astype(code)
    if typing.get_origin(annotation) is tuple:
        return (sample(kind, name, typing.get_args(annotation)[0], rng),)
    if isinstance(annotation, types.UnionType):
        return sample(kind, name, next(t for t in typing.get_args(annotation) if t is not type(None)), rng)
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        return annotation(  # type: ignore[operator]
            **{
                field.name: sample(annotation, field.name, hints[field.name], rng)
                for field in dataclasses.fields(annotation)
            }
        )
    return {int: 7, float: 0.25, str: "word", bool: True, bytes: b"state"}[annotation]


def real_messages() -> list[bytes]:
    """One encoded message of every kind, each array and each optional field filled."""
    rng = np.random.default_rng(5)
    return [encode(sample(m, "", getattr(m, name), rng)) for name in m.__all__]


REAL = real_messages()


def mutated(payload: bytes, rng: random.Random) -> bytes:
    """The payload with something wrong in it."""
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 20)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 10))
        elif kind == 4:
            data[at:at] = data[at : at + rng.randrange(1, 200)]
        else:
            data = data[:at]
    return bytes(data)


def check_length(error: Exception) -> None:
    """A hostile message must not become a hostile log."""
    length = len(str(error))
    assert length < 1000


def outcome(payload: bytes) -> bool:
    """Whether it was taken for a message; anything but a TransportError goes on up and fails the test."""
    try:
        decode(payload)
    except TransportError as error:
        check_length(error)
        return False
    return True


def fuzz(count: int, chosen: int) -> tuple[int, int]:
    """Decode `count` mutated messages; how many were taken, how many refused."""
    rng = random.Random(chosen)
    taken = 0
    for number in range(count):
        payload = mutated(REAL[number % len(REAL)], rng)
        try:
            taken += outcome(payload)
        except Exception as error:
            error.add_note(f"payload {payload[:200].hex()}, number {number}")
            raise
    return taken, count - taken


def test_the_real_ones_are_messages() -> None:
    assert all(outcome(payload) for payload in REAL)
    assert len(REAL) == len(m.__all__)


def test_mutated_messages() -> None:
    taken, refused = fuzz(4000, 1)
    assert taken > 100  # a changed number is still a number
    assert refused > 1000


def test_every_truncation_is_refused() -> None:
    for payload in REAL:
        step = max(1, len(payload) // 50)
        assert not any(outcome(payload[:end]) for end in range(0, len(payload), step))


@seed(5)
@settings(max_examples=400, deadline=None, database=None)
@given(st.binary(max_size=300))
def test_any_bytes(payload: bytes) -> None:
    assert not outcome(payload)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=24)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


@seed(5)
@settings(max_examples=200, deadline=None, database=None)
@given(st.sampled_from(m.__all__), st.lists(values, max_size=14))
def test_any_fields_behind_a_right_tag(tag: str, fields: list[object]) -> None:
    outcome(msgpack.packb([VERSION, tag, fields]))


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


ARRAY = b"d\x04" + (0).to_bytes(4, "little") + b"\xff" * 12  # no element, and sides whose product is beyond 64 bits
ODD: dict[str, object] = {
    "deep version": [deep(400), "Credit", [1]],
    "deep tag": [VERSION, deep(400), [1]],
    "deep field": [VERSION, "Credit", [deep(400)]],
    "long version": [b"x" * 100_000, "Credit", [1]],
    "long tag": [VERSION, "x" * 100_000, [1]],
    "many fields": [VERSION, "Credit", [1] * 100_000],
    "bool for a number": [VERSION, "Credit", [True]],
    "another version": [VERSION + 1, "Credit", [1]],
    "empty array of impossible sides": [VERSION, "Boxes", [0, 1, msgpack.ExtType(1, ARRAY)]],
    "array of sides that are too large": [VERSION, "Boxes", [0, 1, msgpack.ExtType(1, b"f\x02" + b"\xff" * 8)]],
    "array that announces more dimensions": [VERSION, "Boxes", [0, 1, msgpack.ExtType(1, b"f\xff" + b"\0" * 16)]],
    "time stamp": [VERSION, "Credit", [msgpack.Timestamp(1, 1)]],
}


@pytest.mark.parametrize("message", ODD.values(), ids=ODD)
def test_odd_messages_are_refused(message: object) -> None:
    assert not outcome(msgpack.packb(message))


def test_nesting_beyond_any_measure_is_refused() -> None:
    for levels in (600, 1_000, 1_020, 1_100, 100_000):
        nested = b"\x91" * levels + b"\x90"
        for payload in (nested, b"\x93" + nested + b"\xa6Credit\x90", b"\x93\x01" + nested + b"\x90", nested + b"\1"):
            assert not outcome(payload)


@seed(5)
@settings(max_examples=300, deadline=None, database=None)
@given(
    st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(["v", "type", "stream", "seq"]), values).map(msgpack.packb)
)
def test_the_reader_of_the_bus(payload: bytes) -> None:
    try:
        message = unpack_message(payload)
        to_json_line(message)
    except TransportError as error:
        check_length(error)


EXECUTING = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def test_nothing_that_executes_what_it_reads_is_used() -> None:
    files = [
        path for folder in ("transport", "flow", "live", "stages", "serve") for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 40
    # Numba's own cache index is a pickle on the user's disk: `kernel_cache` checks it, and nothing travels.
    files += [path for path in ROOT.glob("*.py") if path.name != "kernel_cache.py"]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            assert not names & EXECUTING, f"{path} imports {names}"
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                plain = isinstance(node.func, ast.Name) and called in ("eval", "exec")
                assert not plain, f"{path}:{node.lineno} calls {called}"
                assert called not in ("recv_pyobj", "send_pyobj"), f"{path}:{node.lineno} calls {called}"
                pickles = any(
                    k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                    for k in node.keywords
                )
                assert not pickles, f"{path}:{node.lineno} allows pickles"
