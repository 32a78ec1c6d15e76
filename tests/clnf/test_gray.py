"""Gray values: OpenCV's, for every colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.stages.clnf.gray import to_gray


def test_every_colour_has_opencvs_gray():
    picture = np.empty((256, 256, 3), np.uint8)
    picture[..., 1], picture[..., 0] = np.arange(256)[:, None], np.arange(256)
    gray = np.full((256, 256), np.nan, np.float32)
    for red in range(256):
        picture[..., 2] = red
        to_gray(picture, gray)
        assert np.array_equal(gray, cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)), red


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (37, 53)])
def test_odd_sizes_and_read_only_strided_pictures(shape):
    wide = np.random.default_rng(1).integers(0, 256, (shape[0], 2 * shape[1], 3), np.uint8)
    view = wide[:, ::2]
    view.flags.writeable = False
    gray = np.empty(shape, np.float32)
    to_gray(view, gray)
    assert np.array_equal(gray, cv2.cvtColor(np.ascontiguousarray(view), cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("picture", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((5, 4, 3), np.uint8)])
def test_refuses_what_is_no_colour_picture_of_that_size(picture):
    with pytest.raises(ShapeError, match=r"bgr: expected \(4, 5, 3\) uint8"):
        to_gray(picture, np.empty((4, 5), np.float32))
