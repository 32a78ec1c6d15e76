"""What a browser would do, byte by byte."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def silent(port: int, stream: str) -> socket.socket:
    """A client that asks for a stream and reads nothing of it."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert client.recv(4096).startswith(b"HTTP/1.1 101")
    text = json.dumps({"watch": stream}).encode()
    client.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)  # masked with zeros
    return client


def read_frame(message: bytes) -> tuple[dict[str, Any], bytes]:
    """The head and the picture of a frame."""
    (length,) = struct.unpack_from("<I", message)
    head: dict[str, Any] = json.loads(message[4 : 4 + length])
    return head, message[4 + length :]
