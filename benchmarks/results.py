"""Results as files: one per command, named by date, commit and machine; and their comparison with earlier ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from auflow.benchmarks.clips import Clip
from auflow.benchmarks.machine import CHECKOUT, machine_key
from auflow.benchmarks.sheets import Figure
from auflow.benchmarks.tables import Table, amount
from auflow.errors import OutputError, UsageError

__all__ = ["Result", "baseline", "comparison", "default_folder", "load", "save", "write"]

FORMAT = 1
NOISE = 0.05  # changes below it are not shown one by one


@dataclass(frozen=True, slots=True)
class Result:
    """What one `auflow bench` has measured."""

    date: str  # UTC, ISO 8601
    version: str
    commit: dict[str, Any] | None  # hash, dirty
    machine: dict[str, Any]
    clip: Clip
    options: dict[str, Any]  # what the figures depend on
    figures: tuple[Figure, ...]
    sections: dict[str, Any]  # everything, by section
    format: int = FORMAT

    @property
    def file_name(self) -> str:
        """Date, commit, machine, clip; sorted by name they are sorted by date."""
        stamp = datetime.fromisoformat(self.date).strftime("%Y%m%dT%H%M%SZ")
        commit = "no-commit" if self.commit is None else self.commit["hash"] + "-dirty" * self.commit["dirty"]
        return f"{stamp}_{commit}_{machine_key(self.machine)}_{Path(self.clip.name).stem}.json"

    def comparable(self, other: Result) -> bool:
        """Whether both are of the same machine, clip and options."""
        return (
            machine_key(self.machine) == machine_key(other.machine)
            and self.clip.sha256 == other.clip.sha256
            and self.options == other.options
        )


def default_folder() -> Path | None:
    """`benchmarks/results` of a checkout; None where this auflow is installed."""
    return CHECKOUT / "benchmarks" / "results" if (CHECKOUT / "pyproject.toml").is_file() else None


def write(result: Result | Sequence[Result], path: Path) -> None:
    """Write one result, or a list of them, as JSON.

    Raises
    ------
    OutputError
    """
    content = asdict(result) if isinstance(result, Result) else [asdict(one) for one in result]
    try:
        path.write_text(json.dumps(_rounded(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another place") from error


def save(result: Result, folder: Path) -> Path:
    """Keep a result in the history.

    Raises
    ------
    OutputError
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another place with --results") from error
    path = folder / result.file_name
    write(result, path)
    return path


def load(path: Path) -> Result:
    """A result that was written before.

    Raises
    ------
    UsageError
        It cannot be read or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: expected a result of `auflow bench`: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path}: expected a result of `auflow bench` in format {FORMAT}; measure again")
    try:
        figures = tuple(Figure(**figure) for figure in content["figures"])
        return Result(**{**content, "clip": Clip(**content["clip"]), "figures": figures})
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: expected a result of `auflow bench` in format {FORMAT}: {error}") from error


def baseline(result: Result, folder: Path) -> tuple[dict[str, Figure], list[str]]:
    """The newest earlier value of each figure on the same machine and clip, and the files that they are from.

    Files in the folder that are no results are passed over: a result of another version must not stop a measurement.
    """
    values: dict[str, tuple[Figure, str]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            earlier = load(path)
        except UsageError:
            continue
        if earlier.comparable(result) and earlier.date < result.date:
            values |= {figure.name: (figure, path.name) for figure in earlier.figures}
    wanted = {figure.name for figure in result.figures}
    used = {name: found for name, found in values.items() if name in wanted}
    return {name: figure for name, (figure, _) in used.items()}, sorted({file for _, file in used.values()})


def comparison(figures: Iterable[Figure], before: Mapping[str, Figure], sources: Sequence[str]) -> Table | None:
    """The figures that have changed, those that changed most first; None where there is nothing to compare with."""
    pairs = [(before[figure.name], figure) for figure in figures if figure.name in before]
    if not pairs:
        return None
    changed = [(old, new) for old, new in pairs if old.value and abs(new.value / old.value - 1) >= NOISE]
    changed.sort(key=lambda pair: -abs(pair[1].value / pair[0].value - 1))
    rows = []
    for old, new in changed:
        change = new.value / old.value - 1
        verdict = "better" if (change > 0) == new.more_is_better else "worse"
        rows.append(
            (new.name, f"{amount(old.value)} {old.unit}", f"{amount(new.value)} {new.unit}", f"{change:+.1%}", verdict)
        )
    notes = (f"{len(pairs) - len(changed)} of {len(pairs)} figures within {NOISE:.0%}; before: {', '.join(sources)}",)
    return Table(("change", "before", "now", "by", ""), rows, notes)


def _rounded(content: Any) -> Any:
    """Six significant digits are more than any measurement has."""
    if isinstance(content, float):
        return float(f"{content:.6g}")
    if isinstance(content, Mapping):
        return {key: _rounded(value) for key, value in content.items()}
    return [_rounded(value) for value in content] if isinstance(content, list | tuple) else content
