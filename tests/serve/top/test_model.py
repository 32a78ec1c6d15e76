"""What is made of several looks at a service."""

from __future__ import annotations

import pytest

from auflow.metrics import STAGE_DURATION
from auflow.serve.top.looks import Look
from auflow.serve.top.model import History, Stage, Stream, View

from .top_tools import histogram, look_at, status_at, stream_at


def stage(view: View, name: str) -> Stage:
    return next(stage for stage in view.stages if stage.name == name)


def only(view: View) -> Stream:
    (stream,) = view.streams
    return stream


def test_rates_and_quantiles_are_since_the_look_before() -> None:
    history = History()
    first = history.take(look_at(10.0, 1200))
    assert (only(first).rates, stage(first, "clnf").per_s, stage(first, "clnf").busy) == (None, None, None)
    view = history.take(look_at(12.0, 1260))
    stream = only(view)
    assert stream.rates is not None
    assert (stream.rates.came, stream.rates.done, stream.rates.failed) == (32.5, 30.0, 0.0)
    assert stream.rates.dropped == {"superseded": 2.5, "too_old": 0.0, "paused": 0.0}
    # 40 ms lies in the bucket from 33.3 to 50 ms; interpolated as if they lay there evenly.
    assert stream.age_p50_s == pytest.approx(0.0333 + 0.5 * 0.0167)
    assert (stream.faces, stream.confidence) == (2, 0.75)
    clnf = stage(view, "clnf")
    assert (clnf.per_s, clnf.busy) == (pytest.approx(30.0), pytest.approx(30 * 0.02))
    assert clnf.work.quantile(1.0) == pytest.approx(0.025)
    assert clnf.wait.quantile(1.0) == pytest.approx(0.005)
    assert (clnf.queue, clnf.credits) == (3, 1)
    assert stage(view, "sink").busy is None
    assert view.seconds == 2.0


def test_processes_and_the_whole() -> None:
    history = History()
    history.take(look_at(10.0, 1200))
    view = history.take(look_at(12.0, 1300))
    lane, detect, bus, service = view.groups
    assert (lane.slots_free, lane.slots, lane.memory_mb) == (4, 10, 200.0)
    assert dict(lane.workers) == pytest.approx({"decode": 0.25, "clnf": 1.0, "au": 0.2, "sink": 0.05})
    assert (detect.cpu, detect.restarts) == (None, 1)
    assert (bus.name, bus.cpu, bus.memory_mb) == ("bus-0", pytest.approx(0.05), 70.0)
    assert (service.name, service.cpu, service.memory_mb) == ("service", pytest.approx(0.1), 50.0)
    head = view.head
    assert (head.state, head.version, head.up, head.streams) == ("ready", "1.2", 1, 1)
    assert (head.cpu, head.memory_mb) == (pytest.approx(1.65), 320.0)
    assert (head.in_per_s, head.out_per_s) == (pytest.approx(54.0), pytest.approx(50.0))


def test_a_worker_that_was_started_again_shows_no_nonsense() -> None:
    history = History()
    history.take(look_at(10.0, 1200))
    view = history.take(look_at(12.0, 20))  # all counters have fallen
    assert stage(view, "clnf").per_s == pytest.approx(10.0)
    assert stage(view, "clnf").work.count == 20


def test_a_worker_that_did_not_answer_for_a_while_is_compared_with_what_it_told_last() -> None:
    history = History()
    history.take(look_at(10.0, 1200))
    silent = history.take(look_at(12.0, 1260, text=""))
    assert silent.stages == ()
    assert only(silent).age_p50_s == 0.081  # the status' own
    view = history.take(look_at(14.0, 1320))
    assert stage(view, "clnf").per_s == pytest.approx(30.0)  # of four seconds


