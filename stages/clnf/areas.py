"""The patches around the landmarks that graphs of response maps take: cut by our own kernel, as OpenCV cuts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf import patch_kernels

__all__ = ["cut_areas"]

Floats = NDArray[np.float32]


def cut_areas(
    image: Floats, points_px: Floats, to_img: Floats, visible: NDArray[np.bool_], window: int
) -> NDArray[np.float32]:
    """The patches (n, s, s), s = window + 10, around points_px (2n,) of image (h, w); 0 where not visible.

    `to_img` (2, 2) = [a -b; b a] turns and scales the reference frame into the image.
    """
    n, side = visible.size, window + patch_kernels.SUPPORT - 1
    a, b = to_img[0, 0], -to_img[0, 1]
    steps = np.empty((2, side), np.int32)
    patch_kernels.grid_steps(a, b, steps)
    areas = np.zeros((n, side, side), np.float32)
    for point in np.flatnonzero(visible):
        patch_kernels.warp_patch(image, a, b, points_px[point], points_px[n + point], steps, areas[point])
    return areas
