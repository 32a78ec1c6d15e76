"""Where results go: OpenFace's CSV, .hog files and aligned faces, and the annotated video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auflow.stages.sink.csv_sink import CsvSink
    from auflow.stages.sink.result import ResultSink

__all__ = ["CsvSink", "ResultSink"]


def __getattr__(name: str) -> Any:
    # Imported at first use: whoever only asks for the names of the files does without NumPy and OpenCV.
    if name == "CsvSink":
        from auflow.stages.sink.csv_sink import CsvSink

        return CsvSink
    if name == "ResultSink":
        from auflow.stages.sink.result import ResultSink

        return ResultSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
