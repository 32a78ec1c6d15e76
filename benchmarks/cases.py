"""The calls that are measured one by one: those that the stages make of their kernels for a real face.

A face is followed through the first frames of a clip. The calls made on the first and on the last of them are kept
with their arguments, ready to be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.benchmarks import arithmetic
from auflow.benchmarks.patching import replaced
from auflow.errors import InputError
from auflow.models.au_heads import load_au_heads
from auflow.models.clnf import load_clnf_models
from auflow.models.types import CcnfPatches, CcnfPatchExpert, ClnfModels
from auflow.stages.au import align, features
from auflow.stages.clnf import face_model, nu_rlms_kernels, patch_kernels, response_kernels
from auflow.stages.clnf.face_model import FaceModel
from auflow.stages.clnf.fitter import LandmarkFitter
from auflow.stages.clnf.tracker import FaceTracker, best_start
from auflow.stages.clnf.validator import LandmarkValidator
from auflow.stages.decode import open_source
from auflow.stages.detect import MtcnnDetector
from auflow.stages.detect.boxes import level_size_px, normalised_patches, pyramid_scales
from auflow.stages.detect.mtcnn import choose, refine

__all__ = ["Case", "cases_of"]

FRAMES = 12  # the face is measured on the last of them ...
SEARCHED = 90  # ... counted from the first of so many in which there is one
SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))


@dataclass(frozen=True, slots=True)
class Case:
    """One call to be measured."""

    name: str
    call: Callable[[], object]
    flop: int | None = None  # of one call, see `auflow.benchmarks.arithmetic`
    bytes: int | None = None  # that it must read and write, where this bounds it


@dataclass(slots=True)
class Scene:
    """A face that is being followed, and what the stages did on its last frame."""

    models: ClnfModels
    model: FaceModel
    detector: MtcnnDetector
    bgr: NDArray[np.uint8]
    first: dict[str, list[Call]] = field(default_factory=dict)  # calls of its first fits, from a detected box
    tracked: dict[str, list[Call]] = field(default_factory=dict)  # calls of its last frame
    box: NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))
    landmarks_px: NDArray[np.float32] = field(default_factory=lambda: np.zeros(136, np.float32))

    @property
    def gray(self) -> NDArray[np.float32]:
        """The last frame as CLNF sees it."""
        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made, with its arguments as they were."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: Any

    def again(self, changed: Sequence[int] = ()) -> Callable[[], Any]:
        """The same call; the arrays at the places `changed`, which it writes to, are as before each time."""
        arguments = [np.copy(value) if place in changed else value for place, value in enumerate(self.arguments)]
        if not changed:
            return partial(self.function, *arguments)
        pairs = [(arguments[place], self.arguments[place]) for place in changed]

        def call() -> Any:
            for array, before in pairs:
                array[:] = before
            return self.function(*arguments)

        return call


def cases_of(clip: Path, models_root: Path) -> list[Case]:
    """Everything that is measured, ready to be called.

    Raises
    ------
    InputError
    ModelError
    """
    scene = _follow(clip, models_root)
    return [
        *_landmark_kernels(scene),
        *_fits(scene),
        *_descriptor(scene, models_root),
        *_detections(scene),
    ]


# The face


def _follow(clip: Path, models_root: Path) -> Scene:
    models = load_clnf_models(models_root)
    with open_source(clip) as source:
        info = source.info
        bgr = np.empty((info.height_px, info.width_px, 3), np.uint8)
        scene = Scene(models, FaceModel(models), MtcnnDetector(models_root), bgr)
        tracker = FaceTracker(scene.model)
        last = SEARCHED
        for number in range(SEARCHED + FRAMES):
            if number == last or source.read_into(bgr) is None:
                break
            with _recording() as calls:
                found = tracker.process(scene.gray, partial(scene.detector.detect, bgr))
            if found.success and not scene.first:
                scene.first, last = calls, number + FRAMES
                scene.box = scene.detector.detect(bgr)[0, :4]
            elif found.success:
                scene.tracked, scene.landmarks_px = calls, found.state.landmarks_px
        else:
            last = SEARCHED
    if not scene.tracked:
        raise InputError(
            f"{clip}: no face could be followed in the first {SEARCHED} frames, and kernels are measured on a face; "
            "give another clip, or leave the kernels out with --only stages,run"
        )
    return scene


@contextmanager
def _recording() -> Iterator[dict[str, list[Call]]]:
    """Keep every call that the stages make of their kernels, by the kernel's name."""
    calls: dict[str, list[Call]] = {}
    with ExitStack() as stack:
        for owner, name in (
            (nu_rlms_kernels, "fit_scale"),
            (face_model, "calc_params"),
            (LandmarkValidator, "check"),
            (align.FaceAligner, "align"),
            (features, "fhog"),
        ):
            keeper = _keeper(getattr(owner, name), calls.setdefault(name, []))
            stack.enter_context(replaced(owner, name, keeper))
        yield calls


