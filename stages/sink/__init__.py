"""Where results go: OpenFace's CSV, Parquet, JSON lines, .hog files, aligned faces, and the annotated video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auflow.stages.sink.result import ResultSink
    from auflow.stages.sink.table_sink import TableSink

__all__ = ["ResultSink", "TableSink"]


def __getattr__(name: str) -> Any:
    # Imported at first use: whoever only asks for the names of the files does without NumPy and OpenCV.
    if name == "ResultSink":
        from auflow.stages.sink.result import ResultSink

        return ResultSink
    if name == "TableSink":
        from auflow.stages.sink.table_sink import TableSink

        return TableSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
