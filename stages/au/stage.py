"""The AU stage: a picture and its fits in, Action Units out, and the whole video's table at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError, StageError
from auflow.stages.au import align, counts, fhog, median, reuse
from auflow.stages.au.described import Described, fill_products
from auflow.stages.au.fhog import DESCRIPTOR_SIZE
from auflow.stages.au.heads import load_describer, load_heads
from auflow.stages.au.offline import clamp, finish_intensities, finish_presences
from auflow.stages.au.persons import Persons
from auflow.stages.au.reuse import Reuse
from auflow.stages.au.series import Series
from auflow.stages.identity.appearance import AppearanceDescriber
from auflow.stages.identity.embedding import Embedder, load_embedder
from auflow.stages.identity.keeper import IdentityKeeper, SeenFace
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit, Frame
from auflow.stages.settings import StageSettings
from auflow.stages.state import field, pack_state, unpack_state

__all__ = ["AuStage", "Prepared", "warm_up", "warm_up_own"]

F64 = NDArray[np.float64]

_STATE = 2  # version of the state's form
# Only so many accepted frames of a person are predicted again with the final median; later ones keep their online
# values, from a median that has settled.
_REPREDICTED = 3000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One frame's faces, described; their values are to be predicted."""

    fits: tuple[FaceFit, ...]  # numbered by the person
    described: tuple[Described | None, ...]  # None where there is nothing to predict from


