"""Who is alive, as tables of events: start-up, liveness, falls, back-off, the budget. No process and no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auflow.errors import ModelError, StageError
from auflow.flow.events import Exited, Fork, Kill, NurseryEnded, ResetRing, Tick, Warn
from auflow.flow.groups import Down, Groups, Limits, Lost, Phase, Reaction, Up
from auflow.flow.topology import Role, Topology, Worker
from auflow.transport import messages as m

LANE = ["decode-0", "sink-0", "au-0", "clnf-0"]  # in the order of their birth
LIMITS = Limits(
    startup_s=50,
    silence_s=20,
    silence_per_frame_s=0.1,
    suspicion_s=0.3,
    back_off_s=(0.0, 1.0, 2.0),
    window_s=100,
    budget=3,
    stuck_s=50,
)


def fork(name: str, incarnation: int) -> Fork:
    role, number = name.split("-")
    return Fork(Worker(Role(role), int(number)), incarnation)


def anew(incarnation: int) -> list[Reaction]:
    return [ResetRing(0), *(fork(name, incarnation) for name in LANE)]


class Game:
    """One lane (and a detection worker), and the time."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.groups = Groups(limits)
        self.now = 0.0
        self.started: list[Reaction] = []
        for name, workers in Topology(1, 1).groups().items():
            self.started += self.groups.add(name, workers, 0.0)

    def __call__(self, *events: object, after_s: float = 0.0) -> list[Reaction]:
        self.now += after_s
        return [reaction for event in events for reaction in self.groups.handle(event, self.now)]  # type: ignore[arg-type]

    def up(self) -> list[Reaction]:
        return self(*(kind(name) for name in LANE for kind in (m.Ready, m.Connected)))

    def die(self, name: str = "clnf-0", code: int = -9, stream: int = 0, frame: int = 7) -> list[Reaction]:
        """A worker ends by itself, and then the others that are killed for it."""
        reactions = self(Exited(name, code, stream, frame))
        return reactions + self(*(Exited(other, -9, 0, 3) for other in LANE if other != name))

    def beats(self, *silent: str) -> None:
        self(*(m.Beat(name, 1, 0, 0, 0) for name in ("detect-0", *LANE) if name not in silent))


@pytest.fixture
def game() -> Game:
    return Game()


def down(cause: str, role: Role = Role.CLNF, stream: int = 0, frame: int = 7) -> Down:
    return Down("lane-0", role, cause, stream, frame)


def test_a_group_is_up_when_all_are_ready_and_connected(game: Game) -> None:
    assert game.started == [fork("detect-0", 0), *(fork(name, 0) for name in LANE)]  # a new ring needs no reset
    assert game(*(m.Ready(name) for name in LANE), *(m.Connected(name) for name in LANE[1:])) == []
    assert game.groups.phase("lane-0") is Phase.STARTING
    assert game(m.Connected("decode-0")) == [Up("lane-0")]
    assert game.groups.phase("lane-0") is Phase.UP
    assert game(m.Ready("detect-0"), m.Connected("detect-0")) == [Up("detect-0")]


def test_when_one_dies_the_others_go_and_all_come_anew(game: Game) -> None:
    game.up()
    assert game(Exited("au-0", -11, 2, 41)) == [Kill("decode-0"), Kill("sink-0"), Kill("clnf-0")]
    assert game.groups.phase("lane-0") is Phase.FALLING
    assert game(Exited("decode-0", -9, 2, 44), Exited("sink-0", 0, 2, 39)) == []
    cause = Down("lane-0", Role.AU, "au-0 was ended by signal 11", 2, 41)  # of the first, not of its consequences
    assert game(Exited("clnf-0", -9, 2, 42)) == [cause, *anew(1)]
    assert game.groups.restarts("lane-0") == 1
    assert game.groups.phase("lane-0") is Phase.STARTING
    assert game.up() == [Up("lane-0")]
    assert game.groups.restarts("detect-0") == 0  # its group is another one


