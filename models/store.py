"""Where the model files lie, which are missing, and whether they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from auflow.errors import ModelError
from auflow.models.manifest import ModelFile, load_ceclm_files, load_manifest, sha256_of

__all__ = [
    "damage_of",
    "default_root",
    "missing_ceclm_files",
    "missing_files",
    "originals",
    "path_of",
    "require",
    "require_ceclm",
    "state_of",
    "verify_ceclm_files",
    "verify_files",
]

_SHOWN = 10  # of the wrong files in a message


def default_root() -> Path:
    """`$OPENFACE_MODELS_DIR`, or `OpenFaceModels` in the platform's user data folder."""
    chosen = os.environ.get("OPENFACE_MODELS_DIR")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return Path(user_data_path("OpenFaceModels", appauthor=False))


def originals(root: Path) -> Path:
    """The folder below `root` that mirrors OpenFace's repository."""
    return root / "2.2.0" / "originals"


def path_of(root: Path, file: ModelFile) -> Path:
    """Where the store at `root` keeps one file."""
    return originals(root).joinpath(*PurePosixPath(file.path).parts)


def missing_files(root: Path) -> list[str]:
    """Paths (relative to `originals(root)`) of the needed files that are not there, in the manifest's order."""
    return [file.path for file in load_manifest() if file.needed and not path_of(root, file).is_file()]


def missing_ceclm_files(root: Path) -> list[str]:
    """Paths of the files that only CE-CLM needs and that are not there."""
    return [extra.file.path for extra in load_ceclm_files() if not path_of(root, extra.file).is_file()]


def damage_of(root: Path, file: ModelFile) -> str | None:
    """What is wrong with one file of the store (with expected and found hash), or None."""
    path = path_of(root, file)
    if not path.is_file():
        return f"{path}: missing"
    try:
        found = sha256_of(path)
        size = path.stat().st_size
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    if found == file.sha256:
        return None
    return (
        f"{path}: damaged\n"
        f"  expected SHA-256 {file.sha256} ({file.size} bytes)\n"
        f"  found    SHA-256 {found} ({size} bytes)"
    )


def state_of(root: Path, file: ModelFile, *, full: bool = False) -> Literal["present", "missing", "damaged"]:
    """Whether one file of the store is there and whole: by its size, with `full` by its SHA-256 too."""
    path = path_of(root, file)
    if not path.is_file():
        return "missing"
    whole = path.stat().st_size == file.size and not (full and damage_of(root, file))
    return "present" if whole else "damaged"


def verify_files(root: Path) -> None:
    """Every needed file must be there with its SHA-256; a licence text may be missing but not be another.

    Reads 18.5 MB.

    Raises
    ------
    ModelError
        naming each wrong file with its expected and found hash, and the command that mends it
    """
    present = (file for file in load_manifest() if file.needed or path_of(root, file).is_file())
    _refuse_damage(root, present, "auflow models fetch --accept-license")


def verify_ceclm_files(root: Path) -> int:
    """Those files of CE-CLM that are there must have their SHA-256; how many there are.

    Reads up to 432 MB.

    Raises
    ------
    ModelError
    """
    present = [extra.file for extra in load_ceclm_files() if path_of(root, extra.file).is_file()]
    _refuse_damage(root, present, "auflow models fetch --with-ceclm --accept-license")
    return len(present)


def _refuse_damage(root: Path, expected: Iterable[ModelFile], command: str) -> None:
    problems = [problem for file in expected if (problem := damage_of(root, file)) is not None]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        mend = f"type `{command}`: it fetches only what is missing or damaged"
        raise ModelError("\n".join([*problems[:_SHOWN], *more, mend]))


def require(root: Path) -> None:
    """Refuse to start without a complete and undamaged store.

    Raises
    ------
    ModelError
        three lines that say what to type where files are missing; what `verify_files` says where one is damaged
    """
    missing = missing_files(root)
    if missing:
        raise ModelError(
            f"{len(missing)} of {sum(file.needed for file in load_manifest())} OpenFace model files are not in {root}\n"
            "type `auflow models fetch` to read their licence (academic and non-profit research only), then\n"
            "type `auflow models fetch --accept-license` to download them (19 MB), or set OPENFACE_MODELS_DIR"
        )
    verify_files(root)


def require_ceclm(root: Path) -> None:
    """Refuse to start CE-CLM without a complete and undamaged store.

    Raises
    ------
    ModelError
    """
    require(root)
    missing = missing_ceclm_files(root)
    if missing:
        raise ModelError(
            f"{len(missing)} of {len(load_ceclm_files())} files of CE-CLM are not in {root}\n"
            "type `auflow models fetch --with-ceclm --accept-license` to download them (432 MB)"
        )
    verify_ceclm_files(root)
