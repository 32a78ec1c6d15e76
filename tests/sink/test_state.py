"""States as bytes: they come back as they were, or it is said that they cannot."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.state import StateError, as_bytes, field, pack_state, unpack_state

DTYPES = ("|b1", "|u1", "<u2", "<u4", "<i4", "<i8", "<f4", "<f8")


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    arrays = {code: rng.integers(0, 2, (3, 5)).astype(code) for code in DTYPES}
    return arrays | {"nothing": np.zeros((0, 17)), "number": np.array(1.5), "view": np.arange(12.0).reshape(3, 4).T}


def test_arrays_come_back_writable_and_with_dtype_and_shape() -> None:
    found = unpack_state(pack_state("face", 3, sample()), "face", 3)
    assert list(found) == list(sample())
    for name, array in sample().items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)
        assert found[name].flags.writeable


def test_numbers_and_bytes() -> None:
    found = unpack_state(pack_state("x", 1, {"i": 7, "f": 0.1, "b": True, "raw": b"abc", "none": b""}), "x", 1)
    assert (int(found["i"]), float(found["f"]), bool(found["b"])) == (7, 0.1, True)
    assert (as_bytes(found, "raw"), as_bytes(found, "none")) == (b"abc", b"")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=9), st.binary(max_size=40), max_size=5))
def test_any_names_and_bytes(values: dict[str, bytes]) -> None:
    found = unpack_state(pack_state("x", 1, values), "x", 1)
    assert {name: as_bytes(found, name) for name in found} == values


@pytest.mark.parametrize(("kind", "version"), [("eyes", 3), ("face", 4)])
def test_another_kind_or_version(kind: str, version: int) -> None:
    with pytest.raises(StateError, match=f"expected {kind} of version {version}, got face of version 3"):
        unpack_state(pack_state("face", 3, sample()), kind, version)


def test_every_changed_byte_and_every_cut_is_noticed() -> None:
    blob = pack_state("face", 3, {"a": np.arange(5.0), "b": np.array(True)})
    for place in range(len(blob)):
        changed = bytearray(blob)
        changed[place] ^= 1 << place % 8
        for damaged in (bytes(changed), blob[:place]):
            with pytest.raises(StateError):
                unpack_state(damaged, "face", 3)
    with pytest.raises(StateError, match="check sum"):
        unpack_state(blob + b"\0", "face", 3)


def signed(body: bytes) -> bytes:
    """A state with the right check sum over whatever it is."""
    return b"auflow\x00\x01" + hashlib.sha256(body).digest() + body


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return signed(len(header).to_bytes(8, "little") + header + bytes(-len(header) % 8) + data)


@pytest.mark.parametrize(
    "arrays",
    [
        b"7", b'"abc"', b"[7]", b'[["a"]]', b'[["a", "<f8", 3]]', b'[["a", "|O", [1]]]', b'[["a", "<f8", [-1]]]',
        b'[["a", "<f8", [9000000000, 9000000000, 9000000000]]]', b'[["a", "<f8", [2]]]', b'[["a", "<f8", ["x"]]]',
        b'[["a", "<f8", []]]', b"[]", b"null",
    ],
)  # fmt: skip
def test_forged_descriptions(arrays: bytes) -> None:
    data = bytes(16 if arrays in (b"[]", b'[["a", "<f8", []]]') else 8)  # more or less than is described
    with pytest.raises(StateError):
        unpack_state(with_header(b'{"kind": "x", "version": 1, "arrays": ' + arrays + b"}", data), "x", 1)


@pytest.mark.parametrize(
    "blob",
    [
        b"", b"auflow\x00\x01", signed(b""), signed(b"\xff" * 8), signed(b"\xff" * 40), with_header(b"{"),
        with_header(b"[1]"), with_header(b"\xff\xfe"), with_header(b'{"kind": "x"}'), with_header(b"[" * 100_000),
    ],
)  # fmt: skip
def test_what_is_no_state(blob: bytes) -> None:
    with pytest.raises(StateError):
        unpack_state(blob, "x", 1)


def test_a_dtype_that_states_do_not_have() -> None:
    for array in (np.array([object()]), np.array(["text"]), np.zeros(2, complex), np.zeros(2, ">f8")):
        with pytest.raises(StateError, match="x: expected one of"):
            pack_state("face", 1, {"x": array})


def test_fields_are_checked() -> None:
    arrays = {"a": np.zeros((4, 2))}
    assert field(arrays, "a", np.float64, (None, 2)) is arrays["a"]
    with pytest.raises(StateError, match=r"a: expected \(k, 3\) float64, got \(4, 2\) float64"):
        field(arrays, "a", np.float64, (None, 3))
    with pytest.raises(StateError, match=r"a: expected \(4, 2\) float32"):
        field(arrays, "a", np.float32, (4, 2))
    with pytest.raises(StateError, match="expected an array b, got a"):
        field(arrays, "b", np.float64, ())
