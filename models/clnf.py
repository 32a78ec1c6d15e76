"""The whole CLNF model, as OpenFace's menu files put it together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from auflow.models.ccnf import read_ccnf_patches
from auflow.models.menu import MenuLine, read_menu
from auflow.models.pdm import read_pdm, read_triangulation
from auflow.models.store import originals
from auflow.models.text import damaged
from auflow.models.types import I32, PDM, CcnfPatches, ClnfModels, LandmarkModel, Part, Validator
from auflow.models.validator import read_validator

__all__ = ["CLNF_MENU", "Scale", "check_scales", "load_clnf_models", "read_landmark_model", "read_main_menu"]

CLNF_MENU = "lib/local/LandmarkDetector/model/main_clnf_general.txt"


class HasPdm(Protocol):
    """What a landmark model of any kind has."""

    @property
    def pdm(self) -> PDM: ...


class Scale(Protocol):
    """What the patch experts of one scale have, whatever their kind."""

    @property
    def scale(self) -> float: ...


ModelT = TypeVar("ModelT", bound=HasPdm)


def load_clnf_models(root: Path) -> ClnfModels:
    """Everything a CLNF fit needs, from the store at `root` (the folder that holds `2.2.0/originals`).

    Follows main_clnf_general.txt and the menus that it names.

    Raises
    ------
    ModelError
    """
    model, parts, validator, triangulations = read_main_menu(originals(root) / CLNF_MENU, read_landmark_model)
    return ClnfModels(model, parts, validator, triangulations)


def read_main_menu(
    path: Path, read_model: Callable[[Path], tuple[ModelT, tuple[I32, ...]]]
) -> tuple[ModelT, tuple[Part, ...], Validator, tuple[I32, ...]]:
    """The model, its parts, the validator and the triangulations of a main menu; they fit together.

    Parameters
    ----------
    read_model : reads the menu of the main model

    Raises
    ------
    ModelError
    """
    main: tuple[ModelT, tuple[I32, ...]] | None = None
    validator: Validator | None = None
    parts: list[Part] = []
    # FaceDetConversion is the start from a Haar face box, which auflow does not use.
    once = ("LandmarkDetector", "DetectionValidator", "FaceDetConversion")
    for line in read_menu(path, once=once, many=("LandmarkDetector_part",)):
        if line.key == "LandmarkDetector":
            main = read_model(line.target)
        elif line.key == "LandmarkDetector_part":
            parts.append(_read_part(path, line))
        elif line.key == "DetectionValidator":
            validator = read_validator(line.target)
    if main is None or validator is None:
        raise damaged(path, "expected a LandmarkDetector and a DetectionValidator line")
    model, triangulations = main
    for part in parts:
        _check_mapping(path, part, model.pdm.points)
    if len({part.name for part in parts}) != len(parts):
        raise damaged(path, f"expected parts of different names, got {[part.name for part in parts]}")
    for view in validator.views:
        if view.warp.destination_landmarks.size != 2 * model.pdm.points:
            raise damaged(
                path,
                f"expected a validator of the PDM's {model.pdm.points} points, "
                f"got {view.warp.destination_landmarks.size // 2}",
            )
    return model, tuple(parts), validator, triangulations


def read_landmark_model(path: Path) -> tuple[LandmarkModel, tuple[I32, ...]]:
    """A shape model with CCNF patch experts from its menu, and its triangulations (empty where it has none)."""
    pdm: PDM | None = None
    patches: list[CcnfPatches] = []
    triangles: Path | None = None
    for line in read_menu(path, once=("PDM", "Triangulations"), many=("PatchesCCNF",)):
        if line.key == "PDM":
            pdm = read_pdm(line.target)
        elif line.key == "PatchesCCNF":
            patches.append(read_ccnf_patches(line.target))
        else:
            triangles = line.target
    if pdm is None or not patches:
        raise damaged(path, "expected a PDM line and at least one PatchesCCNF line")
    check_scales(path, patches)
    for scale in patches:
        if scale.visibilities.shape[1] != pdm.points:
            raise damaged(
                path,
                f"expected patch experts of the PDM's {pdm.points} points, "
                f"got {scale.visibilities.shape[1]} at scale {scale.scale}",
            )
    triangulations = read_triangulation(triangles, points=pdm.points) if triangles else ()
    return LandmarkModel(pdm, tuple(patches)), triangulations


def check_scales(menu: Path, patches: Sequence[Scale]) -> None:
    """Each scale may come once.

    Raises
    ------
    ModelError
    """
    scales = [scale.scale for scale in patches]
    if len(set(scales)) != len(scales):
        raise damaged(menu, f"expected patch experts of different scales, got {scales}")


def _read_part(menu: Path, line: MenuLine) -> Part:
    """One part: its own menu, its name, then pairs of main landmark and part landmark."""
    words = line.words
    if len(words) < 4 or len(words) % 2:
        raise damaged(menu, f"LandmarkDetector_part: expected a file, a name and pairs, got {len(words)} words")
    try:
        mapping = np.array([int(word) for word in words[2:]], np.int32).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise damaged(menu, f"LandmarkDetector_part {words[1]}: expected landmark indices: {error}") from error
    mapping.flags.writeable = False
    inner = read_menu(line.target, once=("LandmarkDetector",))
    if len(inner) != 1:
        raise damaged(line.target, f"expected one LandmarkDetector line, got {len(inner)}")
    model, _ = read_landmark_model(inner[0].target)
    return Part(words[1], mapping, model)


def _check_mapping(menu: Path, part: Part, points: int) -> None:
    """The part's landmarks must be landmarks of the main model and of its own, each once."""
    for column, (whose, limit) in enumerate((("the main model", points), ("the part", part.model.pdm.points))):
        indices = part.mapping[:, column]
        if indices.min() < 0 or indices.max() >= limit or np.unique(indices).size != indices.size:
            raise damaged(
                menu,
                f"part {part.name}: expected landmarks of {whose} once each, 0 to {limit - 1}, got {indices.tolist()}",
            )
