"""The examination as text for a terminal or a file, and as one JSON document."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import auflow
from auflow.doctor.examination import Examination
from auflow.doctor.finding import Choice, Finding, State

__all__ = ["FORM", "as_document", "as_json", "as_text"]

FORM = 1  # of the JSON document; raised when a key goes or changes its meaning

_TITLES = {"python": "Python", "gpu": "GPU"}  # other areas begin with a capital letter
_COMPACT = ("libraries",)  # what is fine there goes into one paragraph
_COLOURS: dict[State, str] = {"fine": "32", "note": "33", "broken": "1;31"}
_NAME_WIDTH = 22
_INDENT = 10 + _NAME_WIDTH


def as_document(found: Examination) -> dict[str, Any]:
    """All of it for programs: keys `form`, `auflow`, `system`, `healthy`, `findings`, `choices`."""
    return {
        "form": FORM,
        "auflow": auflow.__version__,
        "system": _system(),
        "healthy": not found.broken,
        "findings": [asdict(finding) for finding in found.findings],
        "choices": [asdict(choice) for choice in found.choices],
    }


def as_json(found: Examination) -> str:
    """`as_document` as text."""
    return json.dumps(as_document(found), indent=2, ensure_ascii=False) + "\n"


def as_text(found: Examination, *, width: int = 110, colour: bool = False) -> str:
    """All of it for people, in groups; the states are words, so that nothing hangs on colour.

    Parameters
    ----------
    width : columns that sentences are folded to; commands are never folded, for they are copied
    """
    lines = [f"auflow {auflow.__version__} on {_system()}"]
    for area, findings in groupby(found.findings, key=lambda finding: finding.area):
        lines += ["", _bold(_TITLES.get(area, area.capitalize()), colour)]
        lines += _group(list(findings), width, colour, compact=area in _COMPACT)
    lines += _chosen(found.choices, width, colour)
    lines += _end(found, width, colour)
    return "\n".join(lines) + "\n"


def _group(findings: Sequence[Finding], width: int, colour: bool, *, compact: bool) -> list[str]:
    lines = []
    if compact and (fine := [finding for finding in findings if finding.state == "fine"]):
        text = ", ".join(f"{finding.name} {finding.what}" for finding in fine)
        lines += _row("fine", f"{len(fine)} in range", text, width, colour)
        findings = [finding for finding in findings if finding.state != "fine"]
    for finding in findings:
        lines += _row(finding.state, finding.name, finding.what, width, colour)
        if finding.mend:
            lines.append(" " * _INDENT + f"-> {finding.mend}")
    return lines


def _row(state: State, name: str, text: str, width: int, colour: bool) -> list[str]:
    mark = f"\x1b[{_COLOURS[state]}m{state:<6}\x1b[0m" if colour else f"{state:<6}"
    return _folded(f"  {mark}  {name:<{_NAME_WIDTH - 1}} ", text, width)


def _chosen(chosen: Sequence[Choice], width: int, colour: bool) -> list[str]:
    if not chosen:
        return []
    lines = ["", _bold("What auflow would use, and why", colour)]
    for choice in chosen:
        lines += _folded(f"  {choice.part:<8}", f"{choice.use}: {choice.why}", width, indent=10)
    return lines


def _end(found: Examination, width: int, colour: bool) -> list[str]:
    if not found.broken:
        notes = sum(finding.state == "note" for finding in found.findings)
        return ["", f"Nothing is broken; {notes} note{'' if notes == 1 else 's'}."]
    lines = ["", _bold(f"Broken: {len(found.broken)}", colour)]
    for finding in found.broken:
        lines += _folded("  ", f"{finding.area}, {finding.name}: {finding.what}", width, indent=4)
        lines.append(f"    -> {finding.mend}" if finding.mend else "    no command is known that mends it")
    return lines


def _folded(first: str, text: str, width: int, *, indent: int = _INDENT) -> list[str]:
    """`first`, and the text beside it and below, in lines; words such as paths are never cut."""
    room = max(width - indent, 30)
    rest = textwrap.wrap(" ".join(text.split()), room, break_long_words=False, break_on_hyphens=False) or [""]
    return [first + rest[0], *(" " * indent + line for line in rest[1:])]


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour else text


def _system() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"
