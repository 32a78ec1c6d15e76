"""Whether the results of an input are there already: what `--resume` and a service that starts again leave alone."""

from __future__ import annotations

from pathlib import Path

from auflow.errors import AuflowError
from auflow.stages.settings import Format, StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.paths import table_path, work_path

__all__ = ["is_finished"]


def is_finished(output: Path, settings: StageSettings) -> bool:
    """Whether the table of the CSV `output` is complete in all formats, with the columns that these settings ask for.

    A file has its name only when it is complete; a work folder beside it is that of a later run.
    """
    layout = Layout.of(settings)
    if work_path(output).is_dir():
        return False
    return all(_is_whole(table_path(output, form), form, layout) for form in settings.formats)


def _is_whole(path: Path, form: Format, layout: Layout) -> bool:
    if form != "csv":
        # Only here: it reads the list of models.
        from auflow.stages.sink.provenance import read_provenance

        try:
            found = read_provenance(path)
        except AuflowError:
            return False
        return found.get("columns") == layout.names() and found.get("interrupted") is False
    header = f"{layout.header()}\n".encode()
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False
