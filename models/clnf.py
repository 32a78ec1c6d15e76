"""The whole CLNF model, as OpenFace's menu files put it together."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.ccnf import read_ccnf_patches
from auflow.models.pdm import read_pdm, read_triangulation
from auflow.models.store import originals
from auflow.models.text import read_text
from auflow.models.types import ClnfModels, LandmarkModel, Part
from auflow.models.validator import read_validator

__all__ = [
    "CLNF_MENU",
    "check_mapping",
    "load_clnf_models",
    "menu_target",
    "read_landmark_model",
    "read_menu",
    "read_part",
]

CLNF_MENU = "lib/local/LandmarkDetector/model/main_clnf_general.txt"


def load_clnf_models(root: Path) -> ClnfModels:
    """Everything a CLNF fit needs, from the store at `root` (the folder that holds `2.2.0/originals`).

    Follows main_clnf_general.txt and the menus that it names.

    Raises
    ------
    ModelError
    """
    path = originals(root) / CLNF_MENU
    main: tuple[LandmarkModel, tuple[NDArray[np.int32], ...]] | None = None
    validator = None
    parts: list[Part] = []
    for key, words in read_menu(path):
        target = menu_target(path, key, words)
        if key == "LandmarkDetector":
            main = read_landmark_model(target)
        elif key == "LandmarkDetector_part":
            parts.append(read_part(path, target, words))
        elif key == "DetectionValidator":
            validator = read_validator(target)
        elif key != "FaceDetConversion":  # the start from a Haar face box, which auflow does not use
            raise ModelError(f"{path}: expected LandmarkDetector(_part) or DetectionValidator, got {key}")
    if main is None or validator is None:
        raise ModelError(f"{path}: expected a LandmarkDetector and a DetectionValidator line")
    model, triangulations = main
    for part in parts:
        check_mapping(path, part, model.pdm.points)
    return ClnfModels(model, tuple(parts), validator, triangulations)


def read_landmark_model(path: Path) -> tuple[LandmarkModel, tuple[NDArray[np.int32], ...]]:
    """A shape model with CCNF patch experts from its menu, and its triangulations (empty where it has none)."""
    pdm = None
    patches = []
    triangulations: tuple[NDArray[np.int32], ...] = ()
    for key, words in read_menu(path):
        target = menu_target(path, key, words)
        if key == "PDM":
            pdm = read_pdm(target)
        elif key == "PatchesCCNF":
            patches.append(read_ccnf_patches(target))
        elif key == "Triangulations":
            triangulations = read_triangulation(target)
        else:
            raise ModelError(f"{path}: expected PDM, Triangulations or PatchesCCNF, got {key}")
    if pdm is None or not patches:
        raise ModelError(f"{path}: expected a PDM line and at least one PatchesCCNF line")
    for scale in patches:
        if scale.visibilities.shape[1] != pdm.points:
            raise ModelError(
                f"{path}: expected patch experts of the PDM's {pdm.points} points, "
                f"got {scale.visibilities.shape[1]} at scale {scale.scale}"
            )
    return LandmarkModel(pdm, tuple(patches)), triangulations


def read_menu(path: Path) -> list[tuple[str, list[str]]]:
    """The lines of a menu file as (key, words after it)."""
    lines = (line.split() for line in read_text(path).splitlines())
    return [(words[0], words[1:]) for words in lines if words]


def menu_target(menu: Path, key: str, words: list[str]) -> Path:
    """The file that a line of a menu names, below the menu's folder."""
    if not words:
        raise ModelError(f"{menu}: {key}: expected a file name after it, got the end of the line")
    relative = PurePosixPath(words[0])
    if relative.is_absolute() or ".." in relative.parts:
        raise ModelError(f"{menu}: {key}: expected a file below the menu's folder, got {words[0]}")
    return menu.parent.joinpath(*relative.parts)


def read_part(menu: Path, target: Path, words: list[str]) -> Part:
    """One part: its own menu, its name, then pairs of main landmark and part landmark."""
    if len(words) < 4 or len(words) % 2:
        raise ModelError(f"{menu}: LandmarkDetector_part: expected a file, a name and pairs, got {len(words)} words")
    try:
        mapping = np.array([int(word) for word in words[2:]], np.int32).reshape(-1, 2)
    except ValueError as error:
        raise ModelError(f"{menu}: LandmarkDetector_part {words[1]}: expected landmark indices: {error}") from error
    mapping.flags.writeable = False
    inner = [(key, rest) for key, rest in read_menu(target) if key == "LandmarkDetector"]
    if len(inner) != 1:
        raise ModelError(f"{target}: expected one LandmarkDetector line, got {len(inner)}")
    model, _ = read_landmark_model(menu_target(target, *inner[0]))
    return Part(words[1], mapping, model)


def check_mapping(menu: Path, part: Part, points: int) -> None:
    """The part's landmarks must be landmarks of the main model and of its own, each once."""
    for column, (whose, limit) in enumerate((("the main model", points), ("the part", part.model.pdm.points))):
        indices = part.mapping[:, column]
        if indices.min() < 0 or indices.max() >= limit or np.unique(indices).size != indices.size:
            raise ModelError(
                f"{menu}: part {part.name}: expected landmarks of {whose} once each, 0 to {limit - 1}, "
                f"got {indices.tolist()}"
            )
