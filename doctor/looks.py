"""The looks that happen in a child process: a script that prints what it finds of each item as a line of JSON.

Run as `python -m auflow.doctor.looks LOOK ITEM...`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

__all__ = ["LOOKS", "main"]

CAMERAS_OF = {"darwin": "avfoundation", "win32": "dshow"}


def _import(module: str) -> str:
    """Whether a library can be loaded; its own word on its version."""
    return str(getattr(importlib.import_module(module), "__version__", ""))


def _gpus(_: str) -> str | list[dict[str, Any]]:
    from auflow.backends.nvidia import look_for_gpus

    found = look_for_gpus()
    return found if isinstance(found, str) else [asdict(gpu) for gpu in found]


def _backend(name: str) -> dict[str, Any] | str | None:
    from auflow.backends.availability import look
    from auflow.backends.names import BACKENDS

    if name == "conflict":
        return _conflict()
    return asdict(next(look(known) for known in BACKENDS if known == name))


def _conflict() -> dict[str, str]:
    from auflow.backends.ort_files import look_at_ort_files

    found = look_at_ort_files()
    return {
        "state": found.state,
        "what": found.what,
        "mend_for_gpu": found.mend(gpu=True),
        "mend_without": found.mend(gpu=False),
    }


def _ffmpeg(item: str) -> Any:
    import av

    av.logging.set_level(None)
    kind, _, name = item.partition(":")
    if kind == "version":
        version = getattr(av, "ffmpeg_version_info", "")
        return {"av": av.__version__, "ffmpeg": version, "folder": os.path.dirname(av.__file__)}
    if kind == "decoder":
        av.CodecContext.create(name, "r")
        return ""
    if kind == "cameras":
        from av.device import enumerate_input_devices

        return [each.name for each in enumerate_input_devices(CAMERAS_OF[name]) if "video" in each.media_types]
    from av.codec.hwaccel import HWAccel, hwdevices_available

    if name not in hwdevices_available():
        return "not in this build of FFmpeg"
    # Whether the device is there shows only with a decoder on it.
    av.CodecContext.create("h264", "r", hwaccel=HWAccel(name, allow_software_fallback=True))
    return ""


LOOKS: dict[str, Callable[[str], Any]] = {
    "import": _import,
    "gpus": _gpus,
    "backend": _backend,
    "ffmpeg": _ffmpeg,
}


def main(look: str, *items: str) -> None:
    """Print what `look` finds of each item, in order."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    for item in items:
        try:
            answer = {"value": LOOKS[look](item)}
        except Exception as error:  # noqa: BLE001 - whatever a library raises is what there is to tell of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps([item, answer]), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main(*sys.argv[1:])