def test_a_detection_worker_is_a_group_of_its_own(game: Game) -> None:
    game.up()
    cause = Down("detect-0", Role.DETECT, "detect-0 was ended by signal 11", 1, 5)
    assert game(Exited("detect-0", -11, 1, 5)) == [cause, fork("detect-0", 1)]
    assert game.groups.phase("lane-0") is Phase.UP


@pytest.mark.parametrize("died_at_its_start", [False, True])
def test_restarts_come_later_and_later_and_are_counted(game: Game, died_at_its_start: bool) -> None:
    cause = down("clnf-0 was ended by signal 9")
    waits_s = [0.0, 1.0, 2.0]  # the last step holds on
    for incarnation, wait_s in enumerate(waits_s, start=1):
        if not died_at_its_start:
            game.up()
        reactions = game.die()
        if wait_s:
            assert reactions[-1] == cause
            assert game.groups.phase("lane-0") is Phase.WAITING
            assert game(Tick(), after_s=wait_s - 0.01) == []
            assert game(Tick(), after_s=0.02) == anew(incarnation)
        else:
            assert reactions[-6:] == [cause, *anew(incarnation)]
    *_, lost = game.die()
    assert isinstance(lost, Lost)
    assert type(lost.error) is StageError
    assert str(lost.error) == "clnf-0 was ended by signal 9; it was started again 3 times within 100 s"
    assert lost.cause == cause
    assert game.groups.phase("lane-0") is Phase.LOST
    assert game(Tick(), after_s=10) == []


def test_falls_are_forgotten_after_the_window(game: Game) -> None:
    for incarnation in range(1, 8):
        game.now += 60  # so that two, at most, count
        reactions = game.die()
        assert isinstance(reactions[3], Down)
        assert game(Tick(), after_s=1.0) or reactions[4:] == anew(incarnation)
    assert game.groups.restarts("lane-0") == 7


def test_without_a_budget_it_never_ends() -> None:
    game = Game(Limits(back_off_s=(0.0,), budget=None))
    for incarnation in range(1, 50):
        assert game.die()[-5:] == anew(incarnation)


def test_start_up_has_its_own_deadline(game: Game) -> None:
    game(*(m.Ready(name) for name in LANE if name != "clnf-0"))
    game.beats()
    game.now = 40
    game.beats("clnf-0")
    assert game(Tick()) == []
    game.now = 51
    game.beats("clnf-0")
    assert game(Tick()) == [Kill(name) for name in LANE]
    *_, cause, _, _, _, _, _ = game(*(Exited(name, -9) for name in LANE))
    assert cause == down("clnf-0 was not ready to work for 50 s", stream=-1, frame=-1)


def test_silence_counts_as_death_at_what_was_worked_on(game: Game) -> None:
    game.up()
    game(m.Ready("detect-0"))
    game.now = 15
    game.beats("au-0")
    assert game(Tick(), after_s=4) == []
    assert game(Tick(), after_s=2) == [Kill(name) for name in LANE]
    reactions = game(*(Exited(name, -9, 3, 40 + number) for number, name in enumerate(LANE)))
    assert reactions[0] == down("au-0 gave no sign of life for 20 s", Role.AU, 3, 42)


def test_the_end_of_a_long_stream_may_take_longer(game: Game) -> None:
    game.up()
    game(m.Beat("au-0", 1000, 0, 1000, 0))
    for at_s, expected in ((119, []), (121, [Kill(name) for name in LANE])):
        game.now = at_s
        game.beats("au-0")
        assert game(Tick()) == expected


def test_any_message_is_a_sign_of_life(game: Game) -> None:
    game.up()
    game.now = 19
    game.beats("au-0")
    game.groups.heard("au-0", 19)
    assert game(Tick(), after_s=19) == []


def test_a_fault_is_told_with_its_traceback(game: Game) -> None:
    game.up()
    reactions = game(m.Fault("clnf-0", "ValueError", "ValueError: no", "Traceback\n  x\n", 0, 12))
    assert reactions == [Warn("clnf-0 failed with\nTraceback\n  x"), *(Kill(name) for name in LANE)]
    assert game(*(Exited(name, 1) for name in LANE))[0] == down("clnf-0 failed: ValueError: no", frame=12)


