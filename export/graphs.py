"""Every graph that is exported: how it is built, and how it is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from auflow.backends.base import Network
from auflow.export.checks import Deviation, check_ccnf, check_cen, check_fhog, check_heads, check_mtcnn
from auflow.models.au_heads import load_au_heads
from auflow.models.ceclm import load_ceclm_models
from auflow.models.clnf import load_clnf_models
from auflow.models.mtcnn import FOLDER, LAYOUTS, read_network
from auflow.models.onnx.ccnf import build_ccnf_graph
from auflow.models.onnx.cen import build_cen_graph
from auflow.models.onnx.fhog import build_fhog_graph
from auflow.models.onnx.graph import OnnxModel
from auflow.models.onnx.heads import build_heads_graph
from auflow.models.onnx.mtcnn import build_graph
from auflow.models.store import originals
from auflow.models.types import LandmarkModel
from auflow.stages.clnf.ceclm import CEN_WINDOWS
from auflow.stages.clnf.face_model import windows_of

__all__ = ["GROUPS", "Export", "exports"]


@dataclass(frozen=True, slots=True)
class Export:
    """One graph."""

    name: str  # of the file, without its ending
    about: str
    build: Callable[[], OnnxModel]
    check: Callable[[Network], Deviation]


def _mtcnn(models_root: Path) -> Iterator[Export]:
    for name, layout in LAYOUTS.items():
        layers = read_network(originals(models_root) / FOLDER / f"{name}.dat", layout)
        yield Export(
            f"mtcnn_{name.lower()}", f"{name} of MTCNN, the face detector",
            partial(build_graph, layers, name), partial(check_mtcnn, layers=layers, name=name),
        )  # fmt: skip


def _ccnf(models_root: Path) -> Iterator[Export]:
    models = load_clnf_models(models_root)
    parts: list[tuple[str | None, LandmarkModel]] = [(None, models.main)]
    for part, model in (*parts, *((each.name, each.model) for each in models.parts)):
        for patches, window in zip(model.patches, windows_of(part), strict=False):  # there are windows for more scales
            whose, scale = part or "main", f"{patches.scale:g}"
            name = f"ccnf_{whose}_{scale}"
            yield Export(
                name, f"CCNF response maps of the {whose} model at scale {scale}, {window} x {window}",
                partial(build_ccnf_graph, patches, window, name),
                partial(check_ccnf, patches=patches, window=window),
            )  # fmt: skip


def _cen(models_root: Path) -> Iterator[Export]:
    """A graph for each view: with the experts of all in one, each call would gather 50 MB of weights."""
    for patches, window in zip(load_ceclm_models(models_root).main.patches, CEN_WINDOWS, strict=True):
        for view in range(len(patches.experts)):
            scale = f"{patches.scale:g}"
            yield Export(
                f"cen_main_{scale}_view{view}",
                f"CE-CLM response maps at scale {scale}, view {view}, {window} x {window}",
                partial(build_cen_graph, patches, view, window),
                partial(check_cen, patches=patches, view=view, window=window),
            )


def _heads(models_root: Path) -> Iterator[Export]:
    for static in (False, True):
        heads = load_au_heads(models_root, static=static)
        name = "au_heads_static" if static else "au_heads"
        about = "all AU heads for single pictures" if static else "all AU heads for videos"
        yield Export(
            name, about, partial(build_heads_graph, heads, name),
            partial(check_heads, heads=heads, models_root=models_root),
        )  # fmt: skip


def _fhog(_models_root: Path) -> Iterator[Export]:
    yield Export("fhog", "FHOG of aligned faces, for devices that keep them", build_fhog_graph, check_fhog)


GROUPS: dict[str, Callable[[Path], Iterator[Export]]] = {
    "mtcnn": _mtcnn,
    "ccnf": _ccnf,
    "fhog": _fhog,
    "heads": _heads,
    "cen": _cen,
}


def exports(models_root: Path, groups: tuple[str, ...]) -> Iterator[Export]:
    """The graphs of these groups, read and built one after the other.

    Raises
    ------
    ModelError
        A model file is missing or damaged.
    """
    for group in groups:
        yield from GROUPS[group](models_root)
