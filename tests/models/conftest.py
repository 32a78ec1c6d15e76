"""Writers of tiny files in OpenFace's layouts, written from the format's description and apart from the readers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

CODES = {"u1": 0, "i4": 4, "f4": 5, "f8": 6}


def i32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def f64(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def mat(values, kind: str) -> bytes:
    array = np.atleast_2d(np.asarray(values, dtype=f"<{kind}"))
    return i32(*array.shape, CODES[kind]) + array.tobytes()


def mat_text(values, code: int) -> str:
    rows = "\n".join(" ".join(f"{value:.6f}" if code == 6 else str(value) for value in row) for row in values)
    return f"# a comment\n{len(values)}\n{len(values[0])}\n{code}\n{rows}\n"


def ccnf(*, views: int = 2, points: int = 3, neurons: int = 2, windows=(3, 5), betas: int = 2, seed: int = 0):
    """Bytes of a CCNF file whose point 1 is not visible in the last view, and what it holds."""
    rng = np.random.default_rng(seed)
    held: dict = {"centres": rng.normal(size=(views, 3)) * 30, "sigmas": {}, "experts": {}}
    visible = np.ones((views, points), int)
    visible[-1, 1] = 0
    held["visible"] = visible
    data = f64(0.25) + i32(views)
    data += b"".join(mat(centre[:, None], "f8") for centre in held["centres"])
    data += b"".join(mat(row[:, None], "i4") for row in visible)
    data += i32(len(windows))
    for window in windows:
        sigmas = rng.normal(size=(betas, window**2, window**2)).astype("f4")
        held["sigmas"][window] = sigmas
        data += i32(window, betas) + b"".join(mat(sigma, "f4") for sigma in sigmas)
    for view in range(views):
        for point in range(points):
            if not visible[view, point]:
                data += i32(5, 5, 4, 0, 0)
                continue
            weights = rng.normal(size=(neurons, 4, 5)).astype("f4")
            numbers = rng.normal(size=(neurons, 3))
            edge, confidence = rng.normal(size=betas), float(rng.random())
            held["experts"][view, point] = (weights, numbers, edge, confidence)
            data += i32(5, 5, 4, neurons)
            for weight, number in zip(weights, numbers, strict=True):
                data += i32(2, 0) + f64(*number) + mat(weight, "f4")
            data += f64(*edge, confidence)
    return data, held


def validator(*, views: int = 2, seed: int = 0):
    """Bytes of a validator of 8 x 9 pixels (conv 3 x 3, ReLU, pool, dense), and what it holds."""
    rng = np.random.default_rng(seed)
    data = i32(3, views) + b"".join(mat([[0.0], [20.0 * v], [0.0]], "f8") for v in range(views))
    held = []
    for _ in range(views):
        mask = np.zeros((8, 9), int)
        mask[2:5, 3:7] = 1
        triangles = np.where(mask == 1, rng.integers(0, 2, mask.shape), -1)
        mean, std = rng.normal(size=12), rng.random(12) + 0.1
        conv, bias = rng.normal(size=(2, 1, 3, 3)).astype("f4"), rng.normal(size=2).astype("f4")
        second, second_bias = rng.normal(size=(3, 2, 2, 1)).astype("f4"), rng.normal(size=3).astype("f4")
        dense, dense_bias = rng.normal(size=(2 * 3 * 3, 4)).astype("f4"), rng.normal(size=4).astype("f4")
        landmarks, alphas, betas = rng.normal(size=8), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
        data += mat(mean, "f8") + mat(std, "f8") + i32(5)
        data += i32(0, 1, 2) + bias.tobytes() + b"".join(mat(conv[k, i], "f4") for i in range(1) for k in range(2))
        data += i32(3, 1)
        data += i32(0, 2, 3) + second_bias.tobytes()
        data += b"".join(mat(second[k, i], "f4") for i in range(2) for k in range(3))
        data += i32(2) + mat(dense_bias[:, None], "f4") + mat(dense, "f4")
        data += i32(12) + f64(-3.5, -2.5) + mat(landmarks[:, None], "f8") + mat([[0, 1, 2], [1, 2, 3]], "i4")
        data += mat(triangles, "i4") + mat(mask, "i4") + mat(alphas, "f8") + mat(betas, "f8")
        held.append(
            SimpleNamespace(
                mean=mean, std=std, conv=conv, bias=bias, second=second, dense=dense, landmarks=landmarks,
                mask=mask, triangles=triangles, alphas=alphas, betas=betas,
            )
        )  # fmt: skip
    return data, held


@pytest.fixture(scope="session")
def layouts() -> SimpleNamespace:
    """The writers above."""
    return SimpleNamespace(i32=i32, f64=f64, mat=mat, mat_text=mat_text, ccnf=ccnf, validator=validator)


@pytest.fixture(scope="session")
def refuses_any_cut() -> Callable[[Path, bytes, Callable[[Path], object], int], None]:
    """A check that `read` raises ModelError for every prefix (in steps) of good bytes, and for bytes after the end."""
    from auflow.errors import ModelError

    def check(path: Path, data: bytes, read: Callable[[Path], object], step: int) -> None:
        path.write_bytes(data)
        read(path)
        for end in [*range(0, len(data), step), len(data) - 1]:
            path.write_bytes(data[:end])
            with pytest.raises(ModelError, match=path.name):
                read(path)
        for tail in (b"\0", b"\0\0\0\0", data[:64]):
            path.write_bytes(data + tail)
            with pytest.raises(ModelError, match="end of the file"):
                read(path)

    return check