def _keeper(function: Callable[..., Any], kept: list[Call]) -> Callable[..., Any]:
    def keep(*arguments: Any) -> Any:
        before = tuple(value.copy() if isinstance(value, np.ndarray) else value for value in arguments)
        result = function(*arguments)
        kept.append(Call(function, before, result))
        return result

    return keep


# The cases


@dataclass(frozen=True, slots=True)
class Scale:
    """One scale of a model, as it was fitted: the start of it, and response maps around the points there."""

    name: str  # part, scale and window
    call: Call  # of `fit_scale`
    experts: tuple[CcnfPatchExpert | None, ...]
    points_px: NDArray[np.float32]
    turns: tuple[NDArray[np.float32], NDArray[np.float32]]  # image to reference frame, and back

    @property
    def window(self) -> int:
        """Side of the search window."""
        return int(self.call.arguments[8])

    def response_maps(self) -> Callable[[], None]:
        """A call that fills the response maps."""
        gray, _, _, experts, sigma, scratch, *_, maps, _, _ = self.call.arguments
        return partial(
            response_kernels.response_maps, gray, self.points_px, self.turns[1], experts, sigma, scratch, maps
        )

    def optimisation(self, step: int, params: tuple[Any, Any]) -> Call:
        """The rigid (0) or the non-rigid (1) optimisation from these parameters."""
        _, pdm, _, _, _, _, visible, weights, window, table, settings, (_, _, memory), maps, _, _ = self.call.arguments
        shifting, *steps, places, shape = memory
        work = (shifting, steps[step], places, shape)
        start = tuple(values.copy() for values in params)
        arguments = (
            pdm, self.points_px, maps, visible, weights, self.turns, window, table, settings, work, *start,
        )  # fmt: skip
        moving = tuple(values.copy() for values in params)
        result = nu_rlms_kernels.nu_rlms(*arguments[:-2], *moving)
        return Call(nu_rlms_kernels.nu_rlms, arguments, (*result, *moving))


def _scales(scene: Scene) -> list[Scale]:
    """Every part, scale and window that was used; both eyes cost the same."""
    found: dict[str, Scale] = {}
    for call in (*scene.first["fit_scale"], *scene.tracked["fit_scale"]):
        _, pdm, scale, _, _, _, visible, _, window, _, _, (base, turns, memory), _, g, p = call.arguments
        for part, fitter, patches in _fitters(scene):
            numbers = [n for n, experts in enumerate(fitter.experts) if np.float32(experts.scale) == scale]
            name = f"{part} {scale:g} {window}x{window}"
            if fitter.pdm.point_count == visible.size and numbers and name not in found:
                nu_rlms_kernels.start_scale(pdm, visible.size, scale, g, p, memory[-1], base, turns)
                view = patches[numbers[0]].experts[fitter.experts[numbers[0]].view_index(g)]
                found[name] = Scale(name, call, view, base.copy(), (turns[0].copy(), turns[1].copy()))
    return list(found.values())


def _fitters(scene: Scene) -> Iterator[tuple[str, LandmarkFitter, tuple[CcnfPatches, ...]]]:
    yield "main", scene.model.main, scene.models.main.patches
    for fitter, part in zip(scene.model.parts, scene.models.parts, strict=True):
        if part.name != "right_eye_28":
            yield part.name.removeprefix("left_").removesuffix("_28"), fitter.fitter, part.model.patches


def _landmark_kernels(scene: Scene) -> Iterator[Case]:
    """Response maps of all scales; one patch of them; the optimisations of the main model at 9 x 9, and their step."""
    scales = _scales(scene)
    for scale in scales:
        flop = arithmetic.response_map_flop(scale.experts, scale.window)
        yield Case(f"response map {scale.name}", scale.response_maps(), flop)
    scale = next(scale for scale in scales if scale.name.startswith("main") and scale.window == 9)
    yield _warp(scale)
    scale.response_maps()()
    params = scale.call.arguments[-2:]
    for step, kind in enumerate(("rigid", "non-rigid")):
        optimisation = scale.optimisation(step, params)
        iterations, _, *params = optimisation.result
        modes, points = step * scene.model.pdm.mode_count, scene.model.pdm.point_count
        flop = arithmetic.nu_rlms_flop(points, modes, scale.window, iterations)
        yield Case(f"NU-RLMS {kind}, {iterations} steps 9x9", optimisation.again(changed=(10, 11)), flop)
    _, _, maps, visible, _, _, window, table, _, (shifting, *_), _, _ = optimisation.arguments
    offsets, shifts = np.zeros_like(scale.points_px), np.empty_like(scale.points_px)
    shift = partial(nu_rlms_kernels.mean_shift, maps, visible, offsets, window, table, shifting, shifts)
    yield Case("mean shift 9x9", shift, arithmetic.mean_shift_flop(visible.size, window))


