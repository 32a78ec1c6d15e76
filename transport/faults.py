"""The error of the transport."""

from __future__ import annotations

from auflow.errors import StageError

__all__ = ["PeerGoneError", "TransportError"]


class TransportError(StageError):
    """A message, a ring slot or a peer that is not what the protocol says; always a fault in the program."""


class PeerGoneError(TransportError):
    """There is nobody at the other end: what follows when a peer dies or leaves, rarely a cause of its own."""
