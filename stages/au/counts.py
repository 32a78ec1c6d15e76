"""Histograms that are mostly empty as few bytes: the running medians' 14 MB become one or two.

The counts are read from end to end. A run of bins that are not empty is: the number of empty bins before it, then its
counts, then a zero. Numbers have seven bits a byte, lowest first; the eighth says that there is more.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["pack_counts", "unpack_counts", "warm_up"]

Counts = NDArray[np.uint16] | NDArray[np.uint32]
Bytes = NDArray[np.uint8]

_LONGEST = 5  # bytes of a number
# Of a word of four counts: the bits of numbers above 127; what lifts every number above 0 to the bits of `_FILLED`.
_ABOVE_127 = np.uint64(0xFF80FF80FF80FF80)
_LOW_BITS = np.uint64(0x007F007F007F007F)
_FILLED = np.uint64(0x0080008000800080)


@njit(cache=True, nogil=True)
def _put(value: np.int64, out: Bytes, at: np.int64) -> np.int64:
    while value > 127:
        out[at] = np.uint8(128 | (value & 127))
        value >>= 7
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@njit(cache=True, nogil=True)
def _get(data: Bytes, at: np.int64) -> tuple[np.int64, np.int64]:
    """The number at a place, -1 where there is none, and where the next one begins."""
    value = np.int64(0)
    for place in range(_LONGEST):
        if at >= data.size:
            break
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at
    return np.int64(-1), at


@njit(cache=True, nogil=True)
def _pack(counts: Counts, words: NDArray[np.uint64], each: int, out: Bytes) -> np.int64:
    """Bytes written to `out`: counts (n,), words the same memory, `each` counts a word, without what is left over."""
    at = np.int64(0)
    run_end = 0
    running = False
    for group in range(words.size + 1):
        # Most of it is empty, and the rest mostly small numbers: several bins at a glance.
        if group < words.size:
            word = words[group]
            if word == 0 and not running:
                continue
            if each == 4 and running and word & _ABOVE_127 == 0 and (word + _LOW_BITS) & _FILLED == _FILLED:
                for lane in range(4):
                    out[at + lane] = np.uint8((word >> np.uint64(16 * lane)) & np.uint64(255))
                at += 4
                continue
        for i in range(group * each, min((group + 1) * each, counts.size) if group < words.size else counts.size):
            value = np.int64(counts[i])
            if value != 0:
                if not running:
                    at = _put(np.int64(i - run_end), out, at)
                    running = True
                if value < 128:
                    out[at] = np.uint8(value)
                    at += 1
                else:
                    at = _put(value, out, at)
            elif running:
                out[at] = 0
                at += 1
                run_end = i
                running = False
    if running:
        out[at] = 0
        at += 1
    return at


@njit(cache=True, nogil=True)
def _unpack(data: Bytes, highest: np.int64, counts: Counts) -> bool:
    """Fill counts (n,), which are zero; False where the bytes are not what `_pack` gives of counts up to `highest`."""
    at = np.int64(0)
    i = np.int64(0)
    while at < data.size:
        gap, at = _get(data, at)
        if gap < 0:
            return False
        i += gap
        while True:
            value, at = _get(data, at)
            if value < 0:
                return False
            if value == 0:
                break
            if i >= counts.size or value > highest:
                return False
            counts[i] = value
            i += 1
    return True


def pack_counts(counts: Counts, samples: int) -> Bytes:
    """Histograms (k, bins) of so many samples each as (n,) uint8."""
    flat = counts.reshape(-1)
    each = 8 // flat.itemsize
    filled = min(flat.size, len(counts) * samples)
    # Only what is written of this room becomes memory.
    out = np.empty(filled * (2 * _LONGEST + 1), np.uint8)
    return out[: _pack(flat, flat[: flat.size // each * each].view(np.uint64), each, out)].copy()


def unpack_counts(data: Bytes, counts: Counts) -> bool:
    """Fill `counts` (k, bins), which are zero, with what was packed; False where `data` is damaged."""
    return bool(_unpack(data, np.int64(np.iinfo(counts.dtype).max), counts.reshape(-1)))


def warm_up() -> None:
    """Compile (or load) the kernels, for counts of 16 and of 32 bits."""
    for dtype in (np.uint16, np.uint32):
        counts = np.ones((2, 4), dtype)
        unpack_counts(pack_counts(counts, 1), np.zeros_like(counts))
