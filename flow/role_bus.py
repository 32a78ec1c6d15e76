"""The work loop of the live bus: from the sinks to whoever listens."""

from __future__ import annotations

from pathlib import Path

from auflow.errors import UsageError
from auflow.flow.process import Shell, WorkerRole
from auflow.flow.topology import bus_name
from auflow.transport import messages as m
from auflow.transport.bus import BusForwarder
from auflow.transport.curve import Gatekeeper
from auflow.transport.faults import TransportError
from auflow.transport.keys import load_server_keys

__all__ = ["BusRole"]


class BusRole(WorkerRole):
    """Forwards what the sinks publish; keeps nothing."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._gate: Gatekeeper | None = None
        self._forwarder: BusForwarder | None = None

    def setup(self) -> None:
        """Open both sides."""
        bus = self.shell.config.bus
        assert bus is not None
        if bus.keys_dir:
            self._gate = Gatekeeper(self.shell.context, load_server_keys(Path(bus.keys_dir)), self._warn)
        inner = self.shell.endpoint(bus_name())
        try:
            self._forwarder = BusForwarder(self.shell.context, inner, bus.address, self._gate, self._warn)
        except TransportError as error:
            if self.shell.config.incarnation > 0:
                raise  # it was ours before: it will be free again
            raise UsageError(f"bus.address: {error}") from error

    def _warn(self, text: str) -> None:
        self.shell.tell(m.Note(self.shell.name, -1, text))

    def connect(self) -> None:
        """Nobody need be there: publishers and listeners come and go."""

    def step(self) -> None:
        """Forward what is there."""
        assert self._forwarder is not None
        self.shell.wait(self._forwarder.sockets)
        self._forwarder.forward()
        self.shell.progress = self._forwarder.forwarded

    def close(self) -> None:
        """Close both sides."""
        if self._forwarder is not None:
            self._forwarder.close()
        if self._gate is not None:
            self._gate.close()
