"""The supervisor's decisions, as tables of events: no process, no socket, no clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow.errors import ModelError, OutputError, StageError
from auflow.flow.events import (
    Action,
    Advanced,
    Event,
    Exited,
    Finished,
    Interrupted,
    Kill,
    NurseryEnded,
    RemoveRunDir,
    Send,
    Started,
    Tick,
    Warn,
)
from auflow.flow.supervision import Limits, Supervisor
from auflow.flow.topology import Topology, WorkerConfig, plan
from auflow.options import RunOptions
from auflow.report import StreamSummary
from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.statistics import Convergence, StreamStatistics
from auflow.transport import messages as m

LANE = ["detect-0", "decode-0", "sink-0", "au-0", "clnf-0"]
LIMITS = Limits(startup_s=50, silence_s=20, silence_per_frame_s=0.1, drain_s=4, exit_s=2)


def info(path: str, frames: int | None = 10) -> SourceInfo:
    return SourceInfo(path, "video", 8, 6, 25.0, frames)


def written(stream: int, frames: int = 10, **changes: object) -> m.StreamWritten:
    fields = {
        "worker": "sink-0",
        "stream": stream,
        "output": f"{stream}.csv",
        "frames": frames,
        "successes": 7,
        "corrupt": 0,
        "interrupted": False,
        "error": None,
        "exit_code": 0,
        "statistics": StreamStatistics(),
    }
    return m.StreamWritten(**{**fields, **changes})  # type: ignore[arg-type]


class Game:
    """A supervisor and the time."""

    def __init__(self, inputs: int = 1, lanes: int = 1) -> None:
        self.topology = Topology(lanes, 1)
        paths = [(f"{number}.mp4", f"{number}.csv") for number in range(inputs)]
        self.supervisor = Supervisor(self.topology, paths, 0.0, LIMITS)
        self.names = [worker.name for worker in self.topology.workers()]
        self.now = 0.0

    def __call__(self, *events: Event, after_s: float = 0.1) -> list[Action]:
        actions: list[Action] = []
        for event in events:
            self.now += after_s
            actions += self.supervisor.handle(event, self.now)
        return actions

    def ready(self) -> list[Action]:
        """Bring everyone up; the first assignments."""
        self(*(m.Connected(name) for name in self.names))
        return self(*(m.Ready(name) for name in self.names))

    def all_exit(self, code: int = 0) -> None:
        for name in self.names:
            self(Exited(name, code))


@pytest.fixture
def game() -> Game:
    return Game()


def test_a_run_from_start_to_end(game: Game) -> None:
    assert [game(m.Connected(name)) for name in LANE[:-1]] == [[]] * 4
    assert game(m.Connected(LANE[-1])) == [RemoveRunDir()]
    assert game(m.Ready("decode-0")) == [Send("decode-0", m.Assign(0, "0.mp4", "0.csv"))]
    assert game(m.StreamOpened("decode-0", 0, info("0.mp4"))) == [Started(info("0.mp4"))]
    for name in ("clnf-0", "au-0", "detect-0", "sink-0"):
        assert game(m.Ready(name)) == []
    began = game.now  # the time in which the others still loaded is not the input's
    assert game(m.Beat("clnf-0", 5, 0, 5)) == []  # only what has left the sink counts
    assert game(m.Beat("sink-0", 4, 0, 4)) == [Advanced("0.mp4", 4)]
    assert game(m.Beat("sink-0", 4, 0, 4)) == []
    assert game(m.StreamDecoded("decode-0", 0, 10)) == []
    finished, *exits = game(written(0))
    assert exits == [Send(name, m.Exit()) for name in LANE]
    assert isinstance(finished, Finished)
    assert finished.summary.seconds == pytest.approx(game.now - began)
    assert game(m.Beat("sink-0", 10, 0, 10)) == []
    game.all_exit()
    assert game.supervisor.done
    assert game.supervisor.error is None
    assert game.supervisor.summaries == [
        StreamSummary("0.mp4", "0.csv", 10, 7, 0, finished.summary.seconds, False, None)
    ]


def test_the_first_result_counts_from_the_begin_of_the_run(game: Game) -> None:
    game.ready()
    game(m.StreamOpened("decode-0", 0, info("0.mp4")))
    statistics = StreamStatistics(Convergence(10, 2, 90, 40, 300), first_result_at_s=1.25)
    finished, *_ = game(written(0, statistics=statistics))
    assert isinstance(finished, Finished)
    assert (finished.summary.statistics, finished.summary.first_result_s) == (statistics, 1.25)  # it began at 0


def test_lanes_take_inputs_as_they_get_free() -> None:
    game = Game(inputs=4, lanes=2)
    first = game.ready()
    assert first == [
        Send("decode-0", m.Assign(0, "0.mp4", "0.csv")),
        Send("decode-1", m.Assign(1, "1.mp4", "1.csv")),
    ]
    # The next is decoded while the last frames of the one before are still under way.
    assert game(m.StreamDecoded("decode-1", 1, 10)) == [Send("decode-1", m.Assign(2, "2.mp4", "2.csv"))]
    assert game(m.StreamDecoded("decode-1", 2, 10)) == [Send("decode-1", m.Assign(3, "3.mp4", "3.csv"))]
    assert game(m.StreamDecoded("decode-1", 3, 10)) == []
    for stream in (1, 2, 3):
        assert len(game(written(stream, worker="sink-1"))) == 1
    assert game(m.StreamDecoded("decode-0", 0, 10)) == []
    assert Send("sink-1", m.Exit()) in game(written(0))


def test_an_input_that_cannot_be_opened_costs_only_itself() -> None:
    game = Game(inputs=2)
    game.ready()
    finished, assign = game(m.StreamRefused("decode-0", 0, "0.mp4: nothing there"))
    assert isinstance(finished, Finished)
    assert (finished.summary.error, finished.summary.exit_code) == ("0.mp4: nothing there", 2)
    assert assign == Send("decode-0", m.Assign(1, "1.mp4", "1.csv"))
    game(m.StreamDecoded("decode-0", 1, 10), written(1))
    game.all_exit()
    assert [summary.error for summary in game.supervisor.summaries] == ["0.mp4: nothing there", None]


def test_an_output_that_cannot_be_written_stops_its_decoding(game: Game) -> None:
    game.ready()
    assert game(m.StreamFailed("sink-0", 0)) == [Send("decode-0", m.Skip(0))]
    game(m.StreamDecoded("decode-0", 0, 4))
    finished, *_ = game(written(0, output=None, error="disk full", exit_code=3))
    assert isinstance(finished, Finished)
    assert (finished.summary.error, finished.summary.exit_code) == ("disk full", OutputError.exit_code)
    assert game.supervisor.error is None


def test_an_input_that_was_cut_short_is_told(game: Game) -> None:
    game.ready()
    game(m.StreamOpened("decode-0", 0, info("0.mp4", 1000)), m.StreamDecoded("decode-0", 0, 10))
    warning, *_ = game(written(0))
    assert isinstance(warning, Warn)
    assert "of the 1000" in warning.text


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Exited("au-0", -9, 0, 41), "au-0 was ended by signal 9 at frame 41 of 0.mp4; the inputs that were finished"),
        (Exited("detect-0", 3), "detect-0 ended with exit code 3; the inputs"),
        (Exited("sink-0", 0), "sink-0 ended with exit code 0"),
    ],
)
def test_a_dead_worker_ends_the_run(game: Game, event: Exited, message: str) -> None:
    game.ready()
    actions = game(event)
    assert actions == [Send(name, m.Exit()) for name in LANE if name != event.worker]
    assert isinstance(game.supervisor.error, StageError)
    assert message in str(game.supervisor.error)
    error = game.supervisor.error
    assert game(Exited("clnf-0", 1)) == []  # what follows from it is not the cause
    assert game.supervisor.error is error


def test_a_worker_that_dies_at_its_start(game: Game) -> None:
    game(m.Connected("au-0"))
    actions = game(Exited("clnf-0", 1))
    # Whoever is not connected hears no order.
    assert actions == [Kill("detect-0"), Kill("decode-0"), Kill("sink-0"), Send("au-0", m.Exit())]


def test_without_the_nursery_nobody_is_left(game: Game) -> None:
    game.ready()
    assert game(NurseryEnded(-9)) == []
    assert game.supervisor.done
    assert type(game.supervisor.error) is StageError
    assert "the process that starts all workers was ended by signal 9" in str(game.supervisor.error)


def test_the_end_of_the_nursery_after_the_work_costs_nothing(game: Game) -> None:
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10), written(0), NurseryEnded(1))
    assert game.supervisor.done
    assert game.supervisor.error is None


def test_a_fault_names_the_place_and_shows_the_traceback(game: Game) -> None:
    game.ready()
    warning, *actions = game(m.Fault("clnf-0", "ValueError", "ValueError: no", "Traceback\n  x\n", 0, 12))
    assert warning == Warn("clnf-0 failed with\nTraceback\n  x")
    assert actions == [*(Send(name, m.Exit()) for name in LANE), Send("clnf-0", m.Exit())]
    assert str(game.supervisor.error) == "clnf-0 failed at frame 12 of 0.mp4: ValueError: no"


def test_a_fault_of_a_known_kind_keeps_it(game: Game) -> None:
    game.ready()
    assert not any(
        isinstance(action, Warn) for action in game(m.Fault("clnf-0", "ModelError", "no models", "T", -1, -1))
    )
    assert type(game.supervisor.error) is ModelError
    assert str(game.supervisor.error) == "no models"


def test_a_lost_peer_waits_for_the_cause(game: Game) -> None:
    game.ready()
    gone = m.Fault("decode-0", "PeerGoneError", "the peer is gone", "T", 0, 9)
    assert game(gone, Tick()) == []
    game(Exited("clnf-0", -11, 0, 7))
    assert "clnf-0 was ended by signal 11" in str(game.supervisor.error)
    assert game(m.Fault("au-0", "PeerGoneError", "gone", "T", 0, 6)) == [Send("au-0", m.Exit())]


def test_a_lost_peer_is_the_cause_when_no_other_comes(game: Game) -> None:
    game.ready()
    game(m.Fault("decode-0", "PeerGoneError", "the peer is gone", "T", 0, 9))
    assert Send("clnf-0", m.Exit()) in game(Tick(), after_s=1.1)
    assert str(game.supervisor.error) == "decode-0 failed at frame 9 of 0.mp4: the peer is gone"


def test_whoever_misses_those_who_left_makes_no_noise(game: Game) -> None:
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10), written(0))
    assert game(m.Fault("clnf-0", "PeerGoneError", "gone", "T", 0, 9)) == [Send("clnf-0", m.Exit())]
    assert game.supervisor.error is None


def test_ctrl_c_drains_and_keeps_what_is_finished() -> None:
    game = Game(inputs=3)
    game.ready()
    assert game(Interrupted()) == [Send("decode-0", m.Drain())]
    assert game(m.StreamDecoded("decode-0", 0, 6)) == []  # no new input
    finished, *exits = game(written(0, 6, output="0.partial.csv", interrupted=True))
    assert isinstance(finished, Finished)
    assert finished.summary.interrupted
    assert exits == [Send(name, m.Exit()) for name in LANE]
    game.all_exit()
    assert game.supervisor.done
    assert len(game.supervisor.summaries) == 1  # inputs that never began are not told


def test_ctrl_c_twice_kills(game: Game) -> None:
    game.ready()
    game(Interrupted())
    finished, *kills = game(Interrupted())
    assert isinstance(finished, Finished)
    assert finished.summary.interrupted
    assert finished.summary.output is None
    assert kills == [Kill(name) for name in LANE]


def test_ctrl_c_is_bounded_in_time(game: Game) -> None:
    game.ready()
    game(Interrupted())
    assert game(Tick(), after_s=3.9) == []
    finished, *kills = game(Tick(), after_s=0.2)
    assert isinstance(finished, Finished)
    assert kills == [Kill(name) for name in LANE]
    assert game.supervisor.error is None


def test_ctrl_c_before_all_are_ready_does_not_wait(game: Game) -> None:
    game(*(m.Connected(name) for name in LANE), m.Ready("decode-0"))
    finished, *exits = game(Interrupted())
    assert isinstance(finished, Finished)
    assert exits == [Send(name, m.Exit()) for name in LANE]


def test_an_input_that_was_not_begun_when_drained(game: Game) -> None:
    game.ready()
    game(Interrupted())
    finished, *exits = game(m.StreamRefused("decode-0", 0, None))
    assert isinstance(finished, Finished)
    assert (finished.summary.interrupted, finished.summary.error) == (True, None)
    assert exits == [Send(name, m.Exit()) for name in LANE]


def test_a_death_while_draining_is_an_error(game: Game) -> None:
    game.ready()
    game(Interrupted(), Exited("au-0", -11, 0, 3))
    assert isinstance(game.supervisor.error, StageError)


def test_whoever_does_not_leave_is_killed(game: Game) -> None:
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10), written(0))
    for name in LANE[:-1]:
        game(Exited(name, 0), after_s=0.01)
    assert game(Tick(), after_s=1.5) == []
    assert game(Tick(), after_s=0.6) == [Kill(LANE[-1])]
    game(Exited(LANE[-1], -9))
    assert game.supervisor.error is None


def test_silence_is_a_failure(game: Game) -> None:
    game.ready()
    busy = [m.Beat(name, 1, 0, 0) for name in LANE if name != "au-0"]
    assert game(*busy, Tick(), after_s=3) == []
    actions = game(*busy, Tick(), after_s=3)
    assert actions[-1] == Kill("au-0")
    assert str(game.supervisor.error) == "au-0 gave no sign of life for 20 s"


def test_the_end_of_a_long_stream_may_take_longer(game: Game) -> None:
    game.ready()
    game(m.Beat("au-0", 1000, 0, 1000))
    game.now += 60
    game(*(m.Beat(name, 1, 0, 0) for name in LANE if name != "au-0"))
    assert game(Tick()) == []
    game.now += 60
    game(*(m.Beat(name, 1, 0, 0) for name in LANE if name != "au-0"))
    assert Kill("au-0") in game(Tick())


def test_start_up_has_its_own_deadline(game: Game) -> None:
    game(*(m.Connected(name) for name in LANE), *(m.Ready(name) for name in LANE if name != "clnf-0"))
    game.now = 40
    game(*(m.Beat(name, 1, 0, 0) for name in LANE if name != "clnf-0"))
    assert game(Tick()) == []
    game.now = 51
    game(*(m.Beat(name, 1, 0, 0) for name in LANE if name != "clnf-0"))
    assert Kill("clnf-0") in game(Tick())
    assert str(game.supervisor.error) == "clnf-0 was not ready to work for 50 s"


@pytest.mark.parametrize(("jobs", "inputs", "lanes", "detectors"), [(1, 5, 1, 1), (8, 3, 3, 1), (9, 20, 9, 3)])
def test_plan(jobs: int, inputs: int, lanes: int, detectors: int) -> None:
    paths = tuple(Path(f"{number}.mp4") for number in range(inputs))
    options = RunOptions(paths, Path("."), Path("models"), jobs=jobs)
    assert plan(options) == Topology(lanes, detectors)


def test_worker_configuration_survives_its_trip() -> None:
    camera, columns = (1.0, 2.0, 3.0, 4.0), ("pose", "aus")
    settings = StageSettings(faces="all", camera=camera, columns=columns, clnf_iterations=3, clnf_tolerance_px=0.1)
    config = WorkerConfig("detect", 1, 2, 2, "/r", 5, (3, 4), "/m ü", settings, "auflow.flow.stagekit")
    assert WorkerConfig.from_json(config.to_json()) == config
