"""The codec under fire: whatever the bytes, a record or a TransportError comes out, and nothing is executed."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from auflow.stages.records import AuFrame, AuTable, FaceFit
from auflow.transport import messages as m
from auflow.transport.codec import VERSION, decode, encode
from auflow.transport.faults import TransportError
from auflow.transport.schema import unpack_message

ROOT = Path(__file__).resolve().parents[2]


def real_messages() -> list[bytes]:
    """Encoded messages, the ones with arrays among them."""
    frame = m.FrameReady.__new__(m.FrameReady)
    records = [m.Credit(3), m.Ack(1, 2), m.Released(1, 2), m.Drain(), m.Ready("clnf-0"), m.Skip(1), m.Exit()]
    payloads = [encode(record) for record in records]
    boxes = m.Boxes(0, 1, np.ones((2, 5), np.float32))
    payloads.append(encode(boxes))
    assert frame is not None
    return payloads


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


def survives(payload: bytes) -> bool:
    """Whether it was taken for a message; anything but a TransportError goes on up."""
    try:
        decode(payload)
    except TransportError as error:
        assert len(str(error)) < 2000  # a hostile message must not become a hostile log
        return False
    return True
