"""Opens encoders and gives them pictures: a script of its own, for a graphics driver may crash or hang.

Run by its path with a JSON list of encoders ({"name", "pix_fmt", "options"}); prints [name, reason] for each as a line
of JSON, with "" for one that works. It imports nothing of auflow, so that it starts quickly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import av

__all__ = ["failure", "main"]

# As large as a usual picture with its panel: hardware refuses small ones.
WIDTH, HEIGHT = 960, 480
PICTURES = 3


def _create(name: str, mode: str) -> Any:
    return av.CodecContext.create(name, mode)  # type: ignore[call-overload]  # typed as the few its authors thought of


def failure(encoder: Mapping[str, Any], create: Callable[[str, str], Any] = _create) -> str:
    """Why an encoder does not encode, in FFmpeg's words; "" where it does."""
    with av.logging.Capture() as told:
        try:
            packets = _encode(encoder, create)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            return _reason(error, [text for level, _, text in told if level <= av.logging.ERROR])
    return "" if packets else "it took pictures and gave nothing"


def _encode(encoder: Mapping[str, Any], create: Callable[[str, str], Any]) -> int:
    context = create(encoder["name"], "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, encoder["pix_fmt"]
    context.time_base, context.options = Fraction(1, 25), dict(encoder["options"])
    packets = 0
    for pts in range(PICTURES):
        picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes(plane.buffer_size))
        picture.pts, picture.time_base = pts, context.time_base
        packets += len(context.encode(picture))
    return packets + len(context.encode(None))


def _reason(error: Exception, told: list[str]) -> str:
    if isinstance(error, av.codec.codec.UnknownCodecError):
        return "not in this build of FFmpeg"
    # FFmpeg's own number says little: its log has the reason, mostly in the first line.
    text = told[0].strip().rstrip(".") if told else str(getattr(error, "strerror", None) or error)
    return text or type(error).__name__


def main(encoders: str) -> None:
    """Try each encoder of a JSON list, in order."""
    av.logging.set_level(av.logging.ERROR)
    for encoder in json.loads(encoders):
        print(json.dumps([encoder["name"], failure(encoder)]), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main(sys.argv[1])
