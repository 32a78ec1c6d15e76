"""A live source on its way into the ring: one picture at a time, the newest, and every one counted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from auflow.flow.process import slot_of
from auflow.stages.decode.live import SourceState
from auflow.stages.statistics import StreamStatistics
from auflow.tests.flow.live_lane import Lane, live_job
from auflow.transport import messages as m
from auflow.transport.codec import encode
from auflow.transport.ring import SOURCE_STATES


@pytest.fixture
def lane() -> Iterator[Lane]:
    made = Lane()
    yield made
    made.close()


def state_of(segment: int = 0, output: str = "") -> m.StreamState:
    tally = m.SinkTally(10, 9, 0, segment, output, StreamStatistics())
    return m.StreamState(10, b"clnf", b"au", b"sink", encode(tally))


def test_one_picture_is_under_way_and_the_newest_wins(lane: Lane) -> None:
    feed = lane.feed()
    for _ in range(3):
        lane.reader.put()
    assert feed.work()
    assert lane.frames() == [3]
    for _ in range(2):
        lane.reader.put()
        assert not feed.work()
    assert feed.fd is None
    lane.finish_one()
    assert feed.work()
    assert lane.frames() == [5]
    tally = lane.tally()
    assert (tally.decoded, tally.superseded, tally.done, tally.under_way) == (5, 3, 1, 1)


def test_the_sink_has_never_done_more_than_came_in(lane: Lane) -> None:
    feed = lane.feed()
    for _ in range(5):
        lane.reader.put()
        feed.work()
        lane.arrive()
        lane.finish_one()
        assert lane.tally().under_way == 0


def test_a_picture_that_is_too_old_is_dropped_before_the_stream_begins(lane: Lane) -> None:
    feed = lane.feed(live_job(max_age_s=1.0))
    lane.reader.put(age_s=2.0)
    assert not feed.work()
    feed.work()
    assert lane.arrive() == []
    assert lane.tally().too_old == 1
    lane.reader.put(age_s=0.5)
    assert feed.work()
    assert lane.frames() == [2]


def test_a_larger_picture_waits_for_an_empty_ring_and_the_others_cannot_keep_it_waiting(lane: Lane) -> None:
    small = lane.feed(live_job("small"))
    lane.reader.put()
    small.work()
    small_reader = lane.reader
    large = lane.feed(live_job("large", seat=1))
    lane.reader.size = 640, 480
    lane.reader.put()
    assert not large.work()
    small_reader.put()
    lane.arrive()
    lane.finish_one()
    assert small.work()  # the ring is empty, and has grown for the other
    assert large.work()
    assert lane.ring.slot_bytes >= 640 * 480 * 3
    lane.arrive()
    assert [frame.stream for frame in lane.came if isinstance(frame, m.FrameReady)] == [0, 0, 1]


def test_of_pictures_that_wait_for_the_ring_the_newest_is_sent(lane: Lane) -> None:
    lane.feed(live_job("small"))
    lane.reader.put()
    lane.feeds[0].work()
    large = lane.feed(live_job("large", seat=1))
    lane.reader.size = 640, 480
    for _ in range(3):
        lane.reader.put()
        assert not large.work()
    lane.arrive()
    lane.finish_one()
    assert large.work()
    assert lane.frames() == [3]
    tally = lane.tally(1)
    assert (tally.decoded, tally.superseded, tally.under_way) == (3, 2, 1)


def test_a_picture_that_has_waited_too_long_for_the_ring_is_too_old(lane: Lane) -> None:
    lane.feed(live_job("small"))
    lane.reader.put()
    lane.feeds[0].work()
    large = lane.feed(live_job("large", seat=1, max_age_s=0.05))
    lane.reader.size = 640, 480
    lane.reader.put()
    large.work()
    lane.arrive()
    lane.finish_one()
    time.sleep(0.1)
    assert not large.work()
    large.work()
    assert lane.arrive() == []  # nor has its stream begun
    assert lane.tally(1).too_old == 1


def test_segments_and_their_counts(lane: Lane) -> None:
    feed = lane.feed(live_job(rotate_s=0.05))
    for _ in range(3):
        for _ in range(2):
            lane.reader.put()
        feed.work()
        lane.arrive()
        lane.finish_one()
        time.sleep(0.06)
        feed.work()
    lane.reader.put()
    feed.work()
    lane.arrive()
    feed.end(interrupted=True)
    lane.arrive()
    ends = [record for record in lane.came if isinstance(record, m.StreamEnd)]
    assert [(end.decoded, end.sent, end.dropped) for end in ends] == [(2, 1, 1)] * 3 + [(1, 1, 0)]
    assert [(end.last, end.interrupted) for end in ends] == [(False, False)] * 3 + [(True, True)]
    starts = [record for record in lane.came if isinstance(record, m.StreamStart)]
    assert [start.segment for start in starts] == [0, 1, 2, 3]
    tally = lane.tally()
    assert (tally.decoded, tally.sent, tally.superseded) == (7, 4, 3)


def test_a_stream_that_ends_between_two_segments_ends_for_the_stages_too(lane: Lane) -> None:
    feed = lane.feed(live_job(rotate_s=0.01))
    lane.reader.put()
    feed.work()
    time.sleep(0.02)
    feed.work()
    lane.arrive()
    feed.end(interrupted=True)
    start, end = lane.arrive()
    assert (start.segment, end.last, end.sent, end.interrupted) == (1, True, 0, True)
    assert lane.shell.of(m.StreamRefused) == []


def test_checkpoints_come_with_the_first_picture_of_each_segment_and_then_as_told(lane: Lane) -> None:
    feed = lane.feed(live_job(checkpoint_s=0.05, rotate_s=1000.0))
    marks = []
    for _ in range(3):
        lane.reader.put()
        feed.work()
        marks.append([record.frames for record in lane.arrive() if isinstance(record, m.Snapshot)])
        lane.finish_one()
        if len(marks) == 2:
            time.sleep(0.06)
    assert marks == [[1], [], [3]]


def test_pause_and_resume(lane: Lane) -> None:
    feed = lane.feed()
    lane.reader.put()
    feed.work()
    lane.arrive()
    lane.reader.put()
    feed.pause(True)
    lane.reader.put()
    lane.finish_one()
    assert not feed.work()
    assert lane.tally().paused == 2
    feed.pause(False)
    lane.reader.put()
    assert feed.work()
    assert lane.frames() == [4]
    assert lane.states() == ["connecting", "streaming", "paused", "streaming"]


def test_a_stream_that_starts_paused_does_not_connect(lane: Lane) -> None:
    feed = lane.feed(live_job(paused=True))
    assert not feed.work()
    assert lane.states() == ["paused"]
    assert lane.tally().state == 4
    feed.pause(False)
    lane.reader.put()
    assert feed.work()
    assert lane.states() == ["paused", "connecting", "streaming"]


def test_a_lane_that_dies_costs_what_was_under_way_and_no_number_comes_twice(lane: Lane) -> None:
    feed = lane.feed()
    times = []
    for _ in range(3):
        lane.reader.put()
        feed.work()
        times += [record.timestamp_s for record in lane.arrive() if isinstance(record, m.FrameReady)]
        lane.finish_one()
    lane.reader.put()
    feed.work()
    lane.reader.put()  # waits in the mailbox, and is nowhere counted
    feed.work()
    assert lane.tally().under_way == 1
    lane.die()
    time.sleep(0.05)
    feed = lane.feed(live_job(resume=True))
    tally = lane.tally()
    assert (tally.decoded, tally.done, tally.failed, tally.under_way, tally.sent) == (4, 3, 1, 0, 0)
    lane.reader.put()
    feed.work()
    (start, frame, _) = lane.arrive()
    assert (start.resume, frame.index) == (None, 5)
    assert frame.timestamp_s > times[-1] + 0.04
    assert lane.tally().decoded == 5


def test_a_checkpoint_is_gone_on_with_in_the_same_segment(lane: Lane) -> None:
    lane.ring.count(0, decoded=10, done=10, origin_us=1)
    lane.checkpoint = state_of(segment=2, output="out.csv")
    feed = lane.feed(live_job(resume=True))
    lane.reader.put()
    feed.work()
    start, frame, *_ = lane.arrive()
    assert (start.segment, start.resume.clnf, start.resume.frames, frame.index) == (2, b"clnf", 0, 11)
    lane.finish_one()
    lane.reader.put()
    feed.work()
    assert not any(isinstance(record, m.StreamStart) for record in lane.arrive())


def test_a_service_that_is_gone_left_a_segment_that_is_written_out_first(lane: Lane) -> None:
    lane.checkpoint = state_of(segment=2, output="out.csv")
    feed = lane.feed(live_job(resume=True))
    lane.reader.put()
    assert not feed.work()
    old, end = lane.arrive()
    assert (old.segment, old.resume.au, end.sent, end.last, end.interrupted) == (2, b"au", 0, False, False)
    assert feed.work()
    new, frame, *_ = lane.arrive()
    assert (new.segment, new.resume, frame.index) == (3, None, 1)


def test_a_checkpoint_that_will_not_do_is_told_of(lane: Lane) -> None:
    lane.checkpoint = "begins anew: of another version"
    lane.feed(live_job(resume=True))
    assert [note.text for note in lane.shell.of(m.Note)] == ["begins anew: of another version"]


def test_a_stream_that_never_began_is_refused_with_the_reason(lane: Lane) -> None:
    feed = lane.feed()
    lane.reader.tell(SourceState.STOPPED, "no such file")
    feed.work()
    assert lane.shell.of(m.StreamRefused) == [m.StreamRefused("decode-0", 0, "no such file")]
    assert feed.ended
    feed = lane.feed()
    feed.end(interrupted=True)
    assert lane.shell.of(m.StreamRefused)[-1] == m.StreamRefused("decode-0", 1, None)


def test_a_source_that_ends_is_the_end_of_the_stream_after_its_last_picture(lane: Lane) -> None:
    feed = lane.feed()
    lane.reader.put()
    lane.reader.state = SourceState.STOPPED
    assert feed.work()
    assert not feed.ended
    feed.work()
    assert feed.ended
    *_, end = lane.arrive()
    assert (end.last, end.interrupted, end.decoded, end.sent) == (True, False, 1, 1)


def test_what_waits_at_the_end_is_counted(lane: Lane) -> None:
    feed = lane.feed()
    lane.reader.put()
    feed.work()
    lane.reader.put()
    feed.end(interrupted=True)
    *_, end = lane.arrive()
    assert (end.decoded, end.sent, end.dropped) == (2, 1, 1)
    lane.finish_one()
    tally = lane.tally()
    assert (tally.decoded, tally.done, tally.paused, tally.under_way) == (2, 1, 1, 0)


def test_a_source_that_does_not_let_go_is_asked_again(lane: Lane) -> None:
    feed = lane.feed()
    answers = [False, True]
    lane.reader.stop = lambda _timeout_s: answers.pop(0)  # type: ignore[method-assign]
    assert not feed.close()
    assert feed.close()


def test_the_pixels_are_those_of_the_picture(lane: Lane) -> None:
    feed = lane.feed()
    number = lane.reader.put()
    feed.work()
    lane.arrive()
    (frame,) = lane.under_way
    expected = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    expected[0, 0] = number, 0, 0
    assert np.array_equal(lane.behind.array(slot_of(frame), 48, 64), expected)


def test_every_state_of_a_source_has_its_place_in_the_ring() -> None:
    assert list(SOURCE_STATES) == [state.value for state in SourceState]


def test_the_patience_with_a_live_stream_does_not_grow_with_it(lane: Lane) -> None:
    feed = lane.feed()
    lane.reader.put()
    assert feed.work()
    assert lane.shell.frames == 0  # of a file it is how far it is, for the end of which more time is allowed


def test_a_source_that_stops_between_two_looks_is_refused_with_its_reason(lane: Lane) -> None:
    feed = lane.feed()
    lane.reader.tell(SourceState.STOPPED, "no such file")
    lane.reader.state = SourceState.STOPPED
    told, early = lane.reader.events, [[]]
    lane.reader.events = lambda: early.pop() if early else told()  # type: ignore[method-assign]
    feed.work()
    assert lane.shell.of(m.StreamRefused) == [m.StreamRefused("decode-0", 0, "no such file")]
