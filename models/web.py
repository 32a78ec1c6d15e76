"""One file over HTTP: time-outs, retries, and the rest of a `.part` by Range where the server allows it."""

from __future__ import annotations

import errno
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auflow.errors import ModelError
from auflow.models.install import HashMismatch, adopt, part_of
from auflow.models.manifest import ModelFile

__all__ = ["NoConnection", "NotThere", "Patience", "download", "probe"]

_CHUNK = 1 << 16
_ATTEMPTS = 4
_AGENT = {"User-Agent": "auflow-models/1 (+urllib)"}
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may be another one in a moment

_DISK = frozenset({errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS})


class NoConnection(ModelError):
    """The server does not answer, or breaks off again and again."""


class NotThere(ModelError):
    """The server answers, but has not this file, or has another."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Time-outs of one download, seconds."""

    read_s: float
    pause_s: float


def probe(url: str, limit_s: float) -> str | None:
    """Whether a server answers at all within `limit_s`: None, or the reason why not.

    Runs in a thread of its own, since looking up a name has no time-out.
    """
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(_request(url, 0), timeout=limit_s):
                outcome.append(None)
        except urllib.error.HTTPError as error:
            with error:
                # 404 is an answer of the server; 403 and 407 come from proxies that let nothing through.
                outcome.append(f"HTTP {error.code} {error.reason}" if error.code in (403, 407) else None)
        except (OSError, http.client.HTTPException) as error:
            outcome.append(_reason(error))

    thread = threading.Thread(target=ask, name="auflow-probe", daemon=True)
    thread.start()
    thread.join(limit_s)
    return outcome[0] if outcome else f"no answer within {limit_s:g} s"


def download(root: Path, file: ModelFile, url: str, patience: Patience, on_bytes: Callable[[int], None]) -> None:
    """Fetch one file from `url` into the store; an interrupted one goes on where it stopped.

    Raises
    ------
    NoConnection
    NotThere
        where the server says so, or its bytes have another SHA-256 even when fetched anew
    """
    part = part_of(root, file)
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
        resumed = part.is_file() and 0 < part.stat().st_size <= file.size
        try:
            _transfer(url, part, file, patience, on_bytes)
            adopt(root, file, part)
        except HashMismatch as error:
            if not resumed:  # what lay there before may be wrong: once more from zero
                raise NotThere(f"{url} gives another file: {error}") from error
            reason = str(error)
        except urllib.error.HTTPError as error:
            with error:
                reason = f"HTTP {error.code} {error.reason}"
            if error.code == 416 and resumed:  # our part is longer than the server's file: once more from zero
                part.unlink()
            elif error.code not in _PASSING:
                raise NotThere(f"{url}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            reason = _reason(error)
        else:
            return
    raise NoConnection(f"{url}: given up after {_ATTEMPTS} attempts: {reason}")


def _request(url: str, start: int) -> urllib.request.Request:
    headers = dict(_AGENT, Range=f"bytes={start}-") if start else dict(_AGENT)
    return urllib.request.Request(url, headers=headers)


def _transfer(url: str, part: Path, file: ModelFile, patience: Patience, on_bytes: Callable[[int], None]) -> None:
    """Bring `part` to the file's full size; OSError or HTTPException where the connection breaks."""
    start = part.stat().st_size if part.is_file() else 0
    if start >= file.size:
        if start == file.size:
            return
        part.unlink()
        start = 0
    with urllib.request.urlopen(_request(url, start), timeout=patience.read_s) as answer:
        if start and not _continues(answer, start):
            start = 0
        with part.open("ab" if start else "wb") as stream:
            done = start
            # One byte more than expected is enough to know that it is another file.
            while chunk := answer.read(min(_CHUNK, file.size + 1 - done)):
                stream.write(chunk)
                done += len(chunk)
                on_bytes(min(done, file.size))
        promised = answer.headers.get("Content-Length")
        if done < file.size and promised is not None and done - start < int(promised):
            raise http.client.IncompleteRead(b"", file.size - done)


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends the rest from byte `start` (206), not the whole file again (200)."""
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__
