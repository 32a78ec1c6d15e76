"""Damage to files, one seeded step at a time: what disks, broken downloads, editors and people do to them.

`mutate_binary` and `mutate_text` take the bytes of a good file and give those of a damaged one, the same for the same
state of the generator. Real files are long and their headers short: half of the damage is done near the start, and
counts are looked for, since that is what makes a reader allocate and loop.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["mutate_binary", "mutate_text"]

HEAD: Final = 512  # bytes at the start that hold most of the counts
COUNTS: Final = (
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    6,
    7,
    255,
    4096,
    65536,
    1 << 20,
    (1 << 20) + 1,
    (1 << 31) - 1,
    -(1 << 31),
    1 << 30,
)
NUMBERS: Final = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-320, 0.0, -0.0, 3.5e38)
TOKENS: Final = (
    *("", "0", "-1", "1", "4", "5", "6", "7", "1.5", "1_0", "0x10", "1048576", "1048577", "2147483648", "-2147483649"),
    *("nan", "inf", "-inf", "1e308", "-1e308", "1e999", "9" * 25, "9" * 5000),
    *("x", "#", "\0", "a\0b", "\x1c", ".", "..", "../../etc/hostname", "/dev/zero"),
    *("'", '"', ",", "é", "٣", "[[[[", "{", "null", "true"),
)
Step = Callable[[bytes, random.Random], bytes]


def mutate_binary(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """`data` after one to three steps of damage; `others` are files that may be spliced in or stand in its place."""
    return _mutate(data, rng, others, _BINARY)


def mutate_text(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """As `mutate_binary`, mostly by whole words and lines."""
    return _mutate(data, rng, others, _TEXT)


def _mutate(data: bytes, rng: random.Random, others: Sequence[bytes], steps: Sequence[Step]) -> bytes:
    if others and rng.random() < 0.05:
        other = rng.choice(others)
        return other if rng.random() < 0.4 else data[: _place(data, rng)] + other[_place(other, rng) :]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(steps)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """An offset, in the head as often as anywhere."""
    return rng.randrange(min(len(data), HEAD) + 1 if rng.random() < 0.5 else len(data) + 1)


def _patch(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """A memory or disk error."""
    if not data:
        return data
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        out[min(_place(data, rng), len(data) - 1)] ^= 1 << rng.randrange(8)
    return bytes(out)


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """A block of noise, zeros or ones, as a lost sector is."""
    at, length = _place(data, rng), rng.choice((1, 4, 8, 64, 512))
    return _patch(data, at, rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length)))


def cut(data: bytes, rng: random.Random) -> bytes:
    """A download that broke off, a full disk."""
    return data[: rng.choice((0, 1, len(data) - 1, len(data) // 2, _place(data, rng), rng.randrange(len(data) + 1)))]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Bytes too many somewhere."""
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 16))) + data[at:]


def delete(data: bytes, rng: random.Random) -> bytes:
    """Bytes lost somewhere."""
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 12, 256)) :]


def double(data: bytes, rng: random.Random) -> bytes:
    """A stretch twice."""
    at, length = _place(data, rng), rng.choice((1, 4, 12, 64, 1024))
    return data[: at + length] + data[at:]


def append(data: bytes, rng: random.Random) -> bytes:
    """Something behind the end."""
    return data + rng.choice((b"\0", b"\n", b" 1", rng.randbytes(7), data[:64]))


def change_count(data: bytes, rng: random.Random) -> bytes:
    """Another number where a small 32-bit one stands, as counts, sides, tags and types do."""
    for _ in range(64):
        at = _place(data, rng) & ~3
        chunk = data[at : at + 4]
        if len(chunk) == 4 and 0 <= struct.unpack("<i", chunk)[0] <= 70000:
            break
    order = "<i" if rng.random() < 0.8 else ">i"
    return _patch(data, at, struct.pack(order, rng.choice(COUNTS)))


def change_number(data: bytes, rng: random.Random) -> bytes:
    """A float or double that is none, or is out of every range."""
    value = rng.choice(NUMBERS)
    at = _place(data, rng) & ~3
    single = rng.random() < 0.5 and abs(value) < 3e38
    return _patch(data, at, struct.pack("<f" if single else "<d", value))


def change_word(data: bytes, rng: random.Random) -> bytes:
    """Another word in the place of one."""
    words = data.split(b" ") if rng.random() < 0.5 else data.split()
    if not words:
        return rng.choice(TOKENS).encode()
    places = min(len(words), 40) if rng.random() < 0.5 else len(words)
    words[rng.randrange(places)] = rng.choice(TOKENS).encode()
    return b" ".join(words)


def replace_count(data: bytes, rng: random.Random) -> bytes:
    """Another word in the place of a line that holds but one, as counts do."""
    lines = data.split(b"\n")
    places = [index for index, line in enumerate(lines) if line.strip() and len(line.split()) == 1]
    if places:
        lines[rng.choice(places)] = rng.choice(TOKENS).encode()
    return b"\n".join(lines)


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """A line removed, doubled, moved, or made a comment."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    else:
        lines[at] = b"# " + lines[at]
    return rng.choice((b"\n", b"\n", b"\r\n", b" ", b"\x0c")).join(lines)


_BINARY: Final[tuple[Step, ...]] = (
    flip_bits, overwrite, cut, insert, delete, double, append, change_count, change_count, change_count, change_number,
)  # fmt: skip
_TEXT: Final[tuple[Step, ...]] = (
    flip_bits, overwrite, cut, insert, delete, double, append, change_word, change_word, replace_count, replace_count,
    change_lines, change_lines,
)  # fmt: skip
