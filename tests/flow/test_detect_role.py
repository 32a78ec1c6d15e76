"""The detection worker's loop with real sockets and rings: who shares the calls, and whom a death is laid at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from auflow.flow.deaths import Deaths
from auflow.flow.groups import Down
from auflow.flow.role_detect import DetectRole
from auflow.flow.topology import Role, edge_name
from auflow.telemetry.probe import Probe
from auflow.transport import messages as m
from auflow.transport.link import new_context
from auflow.transport.ring import FrameRing, Mark, Owner, create_ring
from auflow.transport.rundir import endpoint
from auflow.transport.service import DetectClient

from .conftest import until

HEIGHT, WIDTH, LANES = 6, 8, 4
KILLER = 66  # a picture with this first pixel


class Killed(BaseException):
    """Stands for SIGKILL: nothing is done any more, and the ring's marks stay as they are."""


class Detector:
    """Tells pictures apart by their first pixel, and dies of one."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        self.calls.append([int(bgr[0, 0, 0]) for bgr in pictures])
        if KILLER in self.calls[-1]:
            raise Killed
        return [np.full((1, 5), bgr[0, 0, 0], np.float32) for bgr in pictures]


class Shell:
    """What a worker's shell is to its role."""

    def __init__(self, folder: Path, context: Any, fds: Sequence[int], incarnation: int) -> None:
        self.config = SimpleNamespace(number=0, models=folder, incarnation=incarnation)
        self.context, self._folder = context, folder
        self._rings = [FrameRing(fd, Owner.DETECT) for fd in fds]
        self.complaints: list[str] = []
        self.progress = 0
        self.probe = Probe()
        self.worked: list[tuple[float, float]] = []
        self.probe.worked = lambda _, began, ended, **more: self.worked.append((began, ended))  # type: ignore[method-assign]

    def endpoint(self, name: str) -> str:
        return endpoint(self._folder, name)

    def ring_of(self, lane: int) -> FrameRing:
        return self._rings[lane]

    def note(self, stream: int, frame: int, ring: FrameRing) -> None:
        ring.mark(stream, frame)

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def wait(self, sockets: Sequence[Any]) -> None:
        """What was asked has come already (`Place.gather`)."""


