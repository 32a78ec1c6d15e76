"""Addresses of sockets: which are read, and which are refused because anybody on the network could reach them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from auflow.errors import UsageError

__all__ = ["DEFAULT_ADDRESS", "Address", "check_address", "read_address", "remove_socket"]

DEFAULT_ADDRESS = "tcp://127.0.0.1:8718"  # of the live bus

_TCP = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:;/@\s]+):(?P<port>[0-9]{1,5}|\*)", re.ASCII)
_IPC = re.compile(r"ipc://(?P<path>[^\0]+)")
_EXPECTED = "expected tcp://HOST:PORT or ipc:///PATH"


@dataclass(frozen=True, slots=True)
class Address:
    """A ZeroMQ address, taken apart."""

    text: str
    scheme: str  # "tcp" or "ipc"
    host: str  # of tcp, without the brackets of IPv6; "" for ipc
    ipv6: bool
    loopback: bool  # only this machine can reach it


def read_address(text: str) -> Address:
    """Take an address apart.

    Raises
    ------
    UsageError
        Neither tcp://HOST:PORT nor ipc://PATH.
    """
    if _IPC.fullmatch(text):
        return Address(text, "ipc", "", ipv6=False, loopback=True)
    found = _TCP.fullmatch(text)
    if found is None or (found["port"] != "*" and int(found["port"]) > 65535):
        raise UsageError(f"{text!r}: {_EXPECTED}, such as {DEFAULT_ADDRESS}")
    host = found["host"]
    ipv6 = host.startswith("[")
    host = host.strip("[]")
    return Address(text, "tcp", host, ipv6, _is_loopback(host))


def _is_loopback(host: str) -> bool:
    # A name, "localhost" too, means what the resolver says, and "*" or a network card is everybody.
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None
    return number.is_loopback and not mapped


def check_address(text: str, keys: object | None) -> None:
    """Let no socket beyond this machine be opened without keys.

    Parameters
    ----------
    text : tcp:// or ipc:// address
    keys : the keys that the socket is to use, None for none

    Raises
    ------
    UsageError
        The address is none, or it is beyond loopback (names, "*", 0.0.0.0 and network cards count so) without keys.
    """
    address = read_address(text)
    if address.loopback or keys is not None:
        return
    raise UsageError(
        f"{text}: expected keys for an address beyond this machine, got none. Make them with `auflow keys new DIR` "
        "and give DIR (a listener: its folder DIR/clients/NAME), or use 127.0.0.1"
    )


def remove_socket(address: str) -> None:
    """Remove the file of an ipc:// socket that was bound here and is closed; ZeroMQ leaves it."""
    if address.startswith("ipc:///"):
        Path(address.removeprefix("ipc://")).unlink(missing_ok=True)
