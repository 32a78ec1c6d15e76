"""The errors of the transport."""

from __future__ import annotations

from auflow.errors import StageError

__all__ = ["MessageError", "PeerGoneError", "TransportError"]


class TransportError(StageError):
    """A message, a ring slot or a peer that is not what the protocol says; always a fault in the program."""


class MessageError(TransportError):
    """Bytes that are no message of this version; from a peer of ours a fault, from a stranger nothing to fall over."""


class PeerGoneError(TransportError):
    """There is nobody at the other end: what follows when a peer dies or leaves, rarely a cause of its own."""
