"""The work loop at the beginning of a lane: decode, which fills the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auflow import metrics
from auflow.errors import InputError
from auflow.flow.file_feed import FileFeed
from auflow.flow.job import StreamJob
from auflow.flow.outlet import Outlet
from auflow.flow.process import BEAT_S, Order, Shell, WorkerRole
from auflow.flow.topology import Role, edge_name, released_name
from auflow.transport import messages as m
from auflow.transport.edge import EdgeSender, decode_or_drop
from auflow.transport.link import RouterLink
from auflow.transport.ring import Slot

if TYPE_CHECKING:
    from auflow.flow.live_feed import LiveFeed

__all__ = ["DecodeRole"]


class DecodeRole(WorkerRole):
    """Reads one file, or several live sources, into the ring, as slots and credit allow."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        lane = shell.config.number
        self._out = RouterLink(shell.context, shell.endpoint(edge_name(Role.DECODE, lane)))
        self._edge: EdgeSender[m.FrameReady] = EdgeSender(self._out, f"{shell.name} to clnf-{lane}", shell.complain)
        self._released = RouterLink(shell.context, shell.endpoint(released_name(lane)))
        self._outlet = Outlet(shell, self._edge)
        self._feeds: dict[int, FileFeed | LiveFeed] = {}
        self._closing: list[FileFeed | LiveFeed] = []  # have ended, and wait for a source that does not answer

    def connect(self) -> None:
        """The CLNF worker takes frames, the sink gives slots back. They start up for longer: an input is opened now."""
        released = False
        while not (self._edge.connected and released):
            self.shell.wait((self._out.socket, self._released.socket))
            self._edge.pump()
            released = released or self._released.receive() is not None
            self._obey_all()

    def setup(self) -> None:
        """A source is opened per input; all that there is to say is how much room there is."""
        probe, ring = self.shell.probe, self.shell.ring
        probe.expect(Role.DECODE, waits=False)
        self.shell.watch_queue(Role.DECODE)
        probe.gauge(metrics.CREDITS, lambda: self._edge.credit, stage=Role.DECODE)
        probe.gauge(metrics.RING_SLOTS, lambda: ring.slots)
        probe.gauge(metrics.RING_SLOTS_FREE, lambda: ring.free_slots)

    def step(self) -> None:
        """Let every feed send one frame, or wait for a picture, an order, a slot or credit."""
        busy = False
        for feed in list(self._feeds.values()):
            if feed.work():
                busy = True
                self._feeds[feed.stream] = self._feeds.pop(feed.stream)  # next time the others are asked first
            if feed.ended:
                self._closing.append(self._feeds.pop(feed.stream))
        self._closing = [feed for feed in self._closing if not feed.close()]
        fds = [feed.fd for feed in self._feeds.values() if feed.fd is not None]
        self.shell.wait((self._out.socket, self._released.socket, *fds), 0.0 if busy else BEAT_S)
        self._edge.pump()
        while (payload := self._released.receive()) is not None:
            record = decode_or_drop(payload, self.shell.complain)
            if isinstance(record, m.Released):
                self._outlet.released(Slot(record.slot, record.generation))
            elif record is not None:
                self.shell.complain(f"expected Released, got {type(record).__name__}")
        self._obey_all()

    def _obey_all(self) -> None:
        while self.shell.orders:
            self._obey(self.shell.orders.popleft())

    def _obey(self, order: Order) -> None:
        if isinstance(order, m.Assign):
            self._open(order.stream, StreamJob.from_json(order.job))
        elif isinstance(order, m.Drain):
            for feed in self._feeds.values():
                if not feed.ended:
                    feed.drain()
        elif isinstance(order, m.ServiceStatus):
            return  # the page's, not ours
        elif (feed_of := self._feeds.get(order.stream)) is None or feed_of.ended:
            return  # the order crossed the end of the stream
        elif isinstance(order, m.Pause):
            feed_of.pause(order.paused)
        else:
            feed_of.end(interrupted=order.remove, error=None if order.remove else "skipped: the sink has the reason")

    def _open(self, stream: int, job: StreamJob) -> None:
        self.shell.stream, self.shell.frames = stream, 0
        self.shell.note(stream, 0)
        if job.live is not None:
            from auflow.flow.live_feed import LiveFeed  # brings the reader of live sources along

            self._feeds[stream] = LiveFeed(self._outlet, self.kit, stream, job)
            return
        try:
            self._feeds[stream] = FileFeed(self._outlet, self.kit, stream, job)
        except InputError as error:
            # A pipe that nothing had come through ends without a picture.
            drained = job.once and any(isinstance(order, m.Drain) for order in self.shell.orders)
            self.shell.tell(m.StreamRefused(self.shell.name, stream, None if drained else str(error)))

    def abandon(self) -> None:
        """Close all inputs."""
        for feed in self._feeds.values():
            feed.close()
        self._feeds.clear()

    def close(self) -> None:
        """Close both sockets."""
        self._out.close()
        self._released.close()
