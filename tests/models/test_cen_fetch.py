"""`fetch --with-ceclm` against the loopback server of the other fetch tests: links, their order, and what fails."""

from __future__ import annotations

import argparse
import hashlib
import json
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from auflow.errors import ModelError, UsageError
from auflow.models import fetch as fetching
from auflow.models import store
from auflow.models.commands import add_parser
from auflow.models.fetch import Sources, fetch
from auflow.models.install import part_of
from auflow.models.manifest import CeclmFile, ModelFile, load_ceclm_files, load_manifest
from auflow.models.store import missing_ceclm_files, originals, require_ceclm, verify_ceclm_files

others = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_fetch.py"))))

MENU, FIRST, SECOND = "lib/menu.txt", "lib/first.dat", "lib/second.dat"
BYTES = {MENU: b"menu", FIRST: b"first" * 20_000, SECOND: b"second" * 20_000}
BASE = "lib/base.txt"


@pytest.fixture
def server() -> Iterator[object]:
    with others.Server() as running:
        running.files = {"": b"front page", BASE: b"base", MENU: BYTES[MENU]}
        thread = others.threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def model_file(path: str, data: bytes) -> ModelFile:
    return ModelFile(path, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def links(monkeypatch, server) -> dict[str, list[str]]:
    """The links of the two large files, changeable until the fetch; everything else is in the repository."""
    chosen = {FIRST: [server.url + "one?id=1&dl=1"], SECOND: [server.url + "a?dl=1", server.url + "b?dl=1"]}
    server.files |= {"one?id=1&dl=1": BYTES[FIRST], "a?dl=1": BYTES[SECOND], "b?dl=1": BYTES[SECOND]}

    def extras() -> tuple[CeclmFile, ...]:
        return tuple(CeclmFile(model_file(path, data), tuple(chosen.get(path, []))) for path, data in BYTES.items())

    for module in (store, fetching):
        monkeypatch.setattr(module, "load_manifest", lambda: (model_file(BASE, b"base"),))
        monkeypatch.setattr(module, "load_ceclm_files", extras)
    return chosen


@pytest.fixture
def run(tmp_path, links, server) -> Callable[..., SimpleNamespace]:
    def no_pip(*_: object) -> Path:
        raise AssertionError("the wheel was asked for")

    def start(**options: object) -> SimpleNamespace:
        progress = others.Silent()
        sources = Sources(server.url, no_pip, probe_s=2.0, read_s=2.0, pause_s=0.0)
        wanted = {"accept_license": True, "with_ceclm": True} | options
        return SimpleNamespace(result=fetch(tmp_path, progress, sources=sources, **wanted), progress=progress)

    return start


def held(root: Path) -> dict[str, bytes]:
    folder = originals(root)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_list_of_files_names_what_the_menus_name(ceclm_dir):
    """Every file of main_ceclm_general.txt is in one of the two lists, and no more than those."""
    extras = {extra.file.path for extra in load_ceclm_files()}
    base = "lib/local/LandmarkDetector/model/"
    named = {base + "main_ceclm_general.txt"}
    for menu in ("main_ceclm_general.txt", "cen_general.txt"):
        text = (originals(ceclm_dir) / base / menu).read_text(encoding="ascii")
        named |= {base + line.split()[1] for line in text.splitlines() if line.strip()}
    assert named - {file.path for file in load_manifest()} == extras
    for extra in load_ceclm_files():
        if not extra.urls:
            assert store.damage_of(ceclm_dir, extra.file) is None
        assert len(extra.file.sha256) == 64
        assert all(url.startswith("https://") for url in extra.urls)
        assert len(extra.urls) == (2 if extra.file.path.endswith(".dat") else 0)


def test_the_links_are_those_of_the_list_beside_the_checkout(shared):
    listed = json.loads((shared / "openface_models/upstream.json").read_text(encoding="utf-8"))["ceclm"]
    ours = [
        {"path": e.file.path, "size": e.file.size, "sha256": e.file.sha256, "urls": list(e.urls)}
        for e in load_ceclm_files()
        if e.urls
    ]
    assert ours == listed


def test_without_the_flag_nothing_of_ceclm_is_fetched(run, server, tmp_path):
    result = run(with_ceclm=False).result
    assert held(tmp_path) == {BASE: b"base"}
    assert (result.downloaded, result.linked) == (1, 0)
    assert {path for path, _ in server.asked} == {BASE}


def test_all_from_the_repository_and_the_links_and_nothing_twice(run, server, tmp_path):
    first = run()
    assert held(tmp_path) == {BASE: b"base"} | BYTES
    assert (first.result.kept, first.result.downloaded, first.result.linked) == (0, 2, 2)
    assert first.progress.counts[-1] == (sum(len(BYTES[p]) for p in (FIRST, SECOND)),) * 2
    assert "b?dl=1" not in {path for path, _ in server.asked}
    before = len(server.asked)
    again = run().result
    assert (again.kept, again.downloaded, again.linked) == (4, 0, 0)
    assert len(server.asked) == before
    assert missing_ceclm_files(tmp_path) == []
    require_ceclm(tmp_path)


def test_without_the_licence_nothing_is_asked_for(run, server, tmp_path):
    with pytest.raises(UsageError, match="non-commercial research"):
        run(accept_license=False)
    assert server.asked == []
    assert held(tmp_path) == {}


@pytest.mark.parametrize("answer", [b"<html>The link is gone</html>", b"x" * 120_000, b"x" * 200_000])
def test_a_link_that_gives_something_else_is_left_for_the_next(run, server, tmp_path, answer):
    server.files["a?dl=1"] = answer
    outcome = run()
    assert held(tmp_path) == {BASE: b"base"} | BYTES
    assert any("a?dl=1 gives another file" in note for note in outcome.progress.notes)


def test_a_link_that_is_gone_is_left_for_the_next(run, server, tmp_path):
    server.orders["a?dl=1"] = [404]
    outcome = run()
    assert held(tmp_path) == {BASE: b"base"} | BYTES
    assert any("404" in note for note in outcome.progress.notes)


def test_a_broken_connection_goes_on_where_it_stopped(run, server, tmp_path):
    server.orders["one?id=1&dl=1"] = ["cut"]
    run()
    assert held(tmp_path) == {BASE: b"base"} | BYTES
    assert [header for path, header in server.asked if path == "one?id=1&dl=1"][-1] == "bytes=50000-"


def test_a_part_is_taken_up_by_another_link(run, server, tmp_path):
    part_of(tmp_path, model_file(SECOND, BYTES[SECOND])).write_bytes(BYTES[SECOND][:70_000])
    server.orders["a?dl=1"] = [404]
    run()
    assert held(tmp_path) == {BASE: b"base"} | BYTES
    assert [header for path, header in server.asked if path == "b?dl=1"] == ["bytes=70000-"]


def test_where_no_link_works_the_error_says_what_to_save_where_and_the_rest_is_kept(run, links, server, tmp_path):
    server.files["a?dl=1"] = server.files["b?dl=1"] = b"sign in"
    with pytest.raises(ModelError, match=r"1 files of CE-CLM could not be fetched") as caught:
        run()
    text = str(caught.value)
    for words in (str(originals(tmp_path) / SECOND), hashlib.sha256(BYTES[SECOND]).hexdigest(), "a?dl=1", "b?dl=1"):
        assert words in text
    assert "browser" in text
    assert held(tmp_path) == {BASE: b"base", MENU: BYTES[MENU], FIRST: BYTES[FIRST]}
    assert missing_ceclm_files(tmp_path) == [SECOND]
    with pytest.raises(ModelError, match="--with-ceclm"):
        require_ceclm(tmp_path)
    assert verify_ceclm_files(tmp_path) == 2


def test_a_host_that_does_not_answer_is_waited_for_once(run, links, server, tmp_path):
    with others.socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        for path in (FIRST, SECOND):
            links[path].insert(0, address + path)
        start = time.monotonic()
        outcome = run()
        assert 1.5 < time.monotonic() - start < 3.5
    assert held(tmp_path) == {BASE: b"base"} | BYTES
    assert sum("no answer" in note or "timed out" in note for note in outcome.progress.notes) == 2


def test_a_damaged_file_is_found_and_mended(run, server, tmp_path):
    run()
    (originals(tmp_path) / FIRST).write_bytes(b"!" + BYTES[FIRST][1:])
    for check in (verify_ceclm_files, require_ceclm):
        with pytest.raises(ModelError, match=r"(?s)first\.dat: damaged.*--with-ceclm"):
            check(tmp_path)
    result = run().result
    assert (result.kept, result.linked) == (3, 1)
    assert verify_ceclm_files(tmp_path) == 3


def command(*words: str) -> int:
    parser = argparse.ArgumentParser("auflow")
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", *words])
    code: int = args.handler(args)
    return code


def test_the_command_line(run, links, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("auflow.models.manifest.load_manifest", store.load_manifest)
    monkeypatch.setattr("auflow.models.manifest.load_ceclm_files", store.load_ceclm_files)
    monkeypatch.setattr(fetching, "Sources", lambda: Sources(server.url, pause_s=0.0))
    place = ("--dir", str(tmp_path))
    assert command("fetch", "--accept-license", *place) == 0
    assert "links of CE-CLM" not in capsys.readouterr().out
    assert command("list", *place) == 0
    assert "0 of 3 files of CE-CLM" in capsys.readouterr().out
    assert command("fetch", "--with-ceclm", *place) == 2
    assert command("fetch", "--with-ceclm", "--accept-license", *place) == 0
    assert "2 from the links of CE-CLM" in capsys.readouterr().out
    assert command("list", *place) == 0
    assert "3 of 3 files of CE-CLM" in capsys.readouterr().out
    assert command("verify", *place) == 0
    assert "3 of 3 of CE-CLM" in capsys.readouterr().out
    (originals(tmp_path) / SECOND).write_bytes(b"?")
    assert command("verify", *place) == 4