def test_a_fault_that_no_restart_mends(game: Game) -> None:
    game.up()
    *kills, lost = game(m.Fault("clnf-0", "ModelError", "no models", "T", -1, -1))
    assert kills == [Kill(name) for name in LANE]
    assert isinstance(lost, Lost)
    assert (type(lost.error), str(lost.error)) == (ModelError, "no models")
    assert game(*(Exited(name, -9) for name in LANE), Tick()) == []


@pytest.mark.parametrize("kind", ["StageError", "TransportError", "Exit", "AuflowErr", "__doc__"])
def test_any_other_fault_is_a_fall(game: Game, kind: str) -> None:
    game.up()
    assert isinstance(game(m.Fault("sink-0", kind, "x", "T", 0, 1))[0], Warn)
    assert game.groups.phase("lane-0") is Phase.FALLING


GONE = m.Fault("decode-0", "PeerGoneError", "the peer is gone", "T", 0, 9)


def test_a_lost_peer_waits_for_the_cause(game: Game) -> None:
    game.up()
    assert game(GONE, Tick(), after_s=0.1) == []
    assert down("clnf-0 was ended by signal 11") in game.die(code=-11)
    assert game(GONE) == []  # late news of the same, while all start anew
    assert game(Tick(), after_s=0.2) == []


def test_a_lost_peer_is_the_cause_when_no_other_comes(game: Game) -> None:
    game.up()
    game(GONE)
    assert game(Tick(), after_s=0.31) == [Warn("decode-0 failed with\nT"), *(Kill(name) for name in LANE)]
    cause = down("decode-0 failed: the peer is gone", Role.DECODE, frame=9)
    assert game(*(Exited(name, -9) for name in LANE))[0] == cause


def test_without_the_nursery_all_groups_have_fallen(game: Game) -> None:
    game.up()
    text = "the process that starts all workers was ended by signal 9"
    assert game(NurseryEnded(-9)) == [
        Down("detect-0", Role.DETECT, text),
        fork("detect-0", 1),
        Down("lane-0", Role.DECODE, text),
        *anew(1),
    ]


def test_the_nursery_dies_while_a_group_falls_or_waits(game: Game) -> None:
    game.up()
    game(Exited("au-0", -11, 0, 3))
    reactions = game(NurseryEnded(-9))
    assert Down("lane-0", Role.AU, "au-0 was ended by signal 11", 0, 3) in reactions  # that came first
    game.die()
    assert game.groups.phase("lane-0") is Phase.WAITING
    assert [r.group for r in game(NurseryEnded(1)) if isinstance(r, Down)] == ["detect-0"]
    assert game(Tick(), after_s=1.1)[-5:] == anew(2)


def test_a_second_death_in_a_falling_group_is_no_second_fall(game: Game) -> None:
    game.up()
    game(Exited("au-0", -11, 0, 3))
    assert game(Exited("clnf-0", -6, 0, 5), m.Fault("sink-0", "ValueError", "x", "T", 0, 2)) == []


@pytest.mark.parametrize("phase", list(Phase))
def test_after_the_end_has_begun_nobody_is_started(game: Game, phase: Phase) -> None:
    if phase is not Phase.STARTING:
        game.up()
    if phase is Phase.FALLING:
        game(Exited("au-0", -11, 0, 3))
    if phase in (Phase.WAITING, Phase.LOST):
        for _ in range(2 if phase is Phase.WAITING else 8):
            game.die()
            game(Tick(), after_s=2 if phase is Phase.LOST else 0)
    assert game.groups.phase("lane-0") is phase
    game.groups.stop_restarts()
    reactions = game(Tick(), after_s=1000)
    reactions += game(*(Exited(name, 1, 0, 3) for name in LANE if game.groups.member(name).alive))
    reactions += game(Tick(), after_s=1000)
    assert not [reaction for reaction in reactions if isinstance(reaction, (Fork, Down, ResetRing))]
    assert not [member for member in game.groups.members() if member.alive and member.worker.role != Role.DETECT]


