"""Detection over the network: real sockets, servers that die, are slow or full of strangers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detect_kit import Asker, Server, first_pixel, until
from numpy.typing import NDArray

from auflow.errors import UsageError
from auflow.transport import messages as m
from auflow.transport import remote_detection, service, together
from auflow.transport.faults import TransportError
from auflow.transport.keys import ClientKeys, load_client_keys, new_keys
from auflow.transport.link import new_context
from auflow.transport.remote_detection import MAX_PICTURE_BYTES, RemoteDetectClient, RemoteDetectServer
from auflow.transport.rundir import endpoint


class Place:
    """An address and keys for it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.address = endpoint(folder, "d") if kind == "ipc" else "tcp://127.0.0.1:*"
        self.server_keys: Path | None = None
        self.keys: ClientKeys | None = None
        if kind == "curve":
            self.server_keys = folder / "keys"
            self.keys = load_client_keys(new_keys(self.server_keys))

    def server(self, address: str = "", **options: Any) -> Server:
        return Server(address or self.address, self.server_keys, **options)

    def asker(self, *servers: Server | str, name: str = "clnf-0", keys: ClientKeys | None = None) -> Asker:
        where = [each.address if isinstance(each, Server) else each for each in servers]
        return Asker(*where, name=name, keys=keys or self.keys)


