"""Live sources: cameras, streams and pipes that are kept open whatever happens to them.

`reader.LiveReader` is the way in; it stands apart because it loads FFmpeg.
"""

from __future__ import annotations

from auflow.stages.decode.live.machine import Patience, SourceState
from auflow.stages.decode.live.spec import HWACCELS, LiveSpec

__all__ = ["HWACCELS", "LiveSpec", "Patience", "SourceState"]
