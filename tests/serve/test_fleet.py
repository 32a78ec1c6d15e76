"""Which stream is on which lane, what becomes of it when something falls: the fleet by tables of events."""

from __future__ import annotations

import pytest

from auflow.errors import ModelError, UsageError
from auflow.flow.events import Tell, Tick, Warn
from auflow.flow.groups import Phase
from auflow.tests.serve.fleet_tools import INFO, Driver, assigned, forked, job_sent, orders
from auflow.transport import messages as m
from auflow.transport.ring import Tally

# Placing


def test_lanes_are_started_when_their_first_stream_comes() -> None:
    driver = Driver(live=2, file=1, bus=True)
    assert forked(driver.seen) == ["detect-0", "bus-0"]
    assert forked(driver.add("a")) == ["decode-0", "sink-0", "au-0", "clnf-0"]
    assert forked(driver.add("f", live=False)) == ["decode-2", "sink-2", "au-2", "clnf-2"]


def test_live_streams_are_spread_and_get_the_lowest_seat_that_is_free() -> None:
    driver = Driver(live=2, seats=2)
    for name in "abcd":
        driver.add(name)
    places = {name: (stream.lane, stream.seat) for name, stream in driver.fleet.streams.items()}
    assert places == {"a": (0, 0), "b": (1, 0), "c": (0, 1), "d": (1, 1)}
    driver.remove("a")
    driver.add("e")
    assert (driver.fleet.streams["e"].lane, driver.fleet.streams["e"].seat) == (0, 0)
    assert driver.taken == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0)]


def test_of_two_lanes_that_are_as_empty_the_one_that_runs_is_taken() -> None:
    driver = Driver(live=2)
    driver.add("a")
    driver.add("b")
    driver.remove("b")
    driver.remove("a")
    driver.add("c")
    assert driver.fleet.streams["c"].lane == 0
    driver = Driver(live=3, seats=1)
    driver.add("a")
    driver.add("b")
    driver.remove("a")
    assert forked(driver.add("c")) == []


@pytest.mark.parametrize(("live", "key"), [(True, "live_lanes or streams_per_lane"), (False, "file_lanes")])
def test_no_room(live: bool, key: str) -> None:
    driver = Driver(live=1, file=0, seats=1)
    if live:
        driver.add("a")
    with pytest.raises(UsageError, match=f"no room .*{key}"):
        driver.add("b", live=live)


def test_a_name_is_taken_once_and_free_again_when_its_stream_is_over() -> None:
    driver = Driver(file=1)
    driver.add("a", live=False)
    driver.lane_up(1)
    with pytest.raises(UsageError, match="a: there is a stream of this name"):
        driver.add("a", live=False)
    driver.decoded("a")
    driver.written("a")
    assert driver.state("a") == "finished"
    first = driver.fleet.streams["a"].number
    assert assigned(driver.add("a", live=False)) == [("decode-1", first + 1)]
    assert driver.state("a") == "running"


@pytest.mark.parametrize("operation", ["remove", "pause"])
def test_a_name_that_is_not_there(operation: str) -> None:
    driver = Driver()
    driver.add("door")
    with pytest.raises(UsageError, match=r"yard: there is no stream of this name \(there are: door\)"):
        getattr(driver, operation)("yard")


# Streams of a lane that is up


def test_a_live_stream_from_its_beginning_to_its_removal() -> None:
    driver = Driver()
    assert assigned(driver.add("a")) == []
    assert driver.state("a") == "waiting"
    assert assigned(driver.lane_up()) == [("decode-0", 0)]
    assert driver.state("a") == "connecting"
    assert Warn("a: backing_off: nobody there") in driver.source("a", "backing_off", "nobody there")
    assert driver.fleet.streams["a"].reason == "nobody there"
    assert Tell("a: streaming") in driver.source("a", "streaming")
    driver.tell(m.StreamOpened("decode-0", 0, INFO, 0))
    assert (driver.fleet.streams["a"].width_px, driver.fleet.streams["a"].height_px) == (64, 48)
    assert orders(driver.remove("a")) == [("decode-0", m.Skip(0, remove=True))]
    driver.source("a", "stopped", "on request")
    assert driver.state("a") == "ending"
    assert Tell("a: removed") in driver.written("a", interrupted=True)
    assert driver.fleet.streams == {}


