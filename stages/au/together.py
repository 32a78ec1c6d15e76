"""Frames of several streams, whose heads are one matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from auflow.stages.au.described import fill_products
from auflow.stages.au.stage import AuStage
from auflow.stages.records import AuFrame, FaceFit, Frame

__all__ = ["AuWork", "process_together"]


@dataclass(frozen=True, slots=True)
class AuWork:
    """One frame of one stream."""

    stage: AuStage  # of the stream
    frame: Frame
    fits: tuple[FaceFit, ...]


def process_together(
    work: Sequence[AuWork], at: Callable[[int], None]
) -> list[tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]]:
    """What `AuStage.process_faces` gives of each frame; of different streams all.

    Parameters
    ----------
    work : in the order in which they came
    at : told the place of a frame before something is done for it alone
    """
    prepared = []
    for place, one in enumerate(work):
        at(place)
        prepared.append(one.stage.prepare(one.frame, one.fits))
    for heads in {id(one.stage.heads): one.stage.heads for one in work}.values():
        faces = [
            face
            for one, ready in zip(work, prepared, strict=True)
            if one.stage.heads is heads
            for face in ready.described
        ]
        fill_products(heads, faces)
    results = []
    for place, (one, ready) in enumerate(zip(work, prepared, strict=True)):
        at(place)
        results.append(one.stage.conclude(ready))
    return results
