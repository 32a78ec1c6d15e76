"""The supervisor's decisions on a run that goes as it should, and on its end, as tables of events."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow.errors import OutputError
from auflow.flow.events import (
    Advanced,
    Exited,
    Finished,
    Interrupted,
    Kill,
    Send,
    Started,
    Tick,
    Warn,
)
from auflow.flow.job import StreamJob
from auflow.flow.topology import BusAddress, Topology, WorkerConfig, plan
from auflow.options import RunOptions
from auflow.report import StreamSummary
from auflow.stages.settings import StageSettings
from auflow.stages.statistics import Convergence, StreamStatistics
from auflow.transport import messages as m

from .supervision_game import LANE, Game, assign, info, job, warned, written


@pytest.fixture
def game() -> Game:
    return Game()


def test_a_run_from_start_to_end(game: Game) -> None:
    assert game(*(m.Connected(name) for name in LANE)) == []
    assert game(m.Ready("decode-0")) == [assign(0)]
    assert game(m.StreamOpened("decode-0", 0, info("0.mp4"), 0)) == [Started(info("0.mp4"))]
    for name in ("clnf-0", "au-0", "detect-0", "sink-0"):
        assert game(m.Ready(name)) == []
    began = game.now  # the time in which the others still loaded is not the input's
    assert game(m.Beat("clnf-0", 5, 0, 5, 0)) == []  # only what has left the sink counts
    assert game(m.Beat("sink-0", 4, 0, 4, 0)) == [Advanced("0.mp4", 4)]
    assert game(m.Beat("sink-0", 4, 0, 4, 0)) == []
    assert game(m.StreamDecoded("decode-0", 0, 10)) == []
    finished, *exits = game(written(0))
    assert exits == [Send(name, m.Exit()) for name in LANE]
    assert isinstance(finished, Finished)
    assert finished.summary.seconds == pytest.approx(game.now - began)
    assert game(m.Beat("sink-0", 10, 0, 10, 0)) == []
    game.all_exit()
    assert game.supervisor.done
    assert game.supervisor.error is None
    assert game.supervisor.summaries == [
        StreamSummary("0.mp4", "0.csv", 10, 7, 0, finished.summary.seconds, False, None)
    ]


def test_the_first_result_counts_from_the_begin_of_the_run(game: Game) -> None:
    game.ready()
    game(m.StreamOpened("decode-0", 0, info("0.mp4"), 0))
    statistics = StreamStatistics(Convergence(10, 2, 90, 40, 300), first_result_at_s=1.25)
    summary = game.finished(game(written(0, statistics=statistics)))
    assert (summary.statistics, summary.first_result_s) == (statistics, 1.25)  # it began at 0


def test_lanes_take_inputs_as_they_get_free() -> None:
    game = Game(inputs=4, lanes=2)
    assert game.ready() == [assign(0), assign(1, lane=1)]
    # The next is decoded while the last frames of the one before are still under way.
    assert game(m.StreamDecoded("decode-1", 1, 10)) == [assign(2, lane=1)]
    assert game(m.StreamDecoded("decode-1", 2, 10)) == [assign(3, lane=1)]
    assert game(m.StreamDecoded("decode-1", 3, 10)) == []
    for stream in (1, 2, 3):
        assert len(game(written(stream, worker="sink-1"))) == 1
    assert game(m.StreamDecoded("decode-0", 0, 10)) == []
    assert Send("sink-1", m.Exit()) in game(written(0))


def test_an_input_that_cannot_be_opened_costs_only_itself() -> None:
    game = Game(inputs=2)
    game.ready()
    actions = game(m.StreamRefused("decode-0", 0, "0.mp4: nothing there"))
    summary = game.finished(actions)
    assert (summary.error, summary.exit_code) == ("0.mp4: nothing there", 2)
    assert actions[1] == assign(1)
    game(m.StreamDecoded("decode-0", 1, 10), written(1))
    game.all_exit()
    assert [summary.error for summary in game.supervisor.summaries] == ["0.mp4: nothing there", None]


def test_an_output_that_cannot_be_written_stops_its_decoding(game: Game) -> None:
    game.ready()
    assert game(m.StreamFailed("sink-0", 0)) == [Send("decode-0", m.Skip(0))]
    game(m.StreamDecoded("decode-0", 0, 4))
    summary = game.finished(game(written(0, output=None, error="disk full", exit_code=3)))
    assert (summary.error, summary.exit_code) == ("disk full", OutputError.exit_code)
    assert game.supervisor.error is None


def test_an_input_that_was_cut_short_is_told(game: Game) -> None:
    game.ready()
    game(m.StreamOpened("decode-0", 0, info("0.mp4", 1000), 0), m.StreamDecoded("decode-0", 0, 10))
    assert "of the 1000" in warned(game(written(0)))[0]


def test_what_a_worker_wants_to_be_known_is_told(game: Game) -> None:
    game.ready()
    assert game(m.Note("sink-0", 0, "no room for a checkpoint")) == [Warn("no room for a checkpoint")]


# The end


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
    actions = game(Interrupted())
    summary = game.finished(actions)
    assert (summary.interrupted, summary.output) == (True, None)
    assert actions[1:] == [Kill(name) for name in LANE]


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


def test_ctrl_c_while_the_lane_waits_for_its_restart(game: Game) -> None:
    game.ready()
    game.fall(frame=1)
    game.ready(0)
    game.fall(frame=2)
    actions = game(Interrupted())
    assert game.finished(actions).interrupted
    assert actions[1:] == [Send("detect-0", m.Exit())]
    game(Tick(), after_s=1.1)
    game(Exited("detect-0", 0))
    assert game.supervisor.done


def test_ctrl_c_before_the_second_of_two_inputs_has_gone_on() -> None:
    """A lane that was started again has begun with the first: nobody waits for the second."""
    game = Game(inputs=2)
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10))
    game.fall()
    game.ready(0)
    actions = game(Interrupted())
    assert game.finished(actions).path == "1.mp4"
    assert actions[1:] == [Send("decode-0", m.Drain())]
    assert Send("decode-0", m.Exit()) in game(written(0, 6, interrupted=True))


def test_a_fall_while_draining_leaves_its_inputs_for_resume() -> None:
    game = Game(inputs=2, lanes=2)
    game.ready()
    game(Interrupted())
    actions = game.fall("au-0")
    assert game.finished(actions).interrupted
    assert not [action for action in actions if isinstance(action, Send)]  # the other lane still drains
    assert Send("sink-1", m.Exit()) in game(written(1, 4, worker="sink-1", interrupted=True))
    assert game.supervisor.error is None


def test_a_pipe_in_a_lane_that_falls_while_draining_was_interrupted() -> None:
    game = Game(once=True)
    game.ready()
    game(Interrupted())
    summary = game.finished(game.fall())
    assert (summary.interrupted, summary.error) == (True, None)


def test_an_input_that_was_not_begun_when_drained(game: Game) -> None:
    game.ready()
    game(Interrupted())
    actions = game(m.StreamRefused("decode-0", 0, None))
    summary = game.finished(actions)
    assert (summary.interrupted, summary.error) == (True, None)
    assert actions[1:] == [Send(name, m.Exit()) for name in LANE]


def test_whoever_does_not_leave_is_killed(game: Game) -> None:
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10), written(0))
    for name in LANE[:-1]:
        game(Exited(name, 0), after_s=0.01)
    assert game(Tick(), after_s=1.5) == []
    assert game(Tick(), after_s=0.6) == [Kill(LANE[-1])]
    game(Exited(LANE[-1], -9))
    assert game.supervisor.error is None
    assert game.supervisor.done


@pytest.mark.parametrize(("jobs", "inputs", "lanes", "detectors"), [(1, 5, 1, 1), (8, 3, 3, 1), (9, 20, 9, 3)])
def test_plan(jobs: int, inputs: int, lanes: int, detectors: int) -> None:
    paths = tuple(Path(f"{number}.mp4") for number in range(inputs))
    options = RunOptions(paths, Path("."), Path("models"), jobs=jobs)
    assert plan(options) == Topology(lanes, detectors)


def test_worker_configuration_survives_its_trip() -> None:
    camera, columns = (1.0, 2.0, 3.0, 4.0), ("pose", "aus")
    settings = StageSettings(faces="all", camera=camera, columns=columns, clnf_iterations=3, clnf_tolerance_px=0.1)
    bus = BusAddress("tcp://127.0.0.1:5", "/keys")
    config = WorkerConfig("detect", 1, 2, 2, "/r", 5, (3, 4), "/m ü", settings, "kit", incarnation=3, bus=bus)
    assert WorkerConfig.from_json(config.to_json()) == config
    given = job(1, settings=settings, quarantined=(3, 8), once=True)
    assert StreamJob.from_json(given.to_json()) == given