def test_a_second_stream_of_a_lane_that_is_up_is_given_out_at_once() -> None:
    driver = Driver()
    driver.add("a")
    driver.lane_up()
    assert assigned(driver.add("b")) == [("decode-0", 1)]


def test_pause_and_resume() -> None:
    driver = Driver(file=1)
    driver.add("a")
    assert driver.pause("a") == []
    assert job_sent(driver.lane_up(), 0).live.paused
    assert orders(driver.pause("a", False)) == [("decode-0", m.Pause(0, False))]
    assert orders(driver.pause("a")) == [("decode-0", m.Pause(0, True))]
    assert job_sent(driver.crash_lane(), 0).live.paused
    driver.add("f", live=False)
    with pytest.raises(UsageError, match="f: only a live stream can be paused"):
        driver.pause("f")
    driver.lane_up(1)
    driver.tell(m.StreamRefused("decode-0", 0, "gone"))
    assert driver.pause("a", False) == []


def test_a_stream_may_start_paused() -> None:
    driver = Driver()
    driver.add("a", paused=True)
    assert driver.fleet.streams["a"].paused
    assert job_sent(driver.lane_up(), 0).live.paused


@pytest.mark.parametrize(("error", "state"), [(None, "ended"), ("no such file", "failed")])
def test_a_live_source_that_ends_before_its_first_picture(error: str | None, state: str) -> None:
    driver = Driver()
    driver.add("a")
    driver.lane_up()
    driver.tell(m.StreamRefused("decode-0", 0, error))
    assert (driver.state("a"), driver.fleet.streams["a"].reason) == (state, error or "")


def test_what_an_output_met_is_kept_beside_the_state() -> None:
    driver = Driver()
    driver.add("a")
    driver.lane_up()
    driver.source("a", "streaming")
    assert driver.tell(m.Note("sink-0", 0, "a: no space")) == [Warn("a: no space")]
    driver.written("a", last=False, error="the disk is full")
    assert (driver.state("a"), driver.fleet.streams["a"].last_warning) == ("streaming", "the disk is full")
    assert list(driver.fleet.streams["a"].outputs) == ["out.csv"]


def test_messages_about_streams_that_are_gone() -> None:
    driver = Driver(file=1)
    driver.add("a")
    driver.add("f", live=False)
    driver.lane_up()
    driver.lane_up(1)
    driver.tell(m.StreamRefused("decode-0", 0, None))
    before = repr(driver.fleet.streams)
    late = [
        m.SourceChanged("decode-0", 0, "stopped", "on request", True),
        m.StreamOpened("decode-0", 0, INFO, 0),
        m.StreamDecoded("decode-0", 77, 1),
        m.StreamRefused("decode-0", 77, "what?"),
        m.StreamFailed("sink-0", 77),
        m.SourceChanged("decode-0", 77, "streaming", "", True),
    ]
    assert driver.tell(*late) == []
    assert repr(driver.fleet.streams) == before


# Files


def test_files_one_after_the_other_while_the_sink_still_writes() -> None:
    driver = Driver(live=0, file=1)
    for name in "abc":
        driver.add(name, live=False)
    assert assigned(driver.lane_up()) == [("decode-0", 0)]
    assert assigned(driver.decoded("a")) == [("decode-0", 1)]
    assert [driver.state(name) for name in "abc"] == ["running", "running", "waiting"]
    assert assigned(driver.written("a")) == []
    assert assigned(driver.tell(m.StreamRefused("decode-0", 1, "no video"))) == [("decode-0", 2)]
    driver.tell(m.Beat("sink-0", 1, 2, 7, 0))
    assert driver.fleet.streams["c"].frames == 7
    assert [driver.state(name) for name in "abc"] == ["finished", "failed", "running"]


