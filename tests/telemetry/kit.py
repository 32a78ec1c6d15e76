"""Faces, and metrics as a scraper reads them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from auflow.stages.records import AuFrame, FaceFit, blank_fit

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: bytes) -> Samples:
    """All samples of a text, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of one sample."""
    return samples[name, frozenset(labels.items())]


def labels_of(samples: Samples, name: str) -> list[Mapping[str, str]]:
    """Of all samples of that name."""
    return [dict(labels) for found, labels in samples if found == name]


def face(number: int = 0, *, success: bool = True, confidence: float = 0.9, **more: int) -> FaceFit:
    """One fit."""
    blank = blank_fit(1, 0.0)
    values = {name: getattr(blank, name) for name in blank.__slots__}
    values |= {"face_id": number, "success": success, "confidence": confidence, **more}
    return FaceFit(**values)


def aus(number: int = 0, *, intensity: float = 1.0, online: float | None = None, reused: bool = False) -> AuFrame:
    """Its Action Units."""
    known = None if online is None else np.full(17, online)
    return AuFrame(1, number, np.full(17, intensity), np.zeros(18), online=known, reused=reused)
