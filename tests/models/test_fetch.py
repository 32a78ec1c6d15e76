"""Fetch against a server on loopback and a stand-in for pip: resume, refusals, fall-back, licence."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from auflow.errors import ModelError, UsageError
from auflow.models import fetch as fetching
from auflow.models import store, web
from auflow.models.fetch import Sources, fetch
from auflow.models.install import SCRATCH, exclusive, part_of
from auflow.models.manifest import ModelFile
from auflow.models.store import originals

BIG, SMALL, TWIN, LICENCE = "lib/big.dat", "lib/a b.txt", "lib/twin.txt", "LICENCE.txt"
BYTES = {
    LICENCE: b"terms",
    SMALL: b"small",
    BIG: np.random.default_rng(0).bytes(300_000),
    TWIN: b"small",  # the same bytes under another name, as tris_68_full.txt
}
FILES = {
    path: ModelFile(path, len(data), hashlib.sha256(data).hexdigest(), path != LICENCE) for path, data in BYTES.items()
}


class Silent:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.counts: list[tuple[int, int | None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advanced(self, what: str, done: int, total: int | None) -> None:
        self.counts.append((done, total))


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `orders[path]` is a list of what to do instead, one item a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(BYTES)
        self.orders: dict[str, list[int | str]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def asked_for(self, path: str) -> list[str | None]:
        """The Range headers of the requests for a file, without the first one of all, which only probes."""
        return [header for name, header in self.asked[1:] if name == path]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path[1:].replace("%20", " ")
        header = self.headers.get("Range")
        self.server.asked.append((path, header))
        first = len(self.server.asked) == 1
        order = self.server.orders[path].pop(0) if self.server.orders.get(path) and not first else None
        if isinstance(order, int):
            self.answer(order, b"", {})
            return
        data = self.server.files[path]
        start = int(header.removeprefix("bytes=").removesuffix("-")) if header and self.server.ranges else 0
        rest = data[start:]
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self.answer(206 if start else 200, rest, headers, keep=len(rest) // 2 if order == "cut" else len(rest))

    def answer(self, code: int, body: bytes, headers: dict[str, str], keep: int | None = None) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body[:keep])
        except ConnectionError:  # the probe reads headers only
            self.close_connection = True
        if keep is not None and keep < len(body):
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def manifest(monkeypatch) -> None:
    files = tuple(FILES.values())
    monkeypatch.setattr(store, "load_manifest", lambda: files)
    monkeypatch.setattr(fetching, "load_manifest", lambda: files)


@pytest.fixture
def pip() -> SimpleNamespace:
    """A stand-in for pip: counts its calls and makes a wheel that carries `files`."""
    state = SimpleNamespace(calls=0, files={f"PACKAGE/{i}/{Path(p).name}": d for i, (p, d) in enumerate(BYTES.items())})

    def download(scratch: Path, progress: object) -> Path:
        state.calls += 1
        path = scratch / "some.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in state.files.items():
                archive.writestr(name, data)
        return path

    state.files.pop("PACKAGE/0/LICENCE.txt")
    state.download = download
    return state


@pytest.fixture
def run(tmp_path, manifest, pip) -> Callable[..., SimpleNamespace]:
    """Fetch into a fresh store from a URL."""

    def start(url: str, **options: float) -> SimpleNamespace:
        progress = Silent()
        patience = {"probe_s": 2.0, "read_s": 2.0, "pause_s": 0.0} | options
        result = fetch(
            tmp_path, progress, accept_license=True, sources=Sources(url, pip.download, **patience)
        )  # fmt: skip
        return SimpleNamespace(result=result, progress=progress)

    return start


def held(root: Path) -> dict[str, bytes]:
    folder = originals(root)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused_url() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def counts(result: fetching.FetchResult) -> tuple[int, int, int]:
    return result.kept, result.downloaded, result.unpacked


def test_all_from_the_repository_and_nothing_twice(run, server, pip, tmp_path):
    first = run(server.url)
    assert held(tmp_path) == BYTES
    assert counts(first.result) == (0, 4, 0)
    total = sum(map(len, BYTES.values()))
    assert first.progress.counts[-1] == (total, total)
    assert [done for done, _ in first.progress.counts] == sorted(done for done, _ in first.progress.counts)
    before = len(server.asked)
    assert counts(run(server.url).result) == (4, 0, 0)
    assert (len(server.asked), pip.calls) == (before, 0)
    assert not (tmp_path / SCRATCH).exists()


def test_a_part_goes_on_where_it_stopped(run, server, tmp_path):
    part_of(tmp_path, FILES[BIG]).write_bytes(BYTES[BIG][:123_456])
    run(server.url)
    assert held(tmp_path) == BYTES
    assert server.asked_for(BIG) == ["bytes=123456-"]


def test_a_server_without_ranges_sends_it_whole(run, server, tmp_path):
    server.ranges = False
    part_of(tmp_path, FILES[BIG]).write_bytes(BYTES[BIG][:123_456])
    run(server.url)
    assert held(tmp_path) == BYTES
    assert server.asked_for(BIG) == ["bytes=123456-"]


def test_a_broken_connection_is_taken_up_again(run, server, pip, tmp_path):
    server.orders[BIG] = ["cut", 503, "cut"]
    run(server.url)
    assert held(tmp_path) == BYTES
    assert server.asked_for(BIG) == [None, "bytes=150000-", "bytes=150000-", "bytes=225000-"]
    assert pip.calls == 0


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * 300_000, b"x" * 300_001], ids=["short", "full", "long"])
def test_a_part_of_other_bytes_is_fetched_anew(run, server, pip, tmp_path, part):
    part_of(tmp_path, FILES[BIG]).write_bytes(part)
    run(server.url)
    assert held(tmp_path) == BYTES
    assert pip.calls == 0


def test_a_damaged_file_is_mended_and_only_that(run, server, tmp_path):
    run(server.url)
    (originals(tmp_path) / BIG).write_bytes(BYTES[BIG][:-1] + b"!")
    server.asked.clear()
    assert counts(run(server.url).result) == (3, 1, 0)
    assert held(tmp_path) == BYTES
    assert {path for path, _ in server.asked} == {BIG}


@pytest.mark.parametrize(
    "wrong", [b"y" * 300_000, b"y" * 10, b"y" * 900_000, b""], ids=["same size", "short", "long", "0"]
)
def test_other_bytes_in_the_repository_are_taken_from_the_wheel(run, server, pip, tmp_path, wrong):
    server.files[BIG] = wrong
    outcome = run(server.url)
    assert held(tmp_path) == BYTES
    assert counts(outcome.result) == (0, 3, 1)
    assert len(server.asked_for(BIG)) == 1
    assert pip.calls == 1
    assert FILES[BIG].sha256 in outcome.progress.notes[0]
    assert hashlib.sha256(wrong[:300_001]).hexdigest() in outcome.progress.notes[0]


def test_a_file_that_is_not_in_the_repository_is_taken_from_the_wheel(run, server, pip, tmp_path):
    server.orders[SMALL] = [404]
    outcome = run(server.url)
    assert held(tmp_path) == BYTES
    assert counts(outcome.result) == (0, 3, 1)
    assert "404" in outcome.progress.notes[0]


def test_a_server_that_gives_up_half_way_leaves_the_rest_to_the_wheel(run, server, pip, tmp_path):
    server.orders[BIG] = [500] * 4
    assert counts(run(server.url).result) == (0, 2, 2)
    assert held(tmp_path) == BYTES


def test_nothing_listens_so_all_comes_from_the_wheel_but_the_licence(run, pip, tmp_path):
    start = time.monotonic()
    outcome = run(refused_url())
    assert time.monotonic() - start < 2
    assert held(tmp_path) == {path: data for path, data in BYTES.items() if path != LICENCE}
    assert counts(outcome.result) == (0, 0, 3)
    assert "cannot be reached" in outcome.progress.notes[0]
    assert LICENCE in outcome.progress.notes[-1]
    assert counts(run(refused_url()).result) == (3, 0, 0)
    assert pip.calls == 1


def test_a_server_that_never_answers_is_left_after_the_probe_s_limit(run, pip, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.monotonic()
        outcome = run(f"http://127.0.0.1:{mute.getsockname()[1]}/", probe_s=0.2)
        assert time.monotonic() - start < 2
    assert counts(outcome.result) == (0, 0, 3)


def test_a_name_that_is_looked_up_for_ever_is_left_after_the_limit(monkeypatch):
    release = threading.Event()

    def hang(*_: object, **__: object) -> None:
        release.wait(10)
        raise OSError("late")

    monkeypatch.setattr(web.urllib.request, "urlopen", hang)
    start = time.monotonic()
    try:
        assert web.probe("http://nowhere.invalid/", 0.1) == "no answer within 0.1 s"
        assert time.monotonic() - start < 2
    finally:
        release.set()


def test_a_proxy_that_lets_nothing_through_counts_as_unreachable(run, server, pip):
    server.files.clear()
    server.orders = {path: [] for path in BYTES}
    server.RequestHandlerClass = type("Closed", (Handler,), {"do_GET": lambda self: self.answer(403, b"", {})})
    outcome = run(server.url)
    assert counts(outcome.result) == (0, 0, 3)
    assert "403" in outcome.progress.notes[0]


def test_without_the_licence_nothing_is_touched_or_asked_for(server, pip, manifest, tmp_path):
    root = tmp_path / "store"
    with pytest.raises(UsageError, match="non-commercial research") as caught:
        fetch(root, Silent(), accept_license=False, sources=Sources(server.url, pip.download))
    assert caught.value.exit_code == 2
    assert "--accept-license" in str(caught.value)
    assert not root.exists()
    assert (server.asked, pip.calls) == ([], 0)


def test_what_neither_source_has_is_named_and_the_rest_is_kept(run, server, pip, tmp_path):
    server.orders[BIG] = [404]
    pip.files["PACKAGE/2/big.dat"] = b"z" * 300_000  # the right size is not enough
    with pytest.raises(ModelError, match=r"lib/big\.dat") as caught:
        run(server.url)
    assert "404" in str(caught.value)
    assert "not in some.whl" in str(caught.value)
    assert caught.value.exit_code == 4
    assert held(tmp_path) == {path: data for path, data in BYTES.items() if path != BIG}
    assert counts(run(server.url).result) == (3, 1, 0)


def test_a_broken_wheel_is_an_error_with_its_name(run, pip, tmp_path):
    def download(scratch: Path, progress: object) -> Path:
        (scratch / "some.whl").write_bytes(b"PK no archive")
        return scratch / "some.whl"

    pip.download = download
    with pytest.raises(ModelError, match=r"some\.whl: expected a whole wheel"):
        run(refused_url())


def test_two_at_once_are_refused(run, server, tmp_path):
    with exclusive(tmp_path), pytest.raises(ModelError, match="another `auflow models fetch`"):
        run(server.url)
    assert server.asked == []
    run(server.url)


def test_an_interrupted_fetch_leaves_a_part_and_no_lock(run, server, manifest, pip, tmp_path):
    class Stops(Silent):
        def advanced(self, what: str, done: int, total: int | None) -> None:
            if what == BIG:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, Stops(), accept_license=True, sources=Sources(server.url, pip.download))
    assert part_of(tmp_path, FILES[BIG]).is_file()
    assert not (originals(tmp_path) / BIG).exists()
    assert not (tmp_path / SCRATCH).exists()
    run(server.url)
    assert held(tmp_path) == BYTES
    assert server.asked_for(BIG)[-1] is not None


def test_a_store_that_cannot_be_written_is_an_error_that_says_where(run, server, tmp_path):
    (tmp_path / "2.2.0").write_bytes(b"a file where the folder should be")
    with pytest.raises(ModelError, match=r"2\.2\.0.*cannot be written"):
        run(server.url)
