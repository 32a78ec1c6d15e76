"""The twin of the links in memory: order, greeting, peers that go or come again, and errors as over ZeroMQ."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass

from auflow.transport.faults import PeerGoneError, TransportError

__all__ = ["MemoryDealer", "MemoryLink", "MemoryNetwork", "MemoryRouter", "memory_links"]


@dataclass(frozen=True, slots=True)
class _Delivered:
    """The pixels were copied at once."""

    done: bool = True


class MemoryLink:
    """What both ends have in common: an inbox of messages, each one or two parts."""

    def __init__(self) -> None:
        self.refused = 0
        self._parts: deque[tuple[bytes, ...]] = deque()

    def receive(self) -> bytes | None:
        """The next message, None when there is none now; one that brings pixels is refused."""
        while (parts := self.receive_parts()) is not None:
            if parts[1] is None:
                return parts[0]
            self.refused += 1
        return None

    def receive_parts(self) -> tuple[bytes, memoryview | None] | None:
        """The next message and its pixels (read-only), None when there is none now."""
        while (message := self._next()) is not None:
            if len(message) in (1, 2):
                return message[0], memoryview(message[1]) if len(message) == 2 else None
            self.refused += 1
        return None

    def _next(self) -> tuple[bytes, ...] | None:
        return self._parts.popleft() if self._parts else None

    def send(self, payload: bytes, pixels: memoryview | None = None) -> _Delivered | None:
        """Queue a message for the peer."""
        self.send_raw((payload,) if pixels is None else (payload, pixels.tobytes()))
        return None if pixels is None else _Delivered()

    def send_raw(self, parts: tuple[bytes, ...]) -> None:
        """Queue a message of any form, as a peer may that keeps to no rule."""
        raise NotImplementedError

    def close(self) -> None:
        """Close this end; messages already sent still arrive."""
        raise NotImplementedError


class MemoryRouter(MemoryLink):
    """The binding end; made by `MemoryNetwork.router`."""

    def __init__(self, network: MemoryNetwork, endpoint: str, peer: str = "") -> None:
        super().__init__()
        self.endpoint = endpoint
        self._network = network
        self._expected = peer
        self._peer: str | None = None
        self._inbox: deque[tuple[str, tuple[bytes, ...]]] = deque()

    def take(self, sender: str, parts: tuple[bytes, ...]) -> None:
        """A message of a connected dealer arrives."""
        self._inbox.append((sender, parts))

    def _next(self) -> tuple[bytes, ...] | None:
        while self._inbox:
            sender, parts = self._inbox.popleft()
            if self._peer is None and len(parts) in (1, 2) and self._expected in ("", sender):
                self._peer = sender
            if sender == self._peer or len(parts) not in (1, 2):
                return parts
            self.refused += 1
        return None

    def send_raw(self, parts: tuple[bytes, ...]) -> None:
        """Queue a message for the peer."""
        if self._peer is None:
            raise TransportError(f"{self.endpoint}: expected a peer before the first message, got none")
        dealer = self._network.dealer_of(self.endpoint, self._peer)
        if dealer is None:
            raise PeerGoneError(f"{self.endpoint}: the peer is gone")
        dealer.take(parts)

    def close(self) -> None:
        """Stop being bound."""
        self._network.unbind(self)


class MemoryDealer(MemoryLink):
    """The connecting end; made by `MemoryNetwork.dealer`."""

    def __init__(self, network: MemoryNetwork, endpoint: str, identity: str) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.identity = identity
        self._network = network

    def take(self, parts: tuple[bytes, ...]) -> None:
        """A message of the router arrives."""
        self._parts.append(parts)

    def send_raw(self, parts: tuple[bytes, ...]) -> None:
        """Queue a message for the peer."""
        router = self._network.router_of(self)
        if router is None:
            raise PeerGoneError(f"{self.endpoint}: not connected: nobody is bound there")
        router.take(self.identity, parts)

    def close(self) -> None:
        """Leave."""
        self._network.leave(self)


class MemoryNetwork:
    """Who is bound and who is connected, by the address."""

    def __init__(self) -> None:
        self._routers: dict[str, MemoryRouter] = {}
        self._dealers: dict[tuple[str, str], MemoryDealer] = {}

    def router(self, endpoint: str, peer: str = "") -> MemoryRouter:
        """Bind; as a ROUTER on a path, a later one takes the address over."""
        self._routers[endpoint] = MemoryRouter(self, endpoint, peer)
        return self._routers[endpoint]

    def dealer(self, endpoint: str, identity: str = "") -> MemoryDealer:
        """Connect; who has the same identity loses its place."""
        dealer = MemoryDealer(self, endpoint, identity or secrets.token_hex(8))
        self._dealers[endpoint, dealer.identity] = dealer
        return dealer

    def router_of(self, dealer: MemoryDealer) -> MemoryRouter | None:
        """Whom a dealer writes to; None when nobody is bound or another has its place."""
        if self.dealer_of(dealer.endpoint, dealer.identity) is not dealer:
            return None
        return self._routers.get(dealer.endpoint)

    def dealer_of(self, endpoint: str, identity: str) -> MemoryDealer | None:
        """Who is connected under that identity."""
        return self._dealers.get((endpoint, identity))

    def unbind(self, router: MemoryRouter) -> None:
        """The router is gone."""
        if self._routers.get(router.endpoint) is router:
            del self._routers[router.endpoint]

    def leave(self, dealer: MemoryDealer) -> None:
        """The dealer is gone."""
        if self.dealer_of(dealer.endpoint, dealer.identity) is dealer:
            del self._dealers[dealer.endpoint, dealer.identity]


def memory_links() -> tuple[MemoryRouter, MemoryDealer]:
    """A connected pair: the binding (upstream) end and the connecting (downstream) end."""
    network = MemoryNetwork()
    return network.router("memory"), network.dealer("memory")