def test_incarnations(game: Game) -> None:
    assert [game.groups.incarnation(name) for name in ("au-0", "detect-0", "au-7")] == [0, 0, -1]
    game.up()
    game.die()
    assert [game.groups.incarnation(name) for name in ("au-0", "detect-0")] == [1, 0]


def test_a_group_is_brought_down_on_purpose(game: Game) -> None:
    game.up()
    cause = down("so that it learns of it", Role.DETECT)
    assert game.groups.restart("lane-0", cause, game.now) == [Kill(name) for name in LANE]
    assert game(*(Exited(name, -9) for name in LANE)) == [cause, *anew(1)]


def test_an_exit_code_waits_for_the_fault_that_explains_it(game: Game) -> None:
    game.up()
    assert game(Exited("clnf-0", 1, 0, 7)) == []
    told = game(m.Fault("clnf-0", "ValueError", "no good", "Traceback...", 0, 7), after_s=0.1)
    assert told[0] == Warn("clnf-0 failed with\nTraceback...")
    fallen = game(*(Exited(name, -9, 0, 3) for name in LANE if name != "clnf-0"))
    assert fallen[0] == down("clnf-0 failed: no good")


def test_an_exit_code_is_the_cause_when_nothing_explains_it(game: Game) -> None:
    game.up()
    game(Exited("clnf-0", 1, 0, 7))
    assert game(Tick(), after_s=0.2) == []
    assert game(Tick(), after_s=0.2) == [Kill(name) for name in LANE if name != "clnf-0"]
    fallen = game(*(Exited(name, -9, 0, 3) for name in LANE if name != "clnf-0"))
    assert fallen[0] == down("clnf-0 ended with exit code 1")


def test_a_signal_counts_before_an_exit_code_that_follows_from_it(game: Game) -> None:
    game.up()
    assert game(Exited("au-0", 1, 0, 3)) == []
    assert game(Exited("clnf-0", -9, 0, 7), after_s=0.1) == [Kill("decode-0"), Kill("sink-0")]
    assert game(Exited("decode-0", -9), Exited("sink-0", -9))[0] == down("clnf-0 was ended by signal 9")


def test_a_service_waits_where_a_run_gives_up() -> None:
    game = Game(replace(LIMITS, gives_up=False, silence_s=1000, startup_s=1000))
    for _ in range(LIMITS.budget or 0):
        game.up()
        game.die()
        game(Tick(), after_s=5)
    game.up()
    assert not any(isinstance(reaction, Lost) for reaction in game.die())
    assert game.groups.phase("lane-0") is Phase.WAITING
    assert game(Tick(), after_s=LIMITS.window_s - 20) == []
    assert game(Tick(), after_s=20) == anew(4)


def test_falls_that_are_forgiven_cost_nothing_of_the_budget(game: Game) -> None:
    for _ in range(4):
        game.up()
        game.die()
        game.groups.forgive("lane-0", 1)
        game(Tick(), after_s=3)
    assert game.groups.phase("lane-0") is Phase.STARTING


@pytest.mark.parametrize("busy", [True, False])
def test_beats_without_progress_are_no_life_where_there_is_work(busy: bool) -> None:
    game = Game()
    game.groups = Groups(LIMITS, lambda name: busy and name == "lane-0")
    for name, workers in Topology(1, 1).groups().items():
        game.groups.add(name, workers, 0.0)
    game.up()
    beats = [m.Beat(name, 5, 0, 0, 0) for name in ("detect-0", *LANE)]
    reactions = [game(*beats, Tick(), after_s=10) for _ in range(7)]
    assert reactions == [*[[]] * 6, [Kill(name) for name in LANE] if busy else []]
    if busy:
        fallen = game(*(Exited(name, -9) for name in LANE))
        assert fallen[0] == Down("lane-0", Role.DECODE, "lane-0 got nowhere for 50 s")
