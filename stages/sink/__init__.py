"""Where results go: OpenFace's CSV and the annotated video (`auflow.stages.sink.overlay`)."""

from auflow.stages.sink.csv_sink import CsvSink

__all__ = ["CsvSink"]
