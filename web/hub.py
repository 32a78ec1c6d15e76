"""Who looks at what, and what waits for each of them: a mailbox per viewer, which drops and never grows.

Nothing here knows of sockets or of time. All calls come from one thread.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["MAX_VIEWERS", "Frame", "Hub", "Mailbox", "Viewer"]

MAX_VIEWERS = 32
_RESULTS = 256  # frames that wait for one viewer, eight seconds of a camera
_LONGEST_NAME = 64  # letters of a stream's name


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame for the page: what is known of it as JSON, and its picture."""

    stream: str
    head: bytes
    jpeg: bytes  # empty without a picture

    def packed(self) -> bytes:
        """As it is sent: the length of the head (4 bytes, little-endian), the head, the picture."""
        return b"".join((struct.pack("<I", len(self.head)), self.head, self.jpeg))


class Mailbox:
    """What waits for one viewer: one picture, a bounded number of results, one status.

    Parameters
    ----------
    dropped : counts what a viewer was too slow for, by "picture", "result" and "status"
    """

    def __init__(self, dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._frames: deque[Frame] = deque()
        self._status: str | None = None

    def put(self, frame: Frame) -> None:
        """A frame to send. It takes the picture away from one that still waits, whose results stay."""
        if frame.jpeg:
            self._strip()
        self._frames.append(frame)
        if len(self._frames) > _RESULTS:
            oldest = self._frames.popleft()
            self._dropped["picture" if oldest.jpeg else "result"] += 1

    def _strip(self) -> None:
        for place in range(len(self._frames) - 1, -1, -1):
            waiting = self._frames[place]
            if waiting.jpeg:  # there is no second one
                self._frames[place] = Frame(waiting.stream, waiting.head, b"")
                self._dropped["picture"] += 1
                return

    def put_status(self, status: str) -> None:
        """The newest wins."""
        if self._status is not None:
            self._dropped["status"] += 1
        self._status = status

    def take(self) -> list[str | bytes]:
        """All that waits, the status first, then frames in their order; nothing waits afterwards."""
        status = [] if self._status is None else [self._status]
        frames = [frame.packed() for frame in self._frames]
        self.forget_frames()
        self._status = None
        return [*status, *frames]

    def forget_frames(self) -> None:
        """The viewer looks at something else now."""
        self._frames.clear()


class Viewer:
    """One open page.

    Parameters
    ----------
    mailbox : its own
    wake : called when there is something in it
    """

    def __init__(self, mailbox: Mailbox, wake: Callable[[], None]) -> None:
        self.mailbox = mailbox
        self.wake = wake
        self.stream: str | None = None


class Hub:
    """All viewers.

    Parameters
    ----------
    wanted_changed : called after a change of the streams that somebody looks at
    """

    def __init__(self, wanted_changed: Callable[[frozenset[str]], None] = lambda _: None) -> None:
        self._wanted_changed = wanted_changed
        self._viewers: list[Viewer] = []
        self._dropped: Counter[str] = Counter({"picture": 0, "result": 0, "status": 0, "closed": 0})
        self.wanted: frozenset[str] = frozenset()
        self.status: str | None = None  # of the service as JSON, once it has told

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages that a viewer was too slow for, by reason; "closed": viewers that took nothing any more."""
        return dict(self._dropped)

    def join(self, wake: Callable[[], None]) -> Viewer | None:
        """A further viewer; None when there are too many already."""
        if len(self._viewers) >= MAX_VIEWERS:
            return None
        viewer = Viewer(Mailbox(self._dropped), wake)
        self._viewers.append(viewer)
        if self.status is not None:
            viewer.mailbox.put_status(self.status)
            wake()
        return viewer

    def leave(self, viewer: Viewer, *, closed: bool = False) -> None:
        """A viewer is gone; `closed`: it took nothing any more, and was sent away."""
        self._viewers.remove(viewer)
        self._dropped["closed"] += closed
        self._look_again()

    def watch(self, viewer: Viewer, stream: str | None) -> None:
        """A viewer looks at this stream from now on, or at none.

        Raises
        ------
        ValueError
            That can be no stream's name.
        """
        if stream is not None and (not stream or len(stream) > _LONGEST_NAME or "\0" in stream):
            raise ValueError(f"expected the name of a stream, got {stream[:80]!r}")
        if stream != viewer.stream:
            viewer.mailbox.forget_frames()
        viewer.stream = stream
        self._look_again()

    def _look_again(self) -> None:
        wanted = frozenset(viewer.stream for viewer in self._viewers if viewer.stream is not None)
        if wanted != self.wanted:
            self.wanted = wanted
            self._wanted_changed(wanted)

    def show(self, frame: Frame) -> None:
        """Give a frame to those who look at its stream."""
        for viewer in self._viewers:
            if viewer.stream == frame.stream:
                viewer.mailbox.put(frame)
                viewer.wake()

    def tell_status(self, status: str) -> None:
        """Tell everybody how the service is."""
        self.status = status
        for viewer in self._viewers:
            viewer.mailbox.put_status(status)
            viewer.wake()
