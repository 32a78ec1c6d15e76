"""Writes the dashboards, and the table of all metrics in docs/monitoring.md: `python -m auflow.grafana.build`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from auflow.errors import AuflowError, UsageError
from auflow.grafana.metric_table import written_into

__all__ = ["DASHBOARDS", "dashboards", "main", "texts"]

HERE = Path(__file__).resolve().parent
DASHBOARDS = HERE / "dashboards"
DOCUMENT = HERE.parent / "docs" / "monitoring.md"


def dashboards() -> dict[str, Mapping[str, object]]:
    """Each dashboard as JSON has it, by the name of its file.

    Raises
    ------
    UsageError
        Grafana's builders are not installed.
    """
    try:
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.models.dashboard import Dashboard

        from auflow.grafana.overview import overview
        from auflow.grafana.stage_latency import stage_latency
        from auflow.grafana.stream import stream
        from auflow.grafana.workers import workers
    except ModuleNotFoundError as error:
        raise UsageError(f"dashboards are built with {error.name}: pip install 'auflow[grafana]'") from error
    made: Mapping[str, Callable[[], Dashboard]] = {
        "overview.json": overview,
        "stages.json": stage_latency,
        "stream.json": stream,
        "workers.json": workers,
    }
    return {name: json.loads(json.dumps(make(), cls=JSONEncoder)) for name, make in made.items()}


def texts() -> dict[Path, str]:
    """What each file should have in it."""
    return {
        DASHBOARDS / name: json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, board in dashboards().items()
    }


def main() -> int:
    """Write all files; the exit code."""
    try:
        files = texts()
        if DOCUMENT.is_file():
            files[DOCUMENT] = written_into(DOCUMENT.read_text("utf-8"))
    except AuflowError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    for path, text in files.items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
