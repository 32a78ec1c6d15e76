"""What one live source is: its address, its time-outs, and the only form of the address that others may see."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from auflow.errors import UsageError

__all__ = ["HWACCELS", "LiveSpec", "SourceKind"]

HWACCELS = ("none", "auto", "cuda", "vaapi", "videotoolbox")
SCHEMES = ("rtsp", "rtsps", "http", "https")
EXPECTED = "rtsp://, rtsps://, http:// or https://, webcam:0, file:PATH, or - or pipe:N for a pipe"
# Many cameras take user and password in the path or the query: /user=admin&password=x&channel=1
SECRET_NAMES = re.compile(r"(?i)((?:user|usr|login|pass|pwd|psw|token|key|secret|auth|sig)\w*=)[^&;/?]*")

SourceKind = Literal["network", "webcam", "file", "pipe"]


@dataclass(frozen=True, slots=True)
class LiveSpec:
    """One live source, checked.

    Parameters
    ----------
    name : what people and files call the source
    url : rtsp://, rtsps://, http://, https:// (MJPEG, or what else FFmpeg reads); webcam:0 or webcam:/dev/video0
        (on Windows also webcam:NAME); file:PATH, read in real time as if it were a camera; - or pipe:N
    username, password_env : instead of user and password in the URL: a user, and the name of an environment
        variable that holds the password
    rtsp_transport : how an RTSP server sends its pictures
    open_timeout_s : for each step of the connecting
    read_timeout_s : this long without data, or without a picture after the first, and the connection is given up
    stalled_after_s : this long without a picture, and the source counts as stalled
    first_picture_timeout_s : from the connection to the first picture; cameras send a key picture every 1 to 20 s
    hwaccel : the hardware decoder to try; software decodes where it cannot be had
    loop : read a file again and again

    Raises
    ------
    UsageError
        A value is none of those; the text never holds the address in full.
    """

    name: str
    url: str = field(repr=False)
    username: str | None = field(default=None, repr=False)
    password_env: str | None = None
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    stalled_after_s: float = 2.0
    first_picture_timeout_s: float = 30.0
    hwaccel: Literal["none", "auto", "cuda", "vaapi", "videotoolbox"] = "none"
    loop: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise UsageError("name: expected the name of the source, got an empty text")
        self._check_url()
        for key, allowed in (("rtsp_transport", ("tcp", "udp")), ("hwaccel", HWACCELS)):
            if getattr(self, key) not in allowed:
                raise UsageError(f"{key}: expected one of {', '.join(allowed)}, got {getattr(self, key)!r}")
        for key in ("open_timeout_s", "read_timeout_s", "stalled_after_s", "first_picture_timeout_s"):
            if not 0 < getattr(self, key) <= 3600:
                raise UsageError(f"{key}: expected seconds between 0 and 3600, got {getattr(self, key)!r}")
        if self.loop and self.kind != "file":
            raise UsageError(f"loop: only a file can be read again and again, not {self.redacted()}")
        if (self.username is not None or self.password_env is not None) and self.kind != "network":
            raise UsageError(f"username, password_env: only for addresses with ://, not for {self.redacted()}")
        if self.password_env is not None and self.username is None:
            raise UsageError("password_env: a password needs a username beside it")

    def _check_url(self) -> None:
        kind, rest = self.kind, self.url.partition(":")[2]
        if kind == "network":
            self._check_address()
        elif kind == "pipe" and self.url != "-" and not (rest.isascii() and rest.isdecimal()):
            raise UsageError(f"url: expected pipe:N with the number of an open descriptor, got {self.url!r}")
        elif kind in ("file", "webcam") and not rest:
            raise UsageError(f"url: expected something after {self.url}")

    def _check_address(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = bool(parts.hostname) and parts.port != 0
        except ValueError:  # its text quotes pieces of the address
            valid = False
        if re.search("[/?#].*@", self.url.partition("://")[2]):
            raise UsageError(
                f"url: {self.redacted()}: an @ after the host; in user, password and path write %40 for @, "
                "%2F for /, %3F for ? and %23 for #, or give the password by password_env"
            )
        if not valid:
            raise UsageError(f"url: {self.redacted()}: expected a host after ://, and a port between 1 and 65535")
        if parts.username is not None and self.username is not None:
            raise UsageError("username: the URL names a user as well; give one of the two")

    @property
    def kind(self) -> SourceKind:
        """What has to be opened."""
        scheme, colon, _ = self.url.partition(":")
        if self.url == "-" or (colon and scheme == "pipe"):
            return "pipe"
        if colon and scheme in ("file", "webcam"):
            return "file" if scheme == "file" else "webcam"
        if scheme.lower() in SCHEMES and self.url[len(scheme) :].startswith("://"):
            return "network"
        raise UsageError(f"url: expected {EXPECTED}, got {self.redacted()}")

    @property
    def finite(self) -> bool:
        """Whether the end of the data is the end of the source, not a fault."""
        return self.kind == "pipe" or (self.kind == "file" and not self.loop)

    def redacted(self) -> str:
        """The address without user, password and query: the only form that may be logged or sent."""
        return _redact(self.url)

    def address(self) -> str:
        """The address with user and password, for FFmpeg alone.

        Raises
        ------
        UsageError
            The environment variable of the password is not set.
        """
        if self.username is None:
            return self.url
        user = quote(self.username, safe="")
        if self.password_env is not None:
            password = os.environ.get(self.password_env)
            if password is None:
                raise UsageError(f"password_env: the environment variable {self.password_env} is not set")
            user += ":" + quote(password, safe="")
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{user}@{rest}"

    def scrub(self, text: str) -> str:
        """`text` without address, user and password, whatever wrote it."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return re.sub(r"(\w+://)[^\s'\"]*@", r"\1", SECRET_NAMES.sub(r"\1…", text))

    def _secrets(self) -> set[str]:
        if self.kind != "network":
            return set()
        parts = urlsplit(self.url)
        found = {self.url, parts.query, parts.netloc.rpartition("@")[0], parts.password}
        # A short name is part of many words, and no secret by itself.
        found |= {name for name in (parts.username, self.username) if name and len(name) > 3}
        if self.password_env is not None:
            found.add(os.environ.get(self.password_env))
        raw = {secret for secret in found if secret}
        return raw | {unquote(secret) for secret in raw} | {quote(secret, safe="") for secret in raw}


def _redact(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    # Up to the last @, even where it is part of a path: rather too much than a piece of a password.
    rest = rest.rpartition("@")[2]
    path, question, _ = rest.partition("?")
    path = path.partition("#")[0]
    return f"{scheme}://{_mask(path)}{'?…' if question else ''}"


def _mask(text: str) -> str:
    return SECRET_NAMES.sub(r"\1…", text)
