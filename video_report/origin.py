"""How a table was made, as far as somebody has noted it: Parquet has it inside, `auflow run --summary` beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auflow.errors import InputError

__all__ = ["Origin", "origin_of"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Facts by name, and whether the Action Units are of static models (None: not known)."""

    source: str  # who has noted it; "" for nobody
    facts: dict[str, str]
    settings: dict[str, str]
    static: bool | None


def origin_of(table: Path, summary: Path | None) -> Origin:
    """What is known of a table.

    Parameters
    ----------
    summary : JSON of `auflow run --summary`, which a CSV needs

    Raises
    ------
    InputError
        A file that should tell cannot be read, or tells nothing of this table.
    """
    if summary is not None:
        return _of_summary(table, summary)
    if table.suffix.lower() == ".parquet":
        from auflow.stages.sink.provenance import read_provenance

        return _of_provenance(read_provenance(table))
    return Origin("", {}, {}, None)


def _of_provenance(told: Mapping[str, Any]) -> Origin:
    source, models = told.get("source") or {}, told.get("models") or {}
    facts = {
        "made by": f"auflow {told.get('version')}, the numbers of OpenFace {told.get('openface')}",
        "made at": told.get("created"),
        "video": source.get("name"),
        "size": _size(source),
        "frames of the video": told.get("frames"),
        "Action Units": told.get("au_values_meaning"),
        "model files": f"{models.get('landmarks')}, SHA-256 {models.get('sha256')}",
    }
    static = {"static": True, "offline": False}.get(str(told.get("au_values")))
    return Origin("the Parquet file", _texts(facts), _texts(told.get("settings") or {}), static)


def _size(source: Mapping[str, Any]) -> str | None:
    if not source.get("width_px"):
        return None
    fps = f", {source['fps']:.3g} fps" if source.get("fps") else ""
    return f"{source['width_px']} x {source.get('height_px')} px{fps}"


def _of_summary(table: Path, summary: Path) -> Origin:
    try:
        document = json.loads(summary.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{summary}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{summary}: no JSON; give what `auflow run --summary` has written") from error
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list):
        raise InputError(f"{summary}: expected the summary of a run; give what `auflow run --summary` has written")
    entry = next((each for each in inputs if _writes(each, table)), None)
    if entry is None:
        raise InputError(f"{summary}: says nothing of {table.name}; give the summary of the run that has written it")
    options = document.get("options") or {}
    latency, convergence = entry.get("latency_ms") or {}, entry.get("convergence") or {}
    facts = {
        "made by": f"auflow {document.get('version')}",
        "video": entry.get("path"),
        "state": entry.get("state"),
        "damaged pictures": entry.get("corrupt"),
        "speed": f"{entry['fps']:.0f} fps" if entry.get("fps") else None,
        "latency": f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms" if latency.get("p50") else None,
        "iterations of a fit": convergence.get("iterations_per_fit"),
        **_coherence(entry.get("coherence") or {}),
        "restarts of workers": entry.get("restarts"),
    }
    by_itself = options.get("faces") == "pictures" or (options.get("faces") == "all" and not options.get("identities"))
    static = bool(options.get("au_static")) or by_itself
    return Origin(f"the summary {summary.name}", _texts(facts), _texts(options), static)


def _coherence(told: Mapping[str, Any]) -> dict[str, str | None]:
    looks, rate, kept = (told.get(name) for name in ("detections", "detections_per_frame", "reused_share"))
    return {
        "looks for faces": None if looks is None else f"{looks}" + (f", {rate:.2f} a frame" if rate else ""),
        "descriptors kept": None if kept is None else f"{100 * kept:.1f} %",
    }


def _writes(entry: Any, table: Path) -> bool:
    outputs = [entry.get("output"), *(entry.get("outputs") or ())] if isinstance(entry, dict) else []
    return any(isinstance(each, str) and Path(each).name == table.name for each in outputs)


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): _text(value) for name, value in facts.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
