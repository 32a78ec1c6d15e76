"""The AU stage: a picture and its fit in, Action Units out, and the whole video's table at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError, ShapeError
from auflow.models.au_heads import AuHeads, load_au_heads
from auflow.stages.au import align, fhog, median
from auflow.stages.au.features import DescriptorMedian, FaceDescriber
from auflow.stages.au.fhog import DESCRIPTOR_SIZE
from auflow.stages.au.offline import clamp, finish_intensities, finish_presences
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit, Frame
from auflow.stages.settings import StageSettings

__all__ = ["AuStage", "warm_up", "warm_up_own"]

F64 = NDArray[np.float64]

# Only so many accepted frames are predicted again with the final median; later ones keep their online values,
# from a median that has settled.
_REPREDICTED = 3000


class _Heads:
    """All heads, with the current median's part of their predictions. Those that know a median come first."""

    def __init__(self, heads: AuHeads) -> None:
        sets = heads.intensities, heads.presences
        dynamic = np.concatenate([heads.dynamic for heads in sets])
        order = np.argsort(~dynamic, kind="stable")
        self._weights: F64 = np.concatenate([heads.weights for heads in sets])[order]
        self._offsets: F64 = np.concatenate([heads.offsets for heads in sets])[order]
        self._of_median = np.zeros(order.size)
        self._dynamic = slice(int(dynamic.sum()))
        self._intensities, self._presences = np.split(np.argsort(order), [len(heads.intensities.names)])
        self._positive, self._negative = heads.presences.positive, heads.presences.negative

    @property
    def uses_median(self) -> bool:
        """Whether there is a head that takes off the median."""
        return self._dynamic.stop > 0

    def set_median(self, value: F64) -> None:
        """From now on predict relative to this median (4702,); static heads ignore it."""
        np.matmul(self._weights[self._dynamic], value, out=self._of_median[self._dynamic])

    def products(self, features: F64) -> F64:
        """The part of the predictions that does not depend on the median: (k,) of (4702,)."""
        products: F64 = self._weights @ features
        return products + self._offsets

    def predict(self, products: F64) -> tuple[F64, F64]:
        """Raw intensities (..., 17), and labels 0 or 1 (..., 18), of products (..., k)."""
        values = products - self._of_median
        labels = np.where(values[..., self._presences] > 0.0, self._positive, self._negative)
        return values[..., self._intensities], labels


class _Series:
    """What the offline pass needs of every frame: a few dozen numbers, no descriptors.

    The heads are linear, so the final median's correction needs only each frame's products with the weights.
    """

    def __init__(self) -> None:
        self.accepted: list[bool] = []
        self.intensities: list[F64] = []
        self.presences: list[NDArray[np.uint8]] = []
        self.products: list[F64] = []  # of the first accepted frames

    def add(self, accepted: bool, intensities: F64, presences: F64) -> None:
        """One more frame's online values."""
        self.accepted.append(accepted)
        self.intensities.append(intensities)
        self.presences.append(presences.astype(np.uint8))


class AuStage:
    """Action Units of one face of one stream.

    Parameters
    ----------
    models_root : the model store
    settings : with `au_static` the heads for single pictures, which know no median, are used; where each fit stands
        for itself (images, several faces) also fits that the validator refused get values, which are clamped at
        once, and there is no offline pass

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
        heads = load_au_heads(models_root, static=settings.au_static or settings.independent)
        _check_names(heads)
        self._cutoffs = heads.intensities.cutoffs
        self._heads = _Heads(heads)
        self._describer = FaceDescriber(models_root)
        self._median = DescriptorMedian()
        self._series = _Series()

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
        if fit.accepted or (self._independent and fit.landmarks_px.any()):
            features, face = self._describer.describe(frame.bgr, fit.landmarks_px)
            intensities, presences = self._predict(features)
            hog = features[:DESCRIPTOR_SIZE].astype(np.float32) if self._settings.hog else None
            aligned = face.copy() if self._settings.aligned else None
        else:
            intensities, presences = np.zeros(len(AU_INTENSITIES)), np.zeros(len(AU_PRESENCES))
        self._series.add(fit.accepted, intensities, presences)
        return AuFrame(fit.index, fit.face_id, intensities, presences, hog, aligned)

    def _predict(self, features: F64) -> tuple[F64, F64]:
        if self._heads.uses_median and len(self._series.accepted) % 2 == 0:
            self._median.insert(features)
            self._heads.set_median(self._median.value)
        products = self._heads.products(features)
        intensities, presences = self._heads.predict(products)
        if self._independent:
            return clamp(intensities), presences
        if len(self._series.products) < _REPREDICTED:
            self._series.products.append(products)
        return intensities, presences

    def finish(self) -> AuTable:
        """The final values of all frames since the last reset, in order; may be called at any time."""
        accepted, intensities, presences = self._predict_again()
        if self._independent:
            return AuTable(intensities, presences)
        return AuTable(finish_intensities(intensities, accepted, self._cutoffs), finish_presences(presences, accepted))

    def _predict_again(self) -> tuple[NDArray[np.bool_], F64, F64]:
        """Acceptance, raw intensities and labels of all frames, the first accepted ones by the median as it is now."""
        series = self._series
        count = len(series.accepted)
        accepted = np.array(series.accepted, np.bool_)
        intensities = np.array(series.intensities, np.float64).reshape(count, len(AU_INTENSITIES))
        presences = np.array(series.presences, np.float64).reshape(count, len(AU_PRESENCES))
        if series.products:
            again = np.flatnonzero(accepted)[: len(series.products)]
            intensities[again], presences[again] = self._heads.predict(np.array(series.products))
        return accepted, intensities, presences

    def reset(self) -> None:
        """Forget the stream: the next frame is the first of another."""
        self._median.reset()
        self._heads.set_median(self._median.value)
        self._series = _Series()


def _check_names(heads: AuHeads) -> None:
    for kind, expected, got in (
        ("intensities", AU_INTENSITIES, heads.intensities.names),
        ("presences", AU_PRESENCES, heads.presences.names),
    ):
        if expected != got:
            raise ModelError(f"AU {kind}: expected heads for {expected}, got {got}; fetch the model files again")


def warm_up_own() -> None:
    """Of these kernels only those that the landmark fit has no part in."""
    for module in (align, fhog, median):
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
