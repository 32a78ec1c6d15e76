"""What the supervisor makes of falls: inputs that go on, quarantine, what is given up, as tables of events."""

from __future__ import annotations

import pytest

from auflow.errors import ModelError, StageError
from auflow.flow.events import (
    Exited,
    Finished,
    Kill,
    NurseryEnded,
    Send,
    Tick,
    Warn,
)
from auflow.transport import messages as m

from .supervision_game import LANE, Game, assign, forked, info, warned, written


@pytest.fixture
def game() -> Game:
    return Game()


def test_unfinished_inputs_go_on_in_order_after_a_fall() -> None:
    game = Game(inputs=3)
    game.ready()
    game(m.StreamOpened("decode-0", 0, info("0.mp4"), 0))
    assert game(m.StreamDecoded("decode-0", 0, 10)) == [assign(1)]
    actions = game.fall()
    assert warned(actions) == ["clnf-0 was ended by signal 9 at frame 7 of 0.mp4; it is started again"]
    assert forked(actions) == ["decode-0", "sink-0", "au-0", "clnf-0"]
    assert game(m.StreamDecoded("decode-0", 1, 10)) == [] or game.supervisor.error is None
    assert game.ready(0)[:1] == [assign(0, resume=True)]
    opened = m.StreamOpened("decode-0", 0, info("0.mp4"), 5)
    assert game(opened) == [Warn("0.mp4: goes on after frame 5")]  # it was told before that it was opened
    assert game(m.StreamDecoded("decode-0", 0, 10)) == [assign(1, resume=True)]
    assert game(m.StreamDecoded("decode-0", 1, 10)) == [assign(2)]  # this one was not begun
    game(written(0), written(1), written(2))
    game.all_exit()
    assert [(s.error, s.restarts) for s in game.supervisor.summaries] == [(None, 1), (None, 1), (None, 0)]


def test_what_was_written_before_the_fall_is_done() -> None:
    game = Game(inputs=2)
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10), Exited("au-0", -9, 1, 3))
    assert game.finished(game(written(0))).error is None  # it was on its way
    game(*(Exited(name, -9, 1, 3) for name in ("decode-0", "sink-0", "clnf-0")))
    assert assign(1, resume=True) in game.ready(0)


@pytest.mark.parametrize("worker", ["clnf-0", "au-0", "sink-0"])
def test_the_second_death_at_a_frame_puts_it_in_quarantine(game: Game, worker: str) -> None:
    game.ready()
    for quarantined in ((), (7,)):
        game.fall(worker)
        assert assign(0, resume=True, quarantined=quarantined) in [*game(Tick(), after_s=1.1), *game.ready(0)]
    assert game.supervisor.error is None


def test_detection_that_dies_twice_brings_the_lane_down_for_it_to_learn(game: Game) -> None:
    game.ready()
    assert forked(game.fall("detect-0", frame=11)) == ["detect-0"]
    actions = game.fall("detect-0", frame=11)
    assert [action for action in actions if isinstance(action, Kill)] == [
        Kill(name) for name in ("decode-0", "sink-0", "au-0", "clnf-0")
    ]
    actions = game(*(Exited(name, -9, 0, 11) for name in ("decode-0", "sink-0", "au-0", "clnf-0")))
    assert "detect-0 was ended by signal 9 a second time" in warned(actions)[0]
    assert assign(0, resume=True, quarantined=(11,)) in game.ready(0)


def test_a_decoder_that_dies_twice_at_a_frame_fails_only_its_input() -> None:
    game = Game(inputs=2)
    game.ready()
    game.fall("decode-0", frame=31)
    game.ready(0)
    summary = game.finished(game.fall("decode-0", frame=31))
    assert (summary.exit_code, summary.restarts) == (2, 2)
    assert "frame 31 ended the decoder twice; the file is damaged there" in str(summary.error)
    assert assign(1) in [*game(Tick(), after_s=1.1), *game.ready(0)]


def test_three_deaths_beside_the_frames_give_an_input_up() -> None:
    game = Game(inputs=2)
    game.ready()
    for _ in range(2):
        assert not [action for action in game.fall("sink-0", frame=0) if isinstance(action, Finished)]
        game(Tick(), after_s=1.1)
        game.ready(0)
    summary = game.finished(game.fall("sink-0", frame=0))
    assert (summary.exit_code, summary.error) == (
        5,
        "sink-0 was ended by signal 9 again and again at 0.mp4; this input is given up",
    )
    assert assign(1) in [*game(Tick(), after_s=1.1), *game.ready(0)]


def test_a_budget_that_is_spent_ends_the_run(game: Game) -> None:
    game.ready()
    for frame in range(1, 4):
        game.fall(frame=frame)
        game(Tick(), after_s=1.1)
        game.ready(0)
    actions = game.fall(frame=41)
    assert actions[-1] == Send("detect-0", m.Exit())
    assert type(game.supervisor.error) is StageError
    assert str(game.supervisor.error) == (
        "clnf-0 was ended by signal 9; it was started again 3 times within 300 s at frame 41 of 0.mp4; "
        "the inputs that were finished are kept, run the others again with --resume"
    )
    game(Exited("detect-0", 0))
    assert game.supervisor.done
    assert game.supervisor.summaries == []


def test_a_fall_of_one_lane_is_nothing_to_the_other() -> None:
    game = Game(inputs=4, lanes=2)
    game.ready()
    game.fall("au-0", stream=0)
    assert game(m.StreamDecoded("decode-1", 1, 10)) == [assign(2, lane=1)]
    assert game.ready(0)[:1] == [assign(0, resume=True)]


def test_a_pipe_cannot_be_read_again() -> None:
    game = Game(inputs=1, once=True)
    game.ready()
    summary = game.finished(game.fall())
    assert summary.exit_code == 5
    assert summary.error == "0.mp4: what had come through the pipe is lost; write it to a file and run that"


def test_without_the_nursery_all_go_on(game: Game) -> None:
    game.ready()
    actions = game(NurseryEnded(-9))
    assert forked(actions) == LANE
    assert warned(actions) == ["the process that starts all workers was ended by signal 9; it is started again"]
    assert assign(0, resume=True) in game.ready()


def test_the_end_of_the_nursery_after_the_work_costs_nothing(game: Game) -> None:
    game.ready()
    game(m.StreamDecoded("decode-0", 0, 10), written(0), NurseryEnded(1))
    assert game.supervisor.done
    assert game.supervisor.error is None


def test_a_fault_that_no_restart_mends_ends_the_run(game: Game) -> None:
    game.ready()
    assert warned(game(m.Fault("clnf-0", "ModelError", "no models", "T", -1, -1))) == []
    assert type(game.supervisor.error) is ModelError
    assert str(game.supervisor.error) == "no models"


def test_whoever_reports_a_fault_is_told_to_leave(game: Game) -> None:
    game.ready()
    actions = game(m.Fault("clnf-0", "ValueError", "ValueError: no", "Traceback\n  x\n", 0, 12))
    assert actions[-1] == Send("clnf-0", m.Exit())
    game(m.StreamDecoded("decode-0", 0, 10), written(0))
    assert game(m.Fault("au-0", "PeerGoneError", "gone", "T", 0, 9)) == [Send("au-0", m.Exit())]
    assert game.supervisor.error is None
