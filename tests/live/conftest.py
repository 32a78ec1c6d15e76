"""Lets the tests of the reader's side import the bus of the transport's tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "transport"))