def test_a_file_that_only_has_to_be_written_is_neither_cut_short_by_a_drain_nor_by_its_removal() -> None:
    driver = Driver(live=0, file=1)
    driver.add("a", live=False)
    driver.add("b", live=False)
    driver.lane_up()
    driver.decoded("a")
    driver.remove("a")
    assert driver.state("a") == "ending"
    driver.add("c", live=False)
    driver.stop()
    assert {name: driver.state(name) for name in "abc"} == {"a": "ending", "b": "running", "c": "interrupted"}
    assert Tell("a: 10 frames written to out.csv") in driver.written("a")
    assert ("sink-0", m.Exit()) in orders(driver.written("b", interrupted=True, output=None))
    assert driver.fleet.streams["b"].reason == "goes on at the next start"


def test_a_file_whose_output_fails_is_skipped() -> None:
    driver = Driver(live=0, file=1)
    driver.add("a", live=False)
    driver.lane_up()
    assert orders(driver.tell(m.StreamFailed("sink-0", 0))) == [("decode-0", m.Skip(0))]
    driver.decoded("a")
    driver.written("a", error="no space", output=None)
    assert (driver.state("a"), driver.fleet.streams["a"].reason) == ("failed", "no space")


def test_a_frame_that_ends_a_worker_twice_is_quarantined() -> None:
    driver = Driver(live=0, file=1, budget=9)
    driver.add("a", live=False)
    driver.lane_up()
    assert job_sent(driver.crash_lane(stream=0, frame=7), 0).quarantined == ()
    assert job_sent(driver.crash_lane(stream=0, frame=7), 0).quarantined == (7,)


def test_a_frame_that_ends_the_detector_twice_is_quarantined_and_its_lane_told() -> None:
    driver = Driver(live=0, file=1, budget=9)
    driver.add("a", live=False)
    driver.all_up()
    driver.die("detect-0", stream=0, frame=7)
    driver.tell(Tick(), after_s=2.0)
    driver.up("detect-0")
    assert driver.phase() is Phase.UP
    driver.die("detect-0", stream=0, frame=7)
    assert driver.phase() is Phase.STARTING
    assert job_sent(driver.lane_up(), 0).quarantined == (7,)


@pytest.mark.parametrize(("role", "frame", "deaths"), [("decode", 7, 2), ("sink", 0, 3)])
def test_a_file_that_cannot_be_worked_on_fails_and_the_next_begins(role: str, frame: int, deaths: int) -> None:
    driver = Driver(live=0, file=1, budget=9)
    driver.add("a", live=False)
    driver.add("b", live=False)
    driver.lane_up()
    for _ in range(deaths):
        driver.die(f"{role}-0", stream=0, frame=frame)
        driver.tell(Tick(), after_s=2.0)
        last = driver.lane_up()
    assert driver.state("a") == "failed"
    assert assigned(last) == [("decode-0", 1)]


# Falls


def test_a_lane_that_falls_gets_its_streams_back_with_their_checkpoints() -> None:
    driver = Driver(live=2)
    for name in "abc":
        driver.add(name)
    driver.lane_up(0)
    driver.lane_up(1)
    driver.die("au-0", stream=0, frame=5)
    assert {name: driver.state(name) for name in "abc"} == {"a": "restarting", "b": "connecting", "c": "restarting"}
    assert not driver.fleet.is_whole()
    again = driver.lane_up(0) + driver.tell(Tick())
    assert assigned(again) == [("decode-0", 0), ("decode-0", 2)]
    assert job_sent(again, 0).resume
    assert [driver.fleet.streams[name].restarts for name in "abc"] == [1, 0, 1]


@pytest.mark.parametrize("draining", [False, True])
def test_a_stream_of_a_lane_that_is_down_can_be_removed(draining: bool) -> None:
    driver = Driver(bus=True)
    driver.add("a")
    driver.add("b")
    driver.lane_up()
    if draining:
        driver.drain()
    driver.die("clnf-0")
    if draining:
        assert [driver.state(name) for name in "ab"] == ["interrupted", "interrupted"]
    driver.remove("a")
    driver.tell(Tick(), after_s=2.0)
    assert assigned(driver.lane_up()) == ([] if draining else [("decode-0", 1)])
    assert "a" not in driver.fleet.streams


