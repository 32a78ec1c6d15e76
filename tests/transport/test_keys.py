"""Keys as files: made once, never written over, refused when they are damaged or open to others."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from auflow.cli import main
from auflow.errors import OutputError, UsageError
from auflow.transport.keys import admitted_clients, load_client_keys, load_server_keys, new_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    new_keys(tmp_path / "keys", "laptop")
    return tmp_path / "keys"


def test_both_ends_load_what_was_made(folder: Path) -> None:
    server, client = load_server_keys(folder), load_client_keys(folder / "clients" / "laptop")
    assert client.server == server.public
    assert len({server.public, server.secret, client.public, client.secret}) == 4
    assert admitted_clients(folder) == ({client.public: "laptop"}, [])


def test_secrets_are_for_the_owner_alone_and_in_no_text(folder: Path) -> None:
    for path in folder.rglob("*.secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in (folder, folder / "clients", folder / "clients" / "laptop"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    server = load_server_keys(folder)
    assert server.secret.decode() not in repr(server)
    assert load_client_keys(folder / "clients/laptop").secret.decode() not in repr(
        load_client_keys(folder / "clients/laptop")
    )


def test_nothing_is_written_over(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="there are keys already"):
        new_keys(folder, "laptop")
    new_keys(folder, "phone")
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert sorted(admitted_clients(folder)[0].values()) == ["laptop", "phone"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "-x", "ü", "x" * 65, "a\n"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected a name"):
        new_keys(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        new_keys(tmp_path / "file" / "keys")


def test_a_folder_given_to_the_wrong_end(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"this is the server's folder: give that of a client"):
        load_client_keys(folder)
    with pytest.raises(UsageError, match="this is a client's folder"):
        load_server_keys(folder / "clients/laptop")
    for load in (load_server_keys, load_client_keys):
        with pytest.raises(UsageError, match="make keys with `auflow keys new DIR`"):
            load(tmp_path)


def test_a_secret_that_others_can_read(folder: Path) -> None:
    (folder / "server.secret").chmod(0o640)
    with pytest.raises(UsageError, match="expected mode 0600, got 0640"):
        load_server_keys(folder)


@pytest.mark.parametrize("text", [b"", b"short", b"x" * 41, b"x" * 10_000, b"\xff" * 40, b"~" * 40])
def test_a_file_that_is_no_key(folder: Path, text: bytes) -> None:
    (folder / "server.public").write_bytes(text)
    with pytest.raises(UsageError, match="expected a key of 40 characters"):
        load_server_keys(folder)


def test_halves_that_do_not_fit(folder: Path) -> None:
    new_keys(folder, "phone")
    (folder / "clients/phone/client.public").write_bytes((folder / "clients/laptop/client.public").read_bytes())
    with pytest.raises(UsageError, match="are no pair"):
        load_client_keys(folder / "clients/phone")


def test_a_damaged_client_does_not_shut_the_others_out(folder: Path) -> None:
    broken = new_keys(folder, "broken") / "client.public"
    broken.write_text("nonsense")
    clients, faults = admitted_clients(folder)
    assert list(clients.values()) == ["laptop"]
    assert len(faults) == 1
    assert str(broken) in faults[0]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys"
    assert main(["keys", "new", str(keys)]) == 0
    assert main(["keys", "new", str(keys), "--name", "phone"]) == 0
    assert main(["keys", "new", str(keys)]) == 2
    assert "there are keys already" in capsys.readouterr().err
    (keys / "clients/phone/client.secret").unlink()
    assert main(["keys", "list", str(keys)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "server",
        "client  (its secret key still lies here)",
        "phone",
    ]
    (keys / "clients/phone/client.public").write_text("")
    assert main(["keys", "list", str(keys)]) == 2
    assert main(["keys", "list", str(tmp_path)]) == 2
