"""Machines that a test makes up: files of the system below a folder, programs and libraries that answer as told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auflow.doctor.child import Answer
from auflow.doctor.finding import Finding
from auflow.doctor.places import Places


def machine(root: Path, files: Mapping[str, str] | None = None, **changed: Any) -> Places:
    """A Linux machine with these files of the system, two CPUs, and nothing in its environment."""
    for path, text in (files or {}).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    given: dict[str, Any] = {
        "root": root,
        "environment": {},
        "platform": "linux",
        "cpus": lambda: 2,
        "said_by": lambda command: "",
        "free_bytes": lambda folder: 10**11,
    }
    return Places(**given | changed)


class Answers:
    """In place of a child process: what it would answer; what is not told of is a value of None."""

    def __init__(self, **told: Mapping[str, Answer]) -> None:
        self.told = told
        self.asked: list[tuple[str, Sequence[str]]] = []

    def __call__(self, look: str, items: Sequence[str]) -> dict[str, Answer]:
        self.asked.append((look, items))
        return {item: self.told.get(look, {}).get(item, {"value": None}) for item in items}


def only(findings: Sequence[Finding], name: str) -> Finding:
    """The one finding of this name."""
    (found,) = [finding for finding in findings if finding.name == name]
    return found