def test_a_removed_stream_whose_lane_falls_before_its_end_is_gone() -> None:
    driver = Driver()
    driver.add("a")
    driver.lane_up()
    driver.remove("a")
    driver.die("sink-0")
    assert driver.fleet.streams == {}


def test_a_lane_that_is_given_up_takes_its_streams_with_it_and_no_others() -> None:
    driver = Driver(live=2, budget=1)
    for name in "ab":
        driver.add(name)
    driver.all_up()
    driver.crash_lane(0)
    driver.die("clnf-0")
    assert (driver.state("a"), driver.state("b")) == ("failed", "connecting")
    assert "started again 1 times" in driver.fleet.streams["a"].reason
    assert not driver.fleet.is_whole(but_for_new=True)
    driver.add("c")
    assert driver.fleet.streams["c"].lane == 1
    driver.stop()
    driver.written("b", interrupted=True)
    driver.written("c", interrupted=True)
    assert driver.fleet.error is None


def test_no_room_says_that_lanes_have_been_given_up() -> None:
    driver = Driver(live=1, budget=0)
    driver.add("a")
    driver.lane_up()
    driver.die("clnf-0")
    with pytest.raises(UsageError, match="1 of 1 lanes have been given up"):
        driver.add("b")


def test_a_live_stream_that_brings_its_lane_down_again_and_again_fails_alone() -> None:
    driver = Driver(budget=4)
    driver.add("bad")
    driver.add("good")
    driver.lane_up()
    for frame in (3, 9):
        driver.crash_lane(stream=0, frame=frame)
    assert driver.state("bad") == "connecting"
    assert assigned(driver.crash_lane(stream=0, frame=20)) == [("decode-0", 1)]
    assert (driver.state("bad"), driver.state("good")) == ("failed", "connecting")
    assert "at work on this stream 3 times within 100 s" in driver.fleet.streams["bad"].reason


def test_deaths_of_a_live_stream_count_for_a_while_and_not_where_it_is_alone() -> None:
    driver = Driver(budget=4)
    driver.add("a")
    driver.lane_up()
    for frame in range(1, 4):
        driver.crash_lane(stream=0, frame=frame)
    assert driver.state("a") == "connecting"
    driver.add("b")
    driver.tell(Tick(), after_s=0.0)
    driver.at_s += 200.0
    driver.tell(*(m.Beat(f"{role}-0", 1, 0, 1, 0) for role in ("decode", "sink", "au", "clnf")))
    driver.tell(m.Beat("detect-0", 1, 0, 1, 0))
    driver.crash_lane(stream=0, frame=9)
    assert driver.state("a") == "connecting"


def test_the_counts_of_a_stream_that_is_over_are_kept_when_its_seat_is_taken_again() -> None:
    driver = Driver()
    driver.add("a")
    driver.lane_up()
    driver.tallies[0, 0] = Tally(decoded=10, done=6, superseded=2, published=8)
    driver.tell(m.StreamRefused("decode-0", 0, None))
    driver.add("b")
    assert driver.fleet.streams["b"].seat == 0
    kept = driver.fleet.streams["a"].tally
    assert (kept.decoded, kept.done, kept.dropped, kept.failed, kept.under_way) == (10, 6, 2, 2, 0)
    driver.remove("a")
    assert driver.fleet.published_before == 8


def test_what_no_restart_mends_ends_the_service_with_its_code() -> None:
    driver = Driver()
    driver.add("a")
    driver.all_up()
    driver.tell(m.Fault("clnf-0", "ModelError", "a file is missing", "", -1, -1))
    assert isinstance(driver.fleet.error, ModelError)
    assert driver.fleet.error.exit_code == 4
    assert ("detect-0", m.Exit()) in orders(driver.seen)


def test_a_lane_that_starts_for_the_first_time_leaves_the_service_ready() -> None:
    driver = Driver(live=2)
    driver.all_up()
    assert driver.fleet.is_whole()
    driver.add("a")
    assert not driver.fleet.is_whole()
    assert driver.fleet.is_whole(but_for_new=True)
    driver.die("clnf-0")
    assert not driver.fleet.is_whole(but_for_new=True)
