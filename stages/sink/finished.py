"""Whether the results of an input are there already: what `--resume` and a service that starts again leave alone."""

from __future__ import annotations

from pathlib import Path

from auflow.stages.settings import StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.paths import work_path

__all__ = ["is_finished"]


def is_finished(output: Path, settings: StageSettings) -> bool:
    """Whether the CSV `output` is complete and has the columns that these settings ask for.

    A CSV has its name only when it is complete; a work folder beside it is that of a later run.
    """
    header = f"{Layout.of(settings).header()}\n".encode()
    try:
        with output.open("rb") as file:
            return file.read(len(header)) == header and not work_path(output).is_dir()
    except OSError:
        return False
