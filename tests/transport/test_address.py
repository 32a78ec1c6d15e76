"""Which addresses are read, and which need keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow.errors import UsageError
from auflow.transport.address import DEFAULT_ADDRESS, check_address, read_address, remove_socket
from auflow.transport.faults import TransportError
from auflow.transport.link import DealerLink, RouterLink, new_context

HERE = [DEFAULT_ADDRESS, "ipc:///tmp/a", "tcp://127.0.0.1:*", "tcp://127.8.9.1:1", "tcp://[::1]:5571"]
BEYOND = [
    "tcp://*:5571",
    "tcp://0.0.0.0:5571",
    "tcp://[::]:5571",
    "tcp://[::ffff:127.0.0.1]:5571",
    "tcp://[fe80::1%eth0]:5571",
    "tcp://192.168.1.4:5571",
    "tcp://localhost:5571",
    "tcp://127.0.0.1.example.org:5571",
    "tcp://camera-host:5571",
    "tcp://lo:5571",
    "tcp://127.1:5571",
    "tcp://0177.0.0.1:5571",
    "tcp://2130706433:5571",
]
NONE = [
    "",
    "127.0.0.1:5571",
    "udp://127.0.0.1:5571",
    "inproc://a",
    "ipc://",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:port",
    "tcp://127.0.0.1:1;10.0.0.1:5571",  # libzmq: from here to there
    "tcp://user@127.0.0.1:5571",
    "tcp:// 127.0.0.1:5571",
    "tcp://127.0.0.1:5571\n",
]


@pytest.mark.parametrize("address", HERE)
def test_this_machine_needs_no_keys(address: str) -> None:
    check_address(address, None)


@pytest.mark.parametrize("address", BEYOND)
def test_all_else_needs_them(address: str) -> None:
    with pytest.raises(UsageError, match=r"auflow keys new DIR"):
        check_address(address, None)
    check_address(address, object())


@pytest.mark.parametrize("address", NONE)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"expected tcp://HOST:PORT or ipc:///PATH"):
        check_address(address, object())


def test_parts() -> None:
    address = read_address("tcp://[::1]:5571")
    assert (address.scheme, address.host, address.ipv6, address.loopback) == ("tcp", "::1", True, True)


@pytest.mark.parametrize("kind", [RouterLink, DealerLink])
def test_links_open_nothing_beyond_loopback_without_keys(kind: type[RouterLink | DealerLink]) -> None:
    context = new_context()
    try:
        with pytest.raises(UsageError, match="expected keys"):
            kind(context, "tcp://0.0.0.0:5571")
    finally:
        context.term()


def test_a_path_that_is_too_long_leaves_nothing_open() -> None:
    context = new_context()
    for kind in (RouterLink, DealerLink):
        with pytest.raises(TransportError, match=r"File name too long|is longer than"):
            kind(context, f"ipc:///{'x' * 200}")
    context.term()


def test_only_the_file_of_an_ipc_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    path.touch()
    remove_socket("tcp://127.0.0.1:1")
    assert path.exists()
    for _ in range(2):
        remove_socket(f"ipc://{path}")
        assert not path.exists()
