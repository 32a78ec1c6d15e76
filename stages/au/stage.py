"""The AU stage: a picture and its fit in, Action Units out, and the whole video's table at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError, StageError
from auflow.stages.au import align, counts, fhog, median
from auflow.stages.au.features import DescriptorMedian
from auflow.stages.au.fhog import DESCRIPTOR_SIZE
from auflow.stages.au.heads import Predictor, load_describer, load_heads
from auflow.stages.au.offline import clamp, finish_intensities, finish_presences
from auflow.stages.au.online import OnlineCorrection
from auflow.stages.au.series import Series
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit, Frame
from auflow.stages.settings import StageSettings
from auflow.stages.state import field, pack_state, unpack_state

__all__ = ["AuStage", "warm_up", "warm_up_own"]

F64 = NDArray[np.float64]

_STATE = 1  # version of the state's form
# Only so many accepted frames are predicted again with the final median; later ones keep their online values,
# from a median that has settled.
_REPREDICTED = 3000


class AuStage:
    """Action Units of one stream.

    For several streams at a time there are as many of these, called in turn from one thread: they share the heads and
    the memory that a descriptor is made in.

    Parameters
    ----------
    models_root : the model store
    settings : with `au_static` the heads for single pictures, which know no median, are used; where each fit stands
        for itself (images, several faces) also fits that the validator refused get values, which are clamped at
        once, and there is no offline pass. With `live` frames have `online` values too: corrected by what came
        before, or, where each fit stands for itself, the values themselves

    Raises
    ------
    ModelError

    Notes
    -----
    A frame whose fit was not accepted has all values zero: the C++ program goes on to take the FHOG of a black
    face there and then drops it. The running median takes the accepted ones of every second frame, counted from
    the first. Before its first sample it is zero.
    """

    def __init__(self, models_root: Path, settings: StageSettings | None = None) -> None:
        settings = settings or StageSettings()
        self._settings = settings
        self._independent = settings.independent
        self._heads = load_heads(models_root.resolve(), static=settings.au_static or settings.independent)
        self._describer = load_describer(models_root.resolve())
        self._predictor = Predictor(self._heads)
        self._median = DescriptorMedian()
        self._start()

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        """The online values of one frame: frames must come in order, failed ones too.

        Raises
        ------
        ShapeError
        """
        if frame.index != fit.index:
            raise ShapeError(f"fit: expected the fit of frame {frame.index}, got that of frame {fit.index}")
        hog = np.zeros(DESCRIPTOR_SIZE, np.float32) if self._settings.hog else None
        aligned = np.zeros((112, 112, 3), np.uint8) if self._settings.aligned else None
        intensities, presences = np.zeros(len(AU_INTENSITIES)), np.zeros(len(AU_PRESENCES))
        online = np.zeros(len(AU_INTENSITIES)) if self._settings.live else None
        if fit.accepted or (self._independent and fit.landmarks_px.any()):
            features, face = self._describer.describe(frame.bgr, fit.landmarks_px)
            intensities, presences = self._predict(features)
            online = self._corrected(intensities) if self._settings.live else None
            hog = features[:DESCRIPTOR_SIZE].astype(np.float32) if self._settings.hog else None
            aligned = face.copy() if self._settings.aligned else None
        self._frames += 1
        if self._settings.keep_series:
            self._series.add(fit.accepted, intensities, presences, online)
        return AuFrame(fit.index, fit.face_id, intensities, presences, hog, aligned, online)

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        """All faces of one frame: their fits, numbered by the person where there are identities, and their values.

        Raises
        ------
        ShapeError
        """
        return tuple(fits), tuple(self.process(frame, fit) for fit in fits)

    def _predict(self, features: F64) -> tuple[F64, F64]:
        if self._predictor.uses_median and self._frames % 2 == 0:
            self._median.insert(features)
            self._predictor.set_median(self._median.value)
        products = self._predictor.products(features)
        intensities, presences = self._predictor.predict(products)
        if self._independent:
            return clamp(intensities), presences
        if self._settings.keep_series and self._series.product_count < _REPREDICTED:
            self._series.add_products(products)
        return intensities, presences

    def _corrected(self, intensities: F64) -> F64:
        return intensities if self._independent else self._correction.correct(intensities)

    def finish(self) -> AuTable:
        """The final values of all frames since the last `reset` or `next_segment`, in order; at any time.

        Raises
        ------
        StageError
            The settings are to keep no series.
        """
        if not self._settings.keep_series:
            raise StageError("AU stage: expected no offline pass, for the settings say keep_series=False; got a call")
        accepted, intensities, presences = self._predict_again()
        if not self._independent:
            intensities = finish_intensities(intensities, accepted, self._heads.cutoffs)
            presences = finish_presences(presences, accepted)
        return AuTable(intensities, presences, self._online_difference(intensities, accepted))

    def _predict_again(self) -> tuple[NDArray[np.bool_], F64, F64]:
        """Acceptance, raw intensities and labels of all frames, the first accepted ones by the median as it is now."""
        series = self._series
        accepted = series.accepted.copy()
        intensities, presences = series.intensities.copy(), series.presences.astype(np.float64)
        if series.product_count:
            again = np.flatnonzero(accepted)[: series.product_count]
            intensities[again], presences[again] = self._predictor.predict(series.products)
        return accepted, intensities, presences

    def _online_difference(self, final: F64, accepted: NDArray[np.bool_]) -> F64 | None:
        online = self._series.online
        if online is None or not accepted.any():
            return None
        difference: F64 = np.abs(online[accepted] - final[accepted]).mean(axis=0)
        return difference

    def reset(self) -> None:
        """Forget the stream: the next frame is the first of another."""
        self._median.reset()
        self._predictor.set_median(self._median.value)
        self._start()

    def _start(self) -> None:
        self._frames = 0  # every second one enters the median
        self._correction = OnlineCorrection()
        self.next_segment()

    def next_segment(self) -> None:
        """Go on with the same person: what `finish` told is forgotten, medians and online correction stay."""
        self._series = Series(self._heads.count, online=self._settings.live)

    def snapshot(self) -> bytes:
        """All that the next frames and `finish` depend on: any stage with the same settings goes on from it."""
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "stage": {"frames": np.array(self._frames), "of_median": self._predictor.of_median},
            "series": self._series.snapshot(),
            "online": self._correction.snapshot(),
            "median": self._median.snapshot(),
        }
        arrays = {f"{part}/{name}": array for part, own in parts.items() for name, array in own.items()}
        return pack_state(self._kind, _STATE, arrays)

    def restore(self, blob: bytes) -> None:
        """Be as the stage was that gave this `snapshot`.

        Raises
        ------
        StateError
            It is damaged, or of other settings; the stage is as after `reset`.
        """
        self.reset()
        try:
            arrays = unpack_state(blob, self._kind, _STATE)
            parts = {part: _of(arrays, part) for part in ("series", "online", "median")}
            self._frames = int(field(arrays, "stage/frames", np.int64, ()))
            self._predictor.restore(field(arrays, "stage/of_median", np.float64, (self._heads.count,)))
            self._series.restore(parts["series"])
            self._correction.restore(parts["online"])
            self._median.restore(parts["median"])
        except BaseException:
            self.reset()
            raise

    @property
    def _kind(self) -> str:
        static = self._settings.au_static or self._independent
        return f"au.{self._settings.faces}.{'static' if static else 'dynamic'}"


def _of(arrays: Mapping[str, NDArray[Any]], part: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(f"{part}/"): array for name, array in arrays.items() if name.startswith(f"{part}/")}


def warm_up_own() -> None:
    """Of these kernels only those that the landmark fit has no part in."""
    for module in (align, counts, fhog, median):
        module.warm_up()


def warm_up(models_root: Path) -> None:
    """Compile (or load) every kernel of the stage and run it once on a made-up face.

    Raises
    ------
    ModelError
    """
    warm_up_own()
    x, y = np.meshgrid(np.arange(8.0), np.arange(9.0))
    landmarks = np.concatenate([x.reshape(-1)[:68] * 12 + 20, y.reshape(-1)[:68] * 12 + 20]).astype(np.float32)
    empty = np.zeros(0, np.float32)
    picture = np.zeros((160, 160, 3), np.uint8)
    fit = FaceFit(1, 0.0, 0, True, True, 1.0, empty, empty, landmarks, empty, np.zeros(6))
    AuStage(models_root).process(Frame(1, 0.0, picture), fit)