@pytest.fixture(params=["ipc", "tcp", "curve"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture
def tcp(tmp_path: Path) -> Place:
    return Place("tcp", tmp_path)


@pytest.fixture(autouse=True)
def everything_is_closed() -> Iterator[None]:
    threads, descriptors = threading.active_count(), open_descriptors()
    yield
    until(lambda: threading.active_count() <= threads and open_descriptors() <= descriptors)


def open_descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_each_question_gets_its_answer(place: Place) -> None:
    with place.server() as server, place.asker(server) as asker:
        for index in (1, 2, 200):
            asker.asks(index)
        assert server.seen == [1, 2, 200]


def test_several_clients_get_their_own(place: Place) -> None:
    answered: list[int] = []

    def ask_often(lane: int) -> None:
        with place.asker(server, name=f"clnf-{lane}") as asker:
            for index in range(lane * 40, lane * 40 + 30):
                asker.asks(index)
        answered.append(lane)

    with place.server() as server:
        threads = [threading.Thread(target=ask_often, args=(lane,)) for lane in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answered) == [0, 1, 2, 3]
    assert sorted(server.seen) == [lane * 40 + turn for lane in range(4) for turn in range(30)]


def test_a_server_that_is_started_again_is_found(place: Place) -> None:
    with place.server() as first, place.asker(first) as asker:
        asker.asks(1)
        first.close()
        request = asker.begin(2)
        for _ in range(20):
            assert asker.client.receive(request) is None
            time.sleep(0.005)
        with place.server(first.address):
            assert asker.await_answer(request)[0, 0] == 2
            asker.asks(3)


def test_of_two_servers_one_is_away(place: Place, tmp_path: Path) -> None:
    other = endpoint(tmp_path, "e") if place.address.startswith("ipc") else place.address
    with place.server() as first, place.server(other) as second, place.asker(first, second) as asker:
        until(lambda: [asker.asks(index) for index in range(4)] and first.seen and second.seen)  # they take turns
        first.close()
        until(lambda: not asker.client._has_peer(0))
        asker.client.repeated = 0
        for index in range(10, 20):
            asker.asks(index)
        assert asker.client.repeated == 0  # nobody waits for one that is known to be away
        assert second.seen[-10:] == list(range(10, 20))


def test_a_question_that_died_with_its_server_is_asked_of_another(tcp: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FIRST_PATIENCE_S", 0.1)
    context = new_context()
    silent = RemoteDetectServer(context, "tcp://127.0.0.1:*")
    with tcp.asker(silent.address) as asker:
        until(lambda: asker.client._has_peer(0))
        request = asker.begin(7)
        until(silent.receive)
        silent.close()
        with tcp.server(silent.address):
            assert asker.await_answer(request)[0, 0] == 7
    context.term()


def test_a_slow_server_looks_once_however_often_it_is_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FIRST_PATIENCE_S", 0.05)

    def slowly(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.5)
        return first_pixel(bgr)

    with place.server(detect=slowly) as server, place.asker(server) as asker:
        for index in (1, 2):
            asker.asks(index)
        assert asker.client.repeated > 2
        assert server.seen == [1, 2]


class Crowd:
    """A server that is busy with one picture while several clients ask; `bad` is one that the detector fails on."""

    def __init__(self, place: Place, clock: str, bad: int = -1) -> None:
        self._place, self._clock, self._bad = place, clock, bad
        self._busy, self._go_on = threading.Event(), threading.Event()

    def _detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        if bgr[0, 0, 0] == 1:
            self._busy.set()
            assert self._go_on.wait(20)
        if bgr[0, 0, 0] == self._bad:
            raise ValueError("no good")
        return first_pixel(bgr)

    def ask(self, *good: int) -> Server:
        """The server after all answers."""
        with ExitStack() as stack:
            server = stack.enter_context(self._place.server(detect=self._detect))
            first = stack.enter_context(self._place.asker(server, name="first"))
            first.asks(0)  # the time of a picture is known then
            numbers = [number for number in (*good, self._bad) if number >= 0]
            askers = [stack.enter_context(self._place.asker(server, name=f"clnf-{number}")) for number in numbers]
            for asker in askers:
                until(lambda asker=asker: asker.client._has_peer(0))
            held = first.begin(1, self._clock)
            assert self._busy.wait(20)
            asked = {n: (asker, asker.begin(n, self._clock)) for n, asker in zip(numbers, askers, strict=True)}
            time.sleep(0.3)  # until all of them have come
            self._go_on.set()
            assert first.await_answer(held)[0, 0] == 1
            for number in good:
                asker, request = asked[number]
                assert asker.await_answer(request)[0, 0] == number
            return server


def test_live_clients_that_wait_together_share_the_calls(tcp: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "BUDGET_S", 10.0)
    server = Crowd(tcp, "arrival").ask(2, 3, 4)
    assert server.together == [1, 1, 3]
    assert sorted(server.seen) == [0, 1, 2, 3, 4]


def test_files_do_not(tcp: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "BUDGET_S", 10.0)
    assert Crowd(tcp, "file").ask(2, 3, 4).together == [1] * 5


def test_a_picture_that_the_detector_fails_on_costs_the_others_nothing(
    tcp: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "BUDGET_S", 10.0)
    server = Crowd(tcp, "arrival", bad=9).ask(2, 3)
    assert server.together[:3] == [1, 1, 3]
    assert server.together[3:6] == [1, 1, 1]  # each by itself


def test_answers_that_come_twice_or_late_are_passed_over(tcp: Place) -> None:
    context = new_context()
    server = RemoteDetectServer(context, "tcp://127.0.0.1:*")
    with tcp.asker(server.address) as asker:
        until(lambda: asker.client._has_peer(0))
        for index in (1, 2):
            request = asker.begin(index)
            found: list[Any] = []
            until(lambda found=found: found.append(server.receive()) or found[-1])
            client = found[-1][0]
            for late in range(index + 1):  # those before, too
                for _ in range(3):
                    server.answer(client, m.Boxes(0, late, np.full((1, 5), late, np.float32)))
            assert asker.await_answer(request)[0, 0] == index
    server.close()
    context.term()


def test_an_answer_that_was_lost_comes_again_without_another_look(tcp: Place) -> None:
    with tcp.server() as server:
        for _ in range(2):  # the second is the first, whose connection broke
            with tcp.asker(server) as asker:
                asker.asks(5)
        assert server.seen == [5]


def test_the_answers_that_are_kept_are_bounded(tcp: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_detection, "_KEPT_ANSWERS", 3)
    with tcp.server() as server:
        for lane in (*range(5), 4, 0):
            with tcp.asker(server, name=f"clnf-{lane}") as asker:
                asker.asks(lane)
        assert server.seen == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:*", "tcp://*:8719", "tcp://localhost:8719", "tcp://[::]:8719"])
def test_beyond_this_machine_both_ends_need_keys(address: str) -> None:
    context = new_context()
    for make in (
        lambda: RemoteDetectServer(context, address),
        lambda: RemoteDetectClient(context, [address], "clnf-0"),
    ):
        with pytest.raises(UsageError, match=r"expected keys .* got none. Make them with `auflow keys new DIR`"):
            make()
    context.term()


def test_with_keys_it_may_be_reached_from_everywhere(tmp_path: Path) -> None:
    place = Place("curve", tmp_path)
    with place.server("tcp://0.0.0.0:*") as server:
        port = server.address.rpartition(":")[2]
        with place.asker(f"tcp://127.0.0.1:{port}") as asker:
            asker.asks(1)


@pytest.mark.parametrize("which", ["none", "unknown", "of another server"])
def test_without_the_right_keys_nobody_asks(tmp_path: Path, which: str) -> None:
    place = Place("curve", tmp_path)
    right, others = place.keys, load_client_keys(new_keys(tmp_path / "others"))
    assert right is not None
    wrong = {
        "none": None,
        "unknown": ClientKeys(right.server, others.public, others.secret),
        "of another server": ClientKeys(others.server, right.public, right.secret),
    }[which]
    with place.server() as server, Asker(server.address, keys=wrong) as stranger, place.asker(server) as honest:
        request = stranger.begin(66)
        for index in range(20):
            assert stranger.client.receive(request) is None
            honest.asks(index)
            time.sleep(0.01)
        assert 66 not in server.seen


def test_a_key_that_is_admitted_later_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZeroMQ gives up when a key was refused; the client does not."""
    monkeypatch.setattr(remote_detection, "_LOOK_AFTER_S", 0.2)
    place = Place("curve", tmp_path)
    late = new_keys(tmp_path / "keys", "late")
    keys = load_client_keys(late)
    public = (late / "client.public").read_bytes()
    (late / "client.public").unlink()
    with place.server() as server, place.asker(server, keys=keys) as asker:
        request = asker.begin(4)
        until(lambda: asker.client.receive(request) or asker.news)
        assert asker.news == [
            f"detection: nobody at {server.address}: does `auflow detect` run there, and does it admit our keys?"
        ]
        (late / "client.public").write_bytes(public)
        assert asker.await_answer(request)[0, 0] == 4


def test_a_picture_that_no_host_takes_is_refused_at_once(tcp: Place) -> None:
    with tcp.server() as server, tcp.asker(server) as asker:
        side = int((MAX_PICTURE_BYTES / 3) ** 0.5) + 1
        large = np.broadcast_to(np.uint8(0), (side, side, 3))  # takes no memory
        request = m.DetectRequest(0, m.FrameReady(0, 1, 0.0, 0, 1, side, side, 0.0))
        with pytest.raises(TransportError, match=r"up to 67108864 bytes .*, got \(4730, 4730, 3\)"):
            asker.client.ask(request, large)
        asker.asks(1)


def test_an_address_that_is_in_use(place: Place) -> None:
    with place.server() as server, place.asker(server) as asker:
        asker.asks(1)
        context = new_context()
        with pytest.raises(TransportError, match=r"another auflow using it|somebody listens; choose another"):
            RemoteDetectServer(context, server.address)
        context.term()
        asker.asks(2)


def test_the_socket_file_of_one_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    address = endpoint(tmp_path, "d")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address.removeprefix("ipc://"))
    with Server(address) as server, Asker(server.address) as asker:
        asker.asks(1)
