"""FHOG: analytic pictures, the NumPy reference, and the C++ program's descriptors."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.stages.au.fhog import fhog


def edge(direction_deg: float) -> np.ndarray:
    """A steep straight edge through the middle, brighter towards `direction_deg` (x right, y down)."""
    y, x = np.mgrid[0:112, 0:112] - 55.5
    angle = np.deg2rad(direction_deg)
    ramp = np.clip(128 + 20 * (x * np.cos(angle) + y * np.sin(angle)), 0, 255)
    return np.repeat(ramp.astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_flat_picture_has_no_gradient(level):
    descriptor = fhog(np.full((112, 112, 3), level, np.uint8))
    assert descriptor.shape == (12, 12, 31)
    assert descriptor.dtype == np.float32
    assert not descriptor.any()


@pytest.mark.parametrize("direction", range(18))
def test_edge_votes_for_its_direction(direction):
    cells = fhog(edge(20 * direction))[5:7, 5:7]
    assert np.all(np.argmax(cells[..., :18], axis=2) == direction)
    assert np.all(np.argmax(cells[..., 18:27], axis=2) == direction % 9)


def test_contrast_scales_out():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 80, (112, 112, 3), np.uint8)
    assert np.abs(fhog(picture) - fhog(picture * 3)).max() < 1e-5


def test_mirrored_picture_mirrors_cells_and_directions():
    rng = np.random.default_rng(2)
    grey = rng.integers(0, 128, (112, 112, 1)) * 2
    # Straight up and down lie between two bins, and the first wins, mirrored or not: with the parity of the
    # columns like this no dx is zero.
    grey += (np.arange(112)[None, :, None] // 2) % 2
    picture = np.repeat(grey.astype(np.uint8), 3, axis=2)
    directed = [(9 - o) % 18 for o in range(18)]  # dx -> -dx
    undirected = [18 + (9 - o) % 9 for o in range(9)]
    texture = [29, 30, 27, 28]  # the blocks on the right become those on the left
    mirrored = fhog(np.ascontiguousarray(picture[:, ::-1]))[:, ::-1][:, :, [*directed, *undirected, *texture]]
    assert np.abs(mirrored - fhog(picture)).max() < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_reference(reference, seed):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (112, 112, 3), np.uint8)
    picture[:, :40] //= 32  # weak gradients: many ties between channels
    expected = reference("au_fhog").fhog(picture)
    assert np.abs(fhog(picture) - expected).max() < 2e-6  # float32 against float64


def test_writes_to_out():
    picture = edge(30)
    out = np.full((12, 12, 31), 9, np.float32)
    assert fhog(picture, out=out) is out
    assert np.array_equal(out, fhog(picture))


def test_reads_a_read_only_strided_picture():
    wide = np.repeat(edge(40), 2, axis=1)
    view = wide[:, ::2]
    view.flags.writeable = False
    assert np.array_equal(fhog(view), fhog(edge(40)))


@pytest.mark.parametrize("picture", [np.zeros((112, 112), np.uint8), np.zeros((112, 112, 3), np.float32)])
def test_refuses_other_pictures(picture):
    with pytest.raises(ShapeError, match=r"expected \(112, 112, 3\) uint8"):
        fhog(picture)


def test_refuses_another_out():
    with pytest.raises(ShapeError, match="out: expected"):
        fhog(edge(0), out=np.empty((12, 12, 31)))


@pytest.mark.golden
def test_agrees_with_the_traces(golden):
    paths = sorted(golden.glob("*/trace/*_aligned.npy"))
    assert len(paths) > 30
    for path in paths:
        expected = np.load(path.with_name(path.name.replace("aligned", "hog"))).reshape(12, 12, 31)
        # Seen: 1.5e-7, the last bits of single precision.
        assert np.abs(fhog(np.load(path)) - expected).max() < 1e-6, path
