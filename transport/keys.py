"""Keys of CurveZMQ as files: whom a server is, and whom it admits.

    DIR/                        the server's folder, mode 0700
        server.public           40 characters of Z85, as every key
        server.secret           mode 0600
        clients/NAME/           what the client NAME needs, to be carried to its machine
            server.public
            client.public       the only file in here that the server itself reads
            client.secret       mode 0600

A client is admitted as long as its `client.public` lies there: to shut it out, delete the folder.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from auflow.errors import OutputError, UsageError

__all__ = ["ClientKeys", "ServerKeys", "admitted_clients", "load_client_keys", "load_server_keys", "new_keys"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_KEY = re.compile(rb"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85: 40 characters are 32 bytes
_CLIENTS = "clients"


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """The binding end's own pair; whom it admits is read from `folder` at each handshake."""

    folder: Path
    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """The connecting end's own pair, and the only server that it talks to."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)


def new_keys(folder: Path, name: str = "client") -> Path:
    """Make the server's pair, unless `folder` has one, and a pair for the client `name`.

    Returns
    -------
    the client's folder

    Raises
    ------
    UsageError
        There is a client of that name already, or the name is none for a folder.
    OutputError
        The folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r}: expected a name of up to 64 letters, digits, - and _ for the client")
    client = folder / _CLIENTS / name
    if client.exists():
        raise UsageError(f"{client}: there are keys already; choose another --name, or delete that folder first")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "server.secret").exists():
            _write_pair(folder, "server")
        server = load_server_keys(folder)
        (folder / _CLIENTS).mkdir(mode=0o700, exist_ok=True)
        _make_client(client, server)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from error
    return client


def _make_client(client: Path, server: ServerKeys) -> None:
    client.mkdir(mode=0o700)
    try:
        _write(client / "server.public", server.public, 0o644)
        _write_pair(client, "client")
    except OSError:
        shutil.rmtree(client, ignore_errors=True)  # half a folder would be in the way of the next attempt
        raise


def _write_pair(folder: Path, name: str) -> None:
    public, secret = zmq.curve_keypair()
    _write(folder / f"{name}.public", public, 0o644)
    _write(folder / f"{name}.secret", secret, 0o600)


def _write(path: Path, key: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(key + b"\n")


def load_server_keys(folder: Path) -> ServerKeys:
    """The server's pair.

    Raises
    ------
    UsageError
        A key is missing, is none, does not fit its other half, or the secret one can be read by others.
    """
    if not (folder / "server.secret").exists():
        hint = "this is a client's folder: give that of the server, two levels up" if _is_client(folder) else _ADVICE
        raise UsageError(f"{folder}: expected server.secret, got none; {hint}")
    public, secret = _load_pair(folder, "server")
    return ServerKeys(folder, public, secret)


def load_client_keys(folder: Path) -> ClientKeys:
    """A client's pair and the server's public key.

    Raises
    ------
    UsageError
        As for `load_server_keys`.
    """
    if not _is_client(folder):
        served = (folder / "server.secret").exists()
        hint = f"this is the server's folder: give that of a client, {folder}/clients/NAME" if served else _ADVICE
        raise UsageError(f"{folder}: expected client.secret, got none; {hint}")
    public, secret = _load_pair(folder, "client")
    return ClientKeys(_load(folder / "server.public"), public, secret)


_ADVICE = "make keys with `auflow keys new DIR`"


def _is_client(folder: Path) -> bool:
    return (folder / "client.secret").exists()


def _load_pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    secret_path = folder / f"{name}.secret"
    public, secret = _load(folder / f"{name}.public"), _load(secret_path)
    mode = stat.S_IMODE(secret_path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(f"{secret_path}: expected mode 0600, got {mode:04o}; others may have read it: make new keys")
    if zmq.curve_public(secret) != public:
        raise UsageError(f"{folder}: {name}.public and {name}.secret are no pair; make new keys")
    return public, secret


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            key = file.read(64).strip()
    except OSError as error:
        raise UsageError(f"{path}: expected a key, cannot be read: {error.strerror}") from error
    if not _KEY.fullmatch(key):
        raise UsageError(f"{path}: expected a key of 40 characters of Z85, got something else; make new keys")
    return key


def admitted_clients(folder: Path) -> tuple[dict[bytes, str], list[str]]:
    """Public keys of the clients that the server in `folder` admits, with their names; and what could not be read."""
    clients: dict[bytes, str] = {}
    faults: list[str] = []
    for path in sorted(folder.glob(f"{_CLIENTS}/*/client.public")):
        try:
            clients[_load(path)] = path.parent.name
        except UsageError as error:  # one damaged file must not shut the others out
            faults.append(str(error))
    return clients, faults
