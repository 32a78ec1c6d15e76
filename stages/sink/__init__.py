"""Where results go: OpenFace's CSV, .hog files and aligned faces, and the annotated video."""

from auflow.stages.sink.csv_sink import CsvSink
from auflow.stages.sink.result import ResultSink

__all__ = ["CsvSink", "ResultSink"]
