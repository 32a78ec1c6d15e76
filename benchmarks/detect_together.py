"""Face detection of several pictures at once against one after the other: CPU time of a picture.

By hand: python -m auflow.benchmarks.detect_together CLIP [CLIP ...] [--sizes 320x240 640x480] [--repeat 10]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.models import store
from auflow.stages.detect import MtcnnDetector
from auflow.threads import pin_threads

__all__ = ["compare", "main", "pictures"]

COUNTS = (1, 2, 4, 8)
_FROM_EACH, _STEP = 4, 7  # so many pictures of a clip, so many frames apart
Pictures = Sequence[NDArray[np.uint8]]
Boxes = Sequence[NDArray[np.float32]]


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 1 where the boxes are not the same to the last bit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["320x240", "640x480"], metavar="WxH")
    parser.add_argument("--repeat", type=int, default=10)
    given = parser.parse_args(argv)
    pin_threads()
    detector = MtcnnDetector(store.default_root())
    sys.stdout.write("| size | pictures | one by one, ms each | together | ratio |\n|---|---|---|---|---|\n")
    equal = True
    for size in given.sizes:
        shown = pictures(given.clips, tuple(map(int, size.split("x"))))
        for count in COUNTS:
            alone_s, together_s, same = compare(detector, shown, count, given.repeat)
            equal &= same
            ratio = together_s / alone_s
            sys.stdout.write(f"| {size} | {count} | {1e3 * alone_s:.2f} | {1e3 * together_s:.2f} | {ratio:.3f} |\n")
    sys.stdout.write(f"\nboxes bit by bit the same: {'yes' if equal else 'NO'}\n")
    return 0 if equal else 1


def pictures(clips: Sequence[Path], size: tuple[int, ...]) -> Pictures:
    """Some frames (h, w, 3) of each clip in this size (width, height), in an order that mixes the clips."""
    found = []
    for clip in clips:
        capture = cv2.VideoCapture(str(clip))
        for number in range(_FROM_EACH * _STEP):
            there, bgr = capture.read()
            if there and number % _STEP == 0:
                found.append(np.asarray(cv2.resize(bgr, size), np.uint8))
        capture.release()
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]


def compare(detector: MtcnnDetector, shown: Pictures, count: int, repeat: int) -> tuple[float, float, bool]:
    """Mean CPU seconds of a picture alone and of one among `count`, in turn; whether all boxes were the same."""
    ways: list[Callable[[Pictures], Boxes]] = [
        lambda some: [detector.detect(bgr) for bgr in some],
        detector.detect_many,
    ]
    spent_s, seen, same = [0.0, 0.0], 0, True
    ways[0](shown)  # caches warm
    for turn in range(repeat):
        for start in range(0, len(shown) - count + 1, count):
            some, found = shown[start : start + count], {}
            for way in (0, 1) if turn % 2 else (1, 0):
                began_s = time.process_time()
                boxes = ways[way](some)
                spent_s[way] += time.process_time() - began_s
                found[way] = [of_one.tobytes() for of_one in boxes]
            same &= found[0] == found[1]
            seen += count
    return spent_s[0] / seen, spent_s[1] / seen, same


if __name__ == "__main__":
    sys.exit(main())
