"""Where the profile lies, how it is written whole or not at all, and whether the one that is there holds good here."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from auflow.errors import OutputError, UsageError
from auflow.profiles.machine import difference, these_versions, this_machine
from auflow.profiles.profile import Profile, read_profile
from auflow.whole_file import write_whole

__all__ = ["NONE", "Loaded", "check_place", "default_place", "load_profile", "read_file", "save_profile"]

NONE = "none"  # in place of a file: no profile
_VARIABLE = "AUFLOW_PROFILE"
_NAME = "profile.json"
_LARGEST = 1 << 20  # bytes
_NVIDIA = ("ort-cuda", "ort-tensorrt", "tensorrt")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of looking for a profile."""

    profile: Profile | None  # that holds good here
    path: Path | None  # of the file; None where none is wanted
    ignored: str = ""  # why one that is there is not used: a sentence for the user; "" where there is none


def default_place(environ: Mapping[str, str] | None = None) -> Path | None:
    """`$AUFLOW_PROFILE`, or `profile.json` in the user's configuration folder; None where the variable says "none"."""
    environ = os.environ if environ is None else environ
    if (given := environ.get(_VARIABLE)) == NONE:
        return None
    if given:
        return Path(given).expanduser()
    from platformdirs import user_config_path

    return Path(user_config_path("auflow", appauthor=False)) / _NAME


def load_profile(asked: str | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """The profile that `run` and `serve` are to use.

    One that nobody asked for by name and that is damaged, of another machine or of other versions is ignored, with the
    reason.

    Parameters
    ----------
    asked : path of a profile, or "none"; None is the default place
    environ : default this process's environment

    Raises
    ------
    UsageError
        The file that was asked for is not there, damaged, or does not hold good here.
    """
    if asked == NONE:
        return Loaded(None, None)
    path = default_place(environ) if asked is None else Path(asked).expanduser()
    if path is None:
        return Loaded(None, None)
    if asked is None and not os.path.exists(path):  # False too where nobody may look
        environ = os.environ if environ is None else environ
        named = bool(environ.get(_VARIABLE))
        return Loaded(
            None, path, f"{_VARIABLE}: there is no profile at {path}; `auflow tune CLIP` makes one" if named else ""
        )
    try:
        profile = read_file(path)
    except ValueError as error:
        why = f"{path}: the profile cannot be used: {error}"
    else:
        if (foreign := _foreign(profile)) is None:
            return Loaded(profile, path)
        why = f"{path}: the profile does not hold good here: {foreign}"
    why += "; run `auflow tune CLIP` to measure anew"
    if asked is not None:
        raise UsageError(f"--profile: {why}, or give --profile none")
    return Loaded(None, path, why)


def read_file(path: Path) -> Profile:
    """The profile in a file, wherever it was measured.

    Raises
    ------
    ValueError
        It cannot be read, or is no profile; the message is half a sentence.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from error
    if len(content) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    return read_profile(document)


def save_profile(profile: Profile, path: Path) -> None:
    """Write it in place of the one that was there: whole, or not at all.

    Raises
    ------
    OutputError
        It cannot be written there.
    """
    text = json.dumps(profile.as_dict(), indent=1, allow_nan=False) + "\n"
    path = path.resolve()  # the file that a link means, not the link, is replaced
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def check_place(path: Path) -> None:
    """Refuse a place where no profile can be written: before minutes are spent on measuring one.

    Raises
    ------
    OutputError
    """
    probe = path.resolve().with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        probe.parent.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"\0")  # only writing tells: permission bits know nothing of read-only file systems
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def _cannot_be_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: the profile cannot be written: {error.strerror}; choose another place with --profile")


def _foreign(profile: Profile) -> str | None:
    """Why a profile does not hold good here, None where it does."""
    # NVIDIA's library is loaded only where the answer matters: a GPU that nothing was chosen for changes nothing.
    on_gpu = any(backend in _NVIDIA for backend in profile.backends.values())
    machine = this_machine(with_gpus=on_gpu)
    if not on_gpu:
        machine = replace(machine, gpus=profile.machine.gpus)
    return difference(profile.versions, these_versions()) or difference(profile.machine, machine)