def _warp(scale: Scale) -> Case:
    """The patch of one landmark, the tip of the nose, cut for a window of 9 x 9."""
    gray, to_img = scale.call.arguments[0], scale.turns[1]
    a, b = to_img[0, 0], -to_img[0, 1]
    side = 9 + patch_kernels.SUPPORT - 1
    patch, steps = np.empty((side, side), np.float32), np.empty((2, side), np.int32)
    patch_kernels.grid_steps(a, b, steps)
    x, y = scale.points_px.reshape(2, -1)[:, 30]
    return Case(
        f"similarity warp, one patch {side}x{side}", partial(patch_kernels.warp_patch, gray, a, b, x, y, steps, patch)
    )


def _fits(scene: Scene) -> Iterator[Case]:
    """Whole fits, and what they consist of beside the above."""
    params = scene.tracked["calc_params"]
    for name, call in (("part", params[0]), ("face", params[-1])):
        yield Case(f"calc_params {name}, {call.arguments[0].point_count} points", call.again())
    (check,) = scene.tracked["check"]
    view = scene.models.validator.views[scene.model.validator.view_index(check.arguments[3])]
    yield Case("validator", check.again(), arithmetic.validator_flop(view))
    start = scene.tracked["calc_params"][-1].result
    yield Case("fit, tracked", partial(scene.model.fit, scene.gray, *start, tracking=True))
    yield Case("eleven starts", partial(best_start, scene.model, scene.gray, scene.box))


def _descriptor(scene: Scene, models_root: Path) -> Iterator[Case]:
    """From the landmarks to the AUs."""
    describer = features.FaceDescriber(models_root)
    with _recording() as calls:
        descriptor, _ = describer.describe(scene.bgr, scene.landmarks_px)
    for name, what in (("align", "alignment"), ("fhog", "FHOG")):
        yield Case(what, calls[name][0].again())
    yield Case("descriptor in all", partial(describer.describe, scene.bgr, scene.landmarks_px))
    median = features.DescriptorMedian()
    yield Case("median insert", partial(median.insert, descriptor))
    heads = load_au_heads(models_root)
    weights = [heads.intensities.weights, heads.presences.weights]
    flop, size = sum(2 * matrix.size for matrix in weights), sum(matrix.nbytes for matrix in weights)
    yield Case(
        f"heads, {sum(len(matrix) for matrix in weights)} products",
        lambda: [matrix @ descriptor for matrix in weights],
        flop,
        size,
    )


def _detections(scene: Scene) -> Iterator[Case]:
    """MTCNN on the frame at several sizes of the picture."""
    for width, height in SIZES:
        picture = _fitted(scene.bgr, width, height)
        yield Case(
            f"MTCNN {width}x{height}",
            partial(scene.detector.detect, picture),
            _detection_flop(scene.detector, picture),
        )


def _fitted(bgr: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The picture scaled to fit into a grey one of the size."""
    factor = min(width / bgr.shape[1], height / bgr.shape[0])
    small = cv2.resize(bgr, (round(bgr.shape[1] * factor), round(bgr.shape[0] * factor)))
    picture = np.full((height, width, 3), 127, np.uint8)
    picture[: small.shape[0], : small.shape[1]] = small
    return picture


def _detection_flop(detector: MtcnnDetector, picture: NDArray[np.uint8]) -> int:
    """PNet at every level of the pyramid, RNet and ONet on as many candidates as this picture gives them."""
    height, width = picture.shape[:2]
    levels = [level_size_px(height, width, scale) for scale in pyramid_scales(height, width)]
    image = picture.astype(np.float32)
    squares = choose(*detector.propose(image))
    (outputs,) = detector.rnet([normalised_patches(image, squares, 24)])
    candidates = refine(squares, outputs)
    flop = sum(arithmetic.network_flop("PNet", *level) for level in levels)
    flop += len(squares) * arithmetic.network_flop("RNet", 24, 24)
    return flop + len(candidates) * arithmetic.network_flop("ONet", 48, 48)
