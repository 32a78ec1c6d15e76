"""What a stream reads from, as the configuration writes it: of which kind it is, with its paths made absolute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from auflow.serve.keys import Unfit

__all__ = ["SourceKind", "parse_source"]

SourceKind = Literal["rtsp", "http", "webcam", "replay", "file"]

_SCHEMES: dict[str, SourceKind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_EXPECTED = (
    "rtsp://HOST/PATH, http://HOST/PATH, webcam:0, file:CLIP (read as if it were a camera), "
    "or the path of a video or a folder of images"
)


def parse_source(written: str, base: Path) -> tuple[SourceKind, str]:
    """The kind of a source, and the source with an absolute path where it has one.

    Parameters
    ----------
    written : as in the configuration
    base : what a relative path counts from

    Raises
    ------
    Unfit
        It is of no known kind; the text has nothing of the source in it, which may hold a password.
    """
    scheme = _SCHEME.match(written)
    word = scheme[1].lower() if scheme else ""
    if word == "webcam":
        return "webcam", written
    if word in _SCHEMES and "://" in written:
        return _SCHEMES[word], written
    if written == "-" or word == "pipe":
        raise Unfit("a source of the stream's own; a service has no pipe to read from, `auflow run -` has")
    path = written.removeprefix("file:")
    # rtsp:/host, ftp://host: an address gone wrong, which would be a strange path.
    if not path.strip() or word in _SCHEMES or "://" in path:
        raise Unfit(_EXPECTED)
    try:
        place = str(base / Path(path).expanduser())
    except RuntimeError:  # ~NAME of a user that is not there
        raise Unfit("a path below a home folder that is there") from None
    return ("file", place) if path == written else ("replay", f"file:{place}")