class Place:
    """Lanes with a picture each, their clients, and a detection worker that can be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.context = folder, new_context()
        self._fds = [create_ring(8, HEIGHT * WIDTH * 3) for _ in range(LANES)]
        self.rings = [FrameRing(fd, Owner.DECODE) for fd in self._fds]
        self.clients: list[DetectClient] = []
        self.requests: dict[int, m.DetectRequest] = {}
        self.answered: dict[int, int] = {}
        self.lives = 0
        self.begin()
        address = self.shell.endpoint(edge_name(Role.DETECT, 0))
        self.clients = [DetectClient(self.context, [address], f"clnf-{lane}") for lane in range(LANES)]
        self.all_connected()

    def begin(self) -> None:
        """A new life of the worker."""
        self.shell = Shell(self.folder, self.context, self._fds, self.lives)
        self.lives += 1
        self.role = DetectRole(self.shell)  # type: ignore[arg-type]
        self.detector = Detector()
        self.role._detector = self.detector
        self._receive = self.role._server.receive
        self._held: list[tuple[bytes, m.DetectRequest]] = []
        self.role._server.receive = lambda: self._held.pop(0) if self._held else None  # type: ignore[method-assign]

    def all_connected(self) -> None:
        for client in self.clients:
            assert client.sockets[0].poll(5000, 2)

    def ask(self, lane: int, index: int, first_pixel: int, clock: str = "arrival") -> None:
        """As a CLNF worker does, about a new frame."""
        ring = self.rings[lane]
        slot = ring.acquire()
        assert slot is not None
        pixels = ring.array(slot, HEIGHT, WIDTH)
        pixels[:] = first_pixel
        ring.hand_over(slot, Owner.CLNF)
        frame = m.FrameReady(lane, index, 0.0, slot.number, slot.generation, HEIGHT, WIDTH, 0.0, clock=clock)
        self.ask_again(lane, m.DetectRequest(lane, frame))

    def ask_again(self, lane: int, request: m.DetectRequest | None = None) -> None:
        self.requests[lane] = request or self.requests[lane]
        self.clients[lane].ask(self.requests[lane], np.empty(0, np.uint8))

    def gather(self) -> None:
        """Wait until all that was asked has come, in the order of the lanes: the worker looks only once."""

        def come() -> bool:
            self.look()  # which asks again when a question went to one that has died
            self._held += iter(self._receive, None)
            there = {client for client, _ in self._held}
            return all(f"clnf-{lane}".encode() in there for lane in self.requests if lane not in self.answered)

        until(come, 5)
        self._held.sort(key=lambda found: found[0])

    def get_to_know(self) -> None:
        """The time that a picture takes."""
        self.ask(0, 1, 10)
        self.work_on(0)
        self.answers(0)
        self.detector.calls.clear()
        self.shell.worked.clear()

    def work_on(self, *lanes: int) -> None:
        """Step until these have their answers, whatever else comes."""

        def done() -> bool:
            self._held += iter(self._receive, None)
            if self._held:
                self.role.step()
            self.look()
            return self.answered.keys() >= set(lanes)

        until(done, 5)

    def step(self) -> None:
        self.gather()
        self.role.step()

    def look(self) -> None:
        """What has been answered so far."""
        for lane, request in self.requests.items():
            if lane not in self.answered and (boxes := self.clients[lane].receive(request)) is not None:
                self.answered[lane] = int(boxes.boxes[0, 0])

    def answers(self, *lanes: int) -> list[int]:
        """The first pixel that each of these lanes was answered with; nobody has a question then."""

        def all_there() -> bool:
            self.look()
            return self.answered.keys() >= set(lanes)

        until(all_there, 5)
        found = [self.answered[lane] for lane in lanes]
        self.answered.clear()
        self.requests.clear()
        return found

    def step_on(self) -> None:
        """A step for each lane."""
        for _ in range(LANES):
            self.role.step()

    def die(self) -> Mark | None:
        """Step until the worker is dead and has been started again; what it worked on, as the orchestrator reads it."""
        self.gather()
        with pytest.raises(Killed):
            self.step_on()
        marks = [mark for ring in self.rings if (mark := ring.read_mark(Owner.DETECT)) is not None]
        for ring in self.rings:
            ring.forget_mark(Owner.DETECT)
        assert len(marks) < 2
        self.role.close()
        self.begin()
        # Some time after its start: it knows how long a picture takes, and could share.
        self.role._together.took([(b"", request) for request in self.requests.values()], 0.001)
        self.all_connected()
        self.look()
        for lane in self.requests:
            if lane not in self.answered:
                self.ask_again(lane)
        return marks[0] if marks else None

    def close(self) -> None:
        self.role.close()
        for client in self.clients:
            client.close()
        self.context.term()
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_live_pictures_that_wait_are_worked_on_together_and_each_gets_its_own(place: Place) -> None:
    place.get_to_know()
    for lane in range(LANES):
        place.ask(lane, 2, 20 + lane)
    place.step()
    assert [sorted(call) for call in place.detector.calls] == [[20, 21, 22, 23]]
    assert place.answers(0, 1, 2, 3) == [20, 21, 22, 23]
    assert place.shell.progress == 5
    assert place.shell.complaints == []
    # Told one after the other: what the worker was busy is the sum.
    times = place.shell.worked
    assert len(times) == 4
    assert all(ended == pytest.approx(began) for (_, ended), (began, _) in pairwise(times))


def test_files_are_worked_on_one_by_one(place: Place) -> None:
    place.get_to_know()
    for lane in range(LANES):
        place.ask(lane, 2, 20 + lane, "file" if lane < 2 else "rtcp")
    place.step()
    assert sorted(map(len, place.detector.calls)) == [1, 1, 2]
    assert place.answers(0, 1, 2, 3) == [20, 21, 22, 23]


def test_a_lane_that_was_started_anew_takes_nobody_along(place: Place) -> None:
    place.get_to_know()
    for lane in range(3):
        place.ask(lane, 2, 20 + lane)
    frame = place.requests[1].frame
    place.rings[1].reclaim()  # its lane has fallen: the slot is nobody's
    place.step()
    assert [sorted(call) for call in place.detector.calls] == [[20, 22]]
    assert place.answers(0, 2) == [20, 22]
    assert len(place.shell.complaints) == 1
    assert f"slot {frame.slot}" in place.shell.complaints[0]


def test_a_lane_that_falls_meanwhile_gets_no_answer(place: Place) -> None:
    place.get_to_know()
    for lane in range(3):
        place.ask(lane, 2, 20 + lane)
    plain = place.detector.detect_many

    def fall(pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        place.rings[2].reclaim()
        return plain(pictures)

    place.detector.detect_many = fall  # type: ignore[method-assign]
    place.step()
    request = place.requests[2]
    assert place.answers(0, 1) == [20, 21]
    assert len(place.shell.complaints) == 1
    assert place.clients[2].receive(request) is None


@pytest.mark.parametrize("killer", [0, 1, 2])
def test_of_pictures_that_wait_together_only_the_one_that_kills_is_blamed(place: Place, killer: int) -> None:
    place.get_to_know()
    for lane in range(3):
        place.ask(lane, 2, KILLER if lane == killer else 20 + lane)
    assert place.die() is None  # together: at nobody's door
    assert place.lives == 2
    deaths, blamed = Deaths(), []
    for _ in range(2):  # from now on each by itself
        mark = place.die()
        assert mark is not None
        blamed.append(mark)
        enough = deaths.is_enough(Down("detect-0", Role.DETECT, "was killed", mark.stream, mark.frame))
    assert blamed == [Mark(killer, 2)] * 2
    assert enough
    # Its lane is started anew and does not ask any more; the others have their answers, however often they had to ask.
    place.rings[killer].reclaim()
    del place.requests[killer]
    place.work_on(*place.requests)
    assert place.answered == {lane: 20 + lane for lane in range(3) if lane != killer}


@pytest.mark.parametrize("killer", [0, 1, 2])
def test_a_file_that_kills_is_blamed_at_once(place: Place, killer: int) -> None:
    place.get_to_know()
    for lane in range(3):
        clock = "file" if lane == killer else "arrival"
        place.ask(lane, 2, KILLER if lane == killer else 20 + lane, clock)
    assert place.die() == Mark(killer, 2)


def test_a_worker_that_was_started_again_shares_no_calls(place: Place) -> None:
    place.get_to_know()
    place.ask(0, 2, KILLER)
    assert place.die() == Mark(0, 2)  # it was alone
    place.rings[0].reclaim()
    place.get_to_know()
    for lane in range(LANES):
        place.ask(lane, 3, 20 + lane)
    place.gather()
    place.step_on()
    assert place.detector.calls == [[20], [21], [22], [23]]
    assert place.answers(0, 1, 2, 3) == [20, 21, 22, 23]
