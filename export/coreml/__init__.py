"""Core ML packages of MTCNN's networks and of the AU heads, written and checked on any platform."""

from auflow.export.coreml.packages import export_coreml
from auflow.export.coreml.plan import Exported

__all__ = ["Exported", "export_coreml"]
