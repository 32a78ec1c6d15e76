"""The whole CE-CLM model, as OpenFace's menu files put it together, and the rule that ends its search early."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auflow.models.cen import CenPatches, read_cen_patches
from auflow.models.clnf import check_scales, read_main_menu
from auflow.models.menu import read_menu
from auflow.models.pdm import read_pdm, read_triangulation
from auflow.models.store import originals
from auflow.models.text import damaged, read_text
from auflow.models.types import F64, I32, PDM, Part, Validator

__all__ = ["CECLM_MENU", "CeclmModels", "CenModel", "EarlyTermination", "load_ceclm_models", "read_early_termination"]

CECLM_MENU = "lib/local/LandmarkDetector/model/main_ceclm_general.txt"


@dataclass(frozen=True, slots=True)
class EarlyTermination:
    """When a start is good enough that no other is tried: `weight * likelihood + bias > cutoff` of its view."""

    weights: F64  # (v,)
    biases: F64  # (v,)
    cutoffs: F64  # (v,)

    def score(self, likelihood: float, view: int) -> float:
        """The likelihood of a fit that used this view, made comparable between views."""
        return float(self.weights[view] * likelihood + self.biases[view])

    def passes(self, score: float, view: int) -> bool:
        """Whether a start of this score and view is taken without trying the others."""
        return bool(score > self.cutoffs[view])


@dataclass(frozen=True, slots=True)
class CenModel:
    """A shape model, its CEN patch experts (one entry per scale in the file's order), and the early termination."""

    pdm: PDM
    patches: tuple[CenPatches, ...]
    early_termination: EarlyTermination


@dataclass(frozen=True, slots=True)
class CeclmModels:
    """Everything that a CE-CLM fit needs."""

    main: CenModel
    parts: tuple[Part, ...]  # in the menu's order: left_eye_28, right_eye_28
    validator: Validator
    triangulations: tuple[I32, ...]  # (t, 3) landmark indices per view, in the validator's order of views


def load_ceclm_models(root: Path) -> CeclmModels:
    """Everything a CE-CLM fit needs, from the store at `root` (the folder that holds `2.2.0/originals`).

    Follows main_ceclm_general.txt and the menus that it names.

    Raises
    ------
    ModelError
    """
    model, parts, validator, triangulations = read_main_menu(originals(root) / CECLM_MENU, _read_cen_model)
    return CeclmModels(model, parts, validator, triangulations)


def read_early_termination(path: Path) -> EarlyTermination:
    """The rule of a text file: all weights, then all biases, then all cut-offs, one of each per view.

    Raises
    ------
    ModelError
    """
    words = read_text(path).split()
    try:
        values = np.array([float(word) for word in words], np.float64)
    except ValueError as error:
        raise damaged(path, f"expected numbers: {error}") from error
    if not values.size or values.size % 3 or not np.isfinite(values).all():
        raise damaged(path, f"expected three finite numbers per view, got {values.size}")
    values.flags.writeable = False
    weights, biases, cutoffs = values.reshape(3, -1)
    return EarlyTermination(weights, biases, cutoffs)


def _read_cen_model(path: Path) -> tuple[CenModel, tuple[I32, ...]]:
    pdm: PDM | None = None
    rule: EarlyTermination | None = None
    triangles: Path | None = None
    patches: list[CenPatches] = []
    for line in read_menu(path, once=("PDM", "Triangulations", "EarlyTermination"), many=("PatchesCEN",)):
        if line.key == "PDM":
            pdm = read_pdm(line.target)
        elif line.key == "PatchesCEN":
            patches.append(read_cen_patches(line.target))
        elif line.key == "EarlyTermination":
            rule = read_early_termination(line.target)
        else:
            triangles = line.target
    if pdm is None or rule is None or not patches:
        raise damaged(path, "expected a PDM, an EarlyTermination and at least one PatchesCEN line")
    check_scales(path, patches)
    for scale in patches:
        if scale.visibilities.shape != (rule.weights.size, pdm.points):
            raise damaged(
                path,
                f"expected {rule.weights.size} views (of the early termination) of {pdm.points} points "
                f"(of the PDM), got {scale.visibilities.shape} at scale {scale.scale}",
            )
    triangulations = read_triangulation(triangles, points=pdm.points) if triangles else ()
    return CenModel(pdm, tuple(patches), rule), triangulations
