"""What happens to a frame: decode, detect, CLNF, AU, sink. Arrays in, arrays out; no sockets, no processes."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["MAX_PIXELS"]

# 400 MB a picture: no camera has more, but the size in a damaged header may ask for any amount of memory (a JPEG of
# 900 bytes took 5 GB). OpenCV reads its bound when it is loaded, and nothing outside this package loads it.
MAX_PIXELS: Final = 1 << 27
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