def test_a_service_that_was_started_again_begins_anew() -> None:
    history = History()
    history.take(look_at(100.0, 5000))
    view = history.take(Look(1102.0, 1.75e9, status_at(7, 1.0)))
    assert only(view).rates is None
    assert [warned.text for warned in view.warnings] == ["was started again"]


def test_a_new_stream_has_no_rates_and_one_that_is_down_no_age() -> None:
    history = History()
    history.take(look_at(10.0, 1200))
    hall = stream_at("hall", 0, state="backing_off", reason="Connection refused; next attempt in 5.1 s")
    view = history.take(look_at(12.0, 1260, stream_at("door", 1260), hall))
    door, hall_shown = view.streams
    assert door.rates is not None
    assert (hall_shown.rates, hall_shown.age_p50_s, hall_shown.faces) == (None, None, None)
    assert (view.head.up, view.head.streams) == (1, 2)


def test_two_lanes_are_one_stage() -> None:
    def text(first: int, second: int) -> str:
        values = (("au-0", [0.02] * first), ("au-1", [0.03] * second))
        return "".join(histogram(STAGE_DURATION.name, f'worker="{name}",stage="au"', took) for name, took in values)

    history = History()
    history.take(look_at(10.0, 0, text=text(0, 0)))
    view = history.take(look_at(12.0, 0, text=text(20, 60)))
    au = stage(view, "au")
    assert (au.per_s, au.busy, au.busiest) == (40.0, pytest.approx(0.55), ("au-1", pytest.approx(0.9)))


def test_warnings_are_told_once_and_counted_when_only_numbers_differ() -> None:
    history = History()
    for at_s, wait in ((10.0, "5.1"), (12.0, "5.1"), (14.0, "61.2")):
        hall = stream_at("hall", 0, state="backing_off", reason=f"refused; next attempt in {wait} s")
        view = history.take(look_at(at_s, 0, hall))
    (warned,) = view.warnings
    assert (warned.who, warned.text, warned.times) == ("hall", "backing off: refused; next attempt in 61.2 s", 2)
    assert warned.unix_s == 1.75e9 + 14
    bad_lane = [{"name": "lane-0", "state": "restarting", "restarts": 0, "workers": []}]
    broken = stream_at("hall", 9, last_warning="the disk is full")
    view = history.take(look_at(16.0, 9, broken, lanes=bad_lane, dropped_messages=3))
    assert [(w.who, w.text) for w in view.warnings[:3]] == [
        ("service", "3 messages between processes were malformed and dropped"),
        ("lane-0", "restarting"),
        ("hall", "the disk is full"),
    ]


def test_a_restart_between_two_looks_is_told() -> None:
    history = History()
    for at_s, restarts in ((10.0, 4), (12.0, 5), (14.0, 5)):
        lanes = [{"name": "lane-0", "state": "running", "restarts": restarts, "workers": []}]
        view = history.take(look_at(at_s, 0, lanes=lanes))
    (warned,) = view.warnings
    assert (warned.who, warned.text) == ("lane-0", "was started again (5 in all)")
    assert warned.unix_s == 1.75e9 + 12


def test_a_service_that_goes_away_is_told_and_its_return_too() -> None:
    history = History()
    history.take(look_at(10.0, 1200))
    assert history.take(Look(1012.0, 1.75e9, fault="nobody listens")).gone_s == 0.0
    gone = history.take(Look(1015.0, 1.75e9, fault="nobody listens"))
    assert (gone.gone, gone.gone_s, gone.warnings[0].text) == ("nobody listens", 3.0, "nobody listens")
    back = history.take(look_at(20.0, 1500))
    assert (back.gone, back.head.state) == ("", "ready")


@pytest.mark.parametrize("status", [{}, {"streams": [{}], "lanes": [{}], "detectors": None, "bus": None}])
def test_a_status_of_another_version_is_no_error(status: dict[str, object]) -> None:
    history = History()
    for at_s in (1.0, 2.0):
        view = history.take(Look(at_s, 1.75e9, status))
    assert view.head.state == "-"