class AuStage:
    """Action Units of one stream.

    For several streams at a time there are as many of these, called in turn from one thread: they share the heads and
    the memory that a descriptor is made in.

    Parameters
    ----------
    models_root : the model store
    settings : with `au_static` the heads for single pictures, which know no median, are used; where each fit stands
        for itself (images, several faces without identities) also fits that the validator refused get values, which
        are clamped at once, and there is no offline pass. With `identities` faces come back with the number of the
        person, and each person has a median, an online correction and an offline pass of their own. With `coherent`
        tracking a face that has not changed keeps its descriptor (`Reuse`). With `live` frames have `online` values
        too: corrected by what came before, or, where each fit stands for itself, the values themselves
    keeper : says who is who, with `identities`; None makes one

    Raises
    ------
    ModelError

    Notes
    -----
    A frame whose fit was not accepted has all values zero: the C++ program goes on to take the FHOG of a black
    face there and then drops it. The running median takes the accepted ones of every second frame with the person,
    counted from the first. Before its first sample it is zero.
    """

    def __init__(
        self, models_root: Path, settings: StageSettings | None = None, keeper: IdentityKeeper | None = None
    ) -> None:
        settings = settings or StageSettings()
        self._settings = settings
        self._independent = settings.independent
        self.heads = load_heads(
            models_root.resolve(), static=settings.au_static or settings.independent, backend=settings.au_backend
        )
        self._describer = load_describer(models_root.resolve())
        self._persons = Persons(self.heads, keep_forgotten=settings.keep_series)
        self._keeper: IdentityKeeper | None = None
        self._appearances: AppearanceDescriber | None = None
        self._embedder: Embedder | None = None
        if settings.identities and not settings.independent:
            self._keeper = keeper or IdentityKeeper()
            if settings.identity_model:
                self._embedder = load_embedder(Path(settings.identity_model))
            else:
                self._appearances = AppearanceDescriber(models_root)
        below_percent = settings.reuse_below_percent if settings.coherent else 0.0
        self._reuse = Reuse(below_percent) if below_percent > 0.0 else None
        self._start()

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        """The online values of the one face of a frame: `process_faces` for it.

        Raises
        ------
        ShapeError
        """
        return self.process_faces(frame, (fit,))[1][0]

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        """All faces of one frame: their fits, numbered by the person where there are identities, and their values.

        Frames must come in order, those without a face and failed ones too.

        Raises
        ------
        ShapeError
        """
        prepared = self.prepare(frame, fits)
        if self._independent:
            for face in prepared.described:  # one by one, as OpenFace does
                fill_products(self.heads, (face,))
        else:
            fill_products(self.heads, prepared.described)
        return self.conclude(prepared)

    def prepare(self, frame: Frame, fits: Sequence[FaceFit]) -> Prepared:
        """The first half of `process_faces`: who is who, and a descriptor of each face.

        The second is `conclude`, when the descriptors have `products`; no other frame of the stream may come between.
        """
        if any(frame.index != fit.index for fit in fits):
            raise ShapeError(f"fits: expected those of frame {frame.index}, got {[fit.index for fit in fits]}")
        self._frames += 1
        described = tuple(self._describe(frame, fit) for fit in fits)
        if self._reuse is not None:
            self._reuse.only([fit.face_id for fit in fits if fit.accepted])
        if self._keeper is not None:
            numbers = self._recognised(frame, fits, described)
            fits = [dataclasses.replace(fit, face_id=number) for fit, number in zip(fits, numbers, strict=True)]
        return Prepared(tuple(fits), described)

    def conclude(self, prepared: Prepared) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        """The second half of `process_faces`."""
        aus = tuple(self._values(fit, one) for fit, one in zip(prepared.fits, prepared.described, strict=True))
        return prepared.fits, aus

    def _describe(self, frame: Frame, fit: FaceFit) -> Described | None:
        if not (fit.accepted or (self._independent and fit.landmarks_px.any())):
            return None
        if self._reuse is not None and (known := self._reuse.unchanged(fit.face_id, frame.bgr)) is not None:
            return known
        features, face = self._describer.describe(frame.bgr, fit.landmarks_px)
        described = Described(features, face.copy())  # the aligner goes on working in it
        if self._reuse is not None and (cut := self._describer.last_cut) is not None:
            self._reuse.keep(fit.face_id, frame.bgr, described, *cut)
        return described

    def _recognised(self, frame: Frame, fits: Sequence[FaceFit], described: Sequence[Described | None]) -> list[int]:
        """The person's number of each face."""
        assert self._keeper is not None
        seen = [
            SeenFace(fit.face_id, fit.landmarks_px, fit.accepted, self._appearance(frame, fit, one))
            for fit, one in zip(fits, described, strict=True)
        ]
        return self._keeper.assign(frame.index, seen)

    def _appearance(
        self, frame: Frame, fit: FaceFit, described: Described | None
    ) -> Callable[[], NDArray[np.float32]] | None:
        if described is None or described.reused:
            return None
        if self._embedder is not None:
            return partial(self._embedder.describe, frame.bgr, fit.landmarks_px)
        assert self._appearances is not None
        return partial(self._appearances.describe, described.face, described.features[:DESCRIPTOR_SIZE])

    def _values(self, fit: FaceFit, described: Described | None) -> AuFrame:
        intensities, presences = np.zeros(len(AU_INTENSITIES)), np.zeros(len(AU_PRESENCES))
        online = np.zeros(len(AU_INTENSITIES)) if self._settings.live else None
        number = 0 if self._keeper is None else fit.face_id
        person = self._persons.person(number, self._frames)
        if described is not None:
            person.take(described.features)
            assert described.products is not None
            intensities, presences = person.predictor.predict(described.products)
            if self._independent:
                intensities = clamp(intensities)
            elif self._settings.keep_series and self._series.product_count(number) < _REPREDICTED:
                self._series.add_products(number, described.products)
            if self._settings.live:
                online = intensities if self._independent else person.corrected(intensities)
        person.passed()
        if self._settings.keep_series:
            self._series.add(self._frames, number, fit.accepted, intensities, presences, online)
        return AuFrame(
            fit.index,
            fit.face_id,
            intensities,
            presences,
            self._hog(described) if self._settings.hog else None,
            self._aligned(described) if self._settings.aligned else None,
            online,
            reused=described is not None and described.reused,
        )

    @staticmethod
    def _hog(described: Described | None) -> NDArray[np.float32]:
        if described is None:
            return np.zeros(DESCRIPTOR_SIZE, np.float32)
        return described.features[:DESCRIPTOR_SIZE].astype(np.float32)

    @staticmethod
    def _aligned(described: Described | None) -> NDArray[np.uint8]:
        return np.zeros((112, 112, 3), np.uint8) if described is None else described.face

    def finish(self) -> AuTable:
        """The final values of all faces since the last `reset` or `next_segment`, in order; at any time.

        Raises
        ------
        StageError
            The settings are to keep no series.
        """
        if not self._settings.keep_series:
            raise StageError("AU stage: expected no offline pass, for the settings say keep_series=False; got a call")
        accepted, intensities, presences = self._predict_again()
        if not self._independent:
            for number in np.unique(self._series.people).tolist():
                rows = np.flatnonzero(self._series.people == number)
                breaks = 1 + np.flatnonzero(np.diff(self._series.frames[rows]) > 1)  # the person was not there
                good = accepted[rows]
                intensities[rows] = finish_intensities(intensities[rows], good, self.heads.cutoffs, breaks)
                presences[rows] = finish_presences(presences[rows], good, breaks)
        return AuTable(intensities, presences, self._online_difference(intensities, accepted))

    def _predict_again(self) -> tuple[NDArray[np.bool_], F64, F64]:
        """Acceptance, raw intensities and labels of all rows; of each person the first by their median as it is now."""
        series = self._series
        accepted = series.accepted.copy()
        intensities, presences = series.intensities.copy(), series.presences.astype(np.float64)
        of_whom = series.people[series.predicted]
        for number in np.unique(of_whom).tolist():
            again = series.predicted[of_whom == number]
            products = series.products[of_whom == number]
            intensities[again], presences[again] = self.heads.predict(products, self._persons.of_median(number))
        return accepted, intensities, presences

    def _online_difference(self, final: F64, accepted: NDArray[np.bool_]) -> F64 | None:
        online = self._series.online
        if online is None or not accepted.any():
            return None
        difference: F64 = np.abs(online[accepted] - final[accepted]).mean(axis=0)
        return difference

    def reset(self) -> None:
        """Forget the stream: the next frame is the first of another."""
        self._persons.reset()
        if self._keeper is not None:
            self._keeper.reset()
        if self._reuse is not None:
            self._reuse.reset()
        self._start()

    def _start(self) -> None:
        self._frames = 0
        self.next_segment()

    def next_segment(self) -> None:
        """Go on with the same persons: what `finish` told is forgotten, medians and online correction stay."""
        self._series = Series(self.heads.count, online=self._settings.live)
        self._persons.next_segment()

    def snapshot(self) -> bytes:
        """All that the next frames and `finish` depend on: any stage with the same settings goes on from it."""
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "stage": {"frames": np.array(self._frames)},
            "series": self._series.snapshot(),
            "persons": self._persons.snapshot(),
            "keeper": {} if self._keeper is None else self._keeper.snapshot(),
            "reuse": {} if self._reuse is None else self._reuse.snapshot(),
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
            self._frames = int(field(arrays, "stage/frames", np.int64, ()))
            self._series.restore(_of(arrays, "series"))
            self._persons.restore(_of(arrays, "persons"))
            if self._keeper is not None:
                self._keeper.restore(_of(arrays, "keeper"))
            if self._reuse is not None:
                self._reuse.restore(_of(arrays, "reuse"))
        except BaseException:
            self.reset()
            raise

    @property
    def _kind(self) -> str:
        static = self._settings.au_static or self._independent
        more = (".identities" if self._keeper is not None else "") + (".reuse" if self._reuse is not None else "")
        return f"au.{self._settings.faces}.{'static' if static else 'dynamic'}{more}"


def _of(arrays: Mapping[str, NDArray[Any]], part: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(f"{part}/"): array for name, array in arrays.items() if name.startswith(f"{part}/")}


def warm_up_own() -> None:
    """Of these kernels only those that the landmark fit has no part in."""
    for module in (align, counts, fhog, median, reuse):
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
