"""The states of a stream as an operator sees them: what is normal, what passes, what needs a look."""

from __future__ import annotations

__all__ = ["AWAY", "CLASSES", "CLASS_NAMES", "STATE_COLOURS"]

LIVE = ("running", "streaming")
ON_ITS_WAY = ("waiting", "connecting", "restarting")
AWAY = ("stalled", "backing_off")
RESTING = ("paused",)
OVER = ("ending", "stopped", "ended", "interrupted", "removed", "finished")
FAILED = ("failed",)

# A number for each class, and how it is shown.
CLASSES = ((1, LIVE), (2, ON_ITS_WAY), (3, AWAY), (4, RESTING), (5, OVER), (6, FAILED))
CLASS_NAMES = {
    1.0: ("gives pictures", "green"),
    2.0: ("on its way", "yellow"),
    3.0: ("away", "orange"),
    4.0: ("paused", "blue"),
    5.0: ("over", "text"),
    6.0: ("failed", "red"),
}
STATE_COLOURS = {
    state: colour
    for states, colour in (
        (LIVE, "green"),
        (ON_ITS_WAY, "yellow"),
        (AWAY, "orange"),
        (RESTING, "blue"),
        (OVER, "text"),
        (FAILED, "red"),
    )
    for state in states
}
