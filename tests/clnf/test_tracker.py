"""The video state machine alone: a made-up FaceModel and tables of events, then the C++ program's own decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from auflow.stages.clnf.face_model import FaceState, likeliest
from auflow.stages.clnf.fitter import FitOutcome
from auflow.stages.clnf.tracker import HYPOTHESES_RAD, FaceTracker, TrackResult, widest

BOX = np.array([[10, 20, 30, 40, 0.9]], np.float32)
NO_BOX = np.zeros((0, 5), np.float32)


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


class BoxPdm:
    """Stands for the PDM: the start of a hypothesis is its rotation, and the box's place and width."""

    mode_count = 34

    def params_from_box(self, box: np.ndarray, rotation_rad: np.ndarray) -> np.ndarray:
        return f32([box[2], *rotation_rad, box[0], box[1]])


@dataclass
class Script:
    """Stands for FaceModel: says what each fit of each frame gives. A picture is its frame number."""

    tracked: Callable[[int], float] = lambda frame: 0.9  # certainty of the fit from the last frame
    started: Callable[[int], list[tuple[float, float]]] = lambda frame: [(0.0, 0.9)]  # (likelihood, certainty) of each
    calls: list[tuple[int, str, bool, np.ndarray]] = field(default_factory=list)
    pdm: BoxPdm = field(default_factory=BoxPdm)

    def best_of(self, gray, starts):
        return likeliest(self.fit(gray, start, np.zeros(34, np.float32), tracking=False) for start in starts)

    def fit(self, gray: np.ndarray, g: np.ndarray, p: np.ndarray, *, tracking: bool) -> FaceState:
        frame = int(gray[0, 0])
        starts = [c for c in self.calls if c[0] == frame and c[1] == "start"]
        start = g[0] == BOX[0, 2] and not p.any()
        self.calls.append((frame, "start" if start else "track", tracking, g.copy()))
        if start:
            likelihood, certainty = (self.started(frame) * 11)[len(starts)]
        else:
            likelihood, certainty = 0.0, self.tracked(frame)
        # The parameters tell which fit they are from: the frame, and the number of the hypothesis (-1 for tracking).
        mark = f32([1, 0, 0, 0, frame, len(starts) if start else -1])
        return FaceState(
            mark, np.ones(34, np.float32), np.full(136, frame, np.float32),
            likelihood=likelihood, confidence=certainty, success=certainty > 0.725,
        )  # fmt: skip


@dataclass
class Run:
    """A tracker on scripted frames, with a record of the frames that it asked boxes of."""

    script: Script
    boxes: Callable[[int], np.ndarray] = lambda frame: BOX
    detected: list[int] = field(default_factory=list)
    frame: int = 0

    def __post_init__(self) -> None:
        self.tracker = FaceTracker(self.script)  # type: ignore[arg-type]

    def next(self) -> TrackResult:
        self.frame += 1

        def detect() -> np.ndarray:
            self.detected.append(self.frame)
            return self.boxes(self.frame)

        return self.tracker.process(np.full((1, 1), self.frame, np.float32), detect)

    def until(self, last: int) -> list[TrackResult]:
        return [self.next() for _ in range(last - self.frame)]

    def kinds(self, frame: int) -> list[str]:
        return [kind for number, kind, _, _ in self.script.calls if number == frame]


def test_without_a_face_every_twelfth_frame_is_searched():
    run = Run(Script(), boxes=lambda frame: NO_BOX)
    results = run.until(140)
    assert run.detected == list(range(1, 141, 12))
    assert not any(r.success or r.state.success for r in results)
    assert not run.script.calls
    assert not results[-1].state.landmarks_px.any()


def test_a_frame_without_a_fit_counts_no_work():
    class Counting(Script):
        def fit(self, *args: Any, **kwargs: Any) -> FaceState:
            state = super().fit(*args, **kwargs)
            state.outcome = FitOutcome(optimisations=4, iterations=20)
            return state

    run = Run(Counting(tracked=lambda frame: 0.1), boxes=lambda frame: BOX if frame == 1 else NO_BOX)
    fitted = [result.state.outcome.optimisations for result in run.until(110)]
    given_up = next(frame for frame in range(2, 111) if not run.kinds(frame))
    assert given_up > 100
    assert fitted == [4] * (given_up - 1) + [0] * (111 - given_up)


def test_a_face_that_comes_late_is_found_at_the_next_search():
    run = Run(Script(), boxes=lambda frame: BOX if frame >= 14 else NO_BOX)
    results = run.until(30)
    assert run.detected == [1, 13, 25]
    assert [r.success for r in results] == [False] * 24 + [True] * 6
    assert run.kinds(25) == ["start"] * 11


def test_a_start_tries_eleven_rotations_in_order():
    run = Run(Script())
    run.next()
    assert [kind for _, kind, _, _ in run.script.calls] == ["start"] * 11
    assert not any(narrow for _, _, narrow, _ in run.script.calls)
    starts = np.stack([g for _, _, _, g in run.script.calls])
    assert np.array_equal(starts[:, 1:4], HYPOTHESES_RAD)
    assert (starts[:, 0] == 30).all()
    assert (starts[:, 4:] == [10, 20]).all()


@pytest.mark.parametrize("winner", [0, 4, 10])
def test_the_likeliest_start_wins_whatever_the_validator_says(winner):
    fits = [(-2.0 + 0.01 * k, 0.98) for k in range(11)]
    fits[winner] = (-1.0, 0.2)
    result = Run(Script(started=lambda frame: fits)).next()
    assert result.state.params_global[5] == winner
    assert (result.success, result.state.success, result.state.confidence) == (True, False, 0.2)


def test_of_equal_starts_the_first_wins():
    result = Run(Script(started=lambda frame: [(-1.0, 0.9)] * 11)).next()
    assert result.state.params_global[5] == 0


def test_the_first_fit_counts_as_success_but_is_not_accepted():
    run = Run(Script(started=lambda frame: [(0.0, 0.5)]))
    first, second = run.until(2)
    assert (first.success, first.state.success) == (True, False)
    assert (second.success, second.state.success) == (True, True)
    # What was not accepted is searched for with the wide windows in the next frame, from where it was.
    tracks = [call for call in run.script.calls if call[1] == "track"]
    assert not tracks[0][2]
    assert np.array_equal(tracks[0][3], first.state.params_global)


def test_a_tracked_face_is_never_searched_again():
    run = Run(Script())
    results = run.until(300)
    assert run.detected == [1]
    assert all(r.success for r in results)
    assert run.kinds(2) == ["track"]
    assert all(narrow for _, kind, narrow, _ in run.script.calls if kind == "track")
    assert np.array_equal(run.script.calls[-1][3], results[-2].state.params_global)


def test_a_lost_face_is_searched_in_every_second_frame():
    """Lost from frame 10 on, and no box to be had."""
    run = Run(
        Script(tracked=lambda frame: 0.9 if frame < 10 else 0.4), boxes=lambda frame: BOX if frame < 10 else NO_BOX
    )
    results = run.until(20)
    assert run.detected == [1, 10, 12, 14, 16, 18, 20]
    assert [r.success for r in results] == [True] * 9 + [False] * 11
    assert [run.kinds(frame) for frame in (10, 11, 12)] == [["track"]] * 3
    narrow = {frame: narrow for frame, kind, narrow, _ in run.script.calls if kind == "track"}
    assert narrow[10]
    assert not any(narrow[frame] for frame in range(11, 21))


def test_a_face_that_comes_back_by_itself_is_followed_again():
    run = Run(
        Script(tracked=lambda frame: 0.4 if frame in (5, 6, 7, 9) else 0.9), boxes=lambda f: BOX if f < 5 else NO_BOX
    )
    results = run.until(12)
    # Frame 8 set the failures back: 9 is a first failure again.
    assert run.detected == [1, 5, 7, 9]
    assert [r.success for r in results] == [True] * 4 + [False] * 3 + [True, False] + [True] * 3
    narrow = {frame: narrow for frame, kind, narrow, _ in run.script.calls if kind == "track"}
    assert [frame for frame in range(2, 13) if not narrow[frame]] == [6, 7, 8, 10]


def test_a_new_start_that_is_accepted_replaces_the_lost_face():
    run = Run(Script(tracked=lambda frame: 0.4 if frame == 5 else 0.9))
    results = run.until(6)
    assert run.detected == [1, 5]
    assert run.kinds(5) == ["track"] + ["start"] * 11
    assert results[4].success
    assert results[4].state.params_global[5] == 0  # of the first hypothesis, not of tracking
    assert run.script.calls[-1][2]


def test_a_new_start_that_fails_gives_back_the_parameters_but_keeps_its_confidence():
    run = Run(Script(tracked=lambda f: 0.9 if f < 5 else 0.4, started=lambda f: [(0.0, 0.9 if f == 1 else 0.3)]))
    results = run.until(8)
    assert run.detected == [1, 5, 7]
    for result, frame, confidence in zip(results[4:], (5, 6, 7, 8), (0.3, 0.4, 0.3, 0.4), strict=True):
        assert (result.success, result.state.success) == (False, False)
        assert result.state.params_global.tolist() == [1, 0, 0, 0, frame, -1]
        assert result.state.landmarks_px[0] == frame
        assert result.state.confidence == confidence
    # The next frame starts from what was given back.
    starts = {frame: g for frame, kind, _, g in run.script.calls if kind == "track"}
    assert np.array_equal(starts[6], results[4].state.params_global)


def test_after_more_than_a_hundred_failures_the_face_is_given_up():
    run = Run(
        Script(tracked=lambda frame: 0.9 if frame < 10 else 0.4), boxes=lambda frame: BOX if frame < 10 else NO_BOX
    )
    run.until(111)
    # Failures count 0 in frame 10 and 101 in frame 111, which gives up ...
    assert run.detected == [1, *range(10, 111, 2)]
    assert run.kinds(111) == ["track"]
    # ... from then on nothing is fitted; 107 + 1 is the next multiple of 12, in frame 118.
    results = run.until(150)
    assert run.detected[52:] == [118, 130, 142]
    assert all(not run.kinds(frame) for frame in range(112, 151))
    assert not any(r.success for r in results)


def test_a_face_found_after_giving_up_counts_as_a_first_one():
    run = Run(
        Script(tracked=lambda f: 0.9 if f < 10 else 0.4, started=lambda f: [(0.0, 0.9 if f == 1 else 0.3)]),
        boxes=lambda frame: BOX if frame == 1 or frame > 111 else NO_BOX,
    )
    results = run.until(119)
    assert run.detected[-2:] == [118, 119]  # 118 starts the face anew, 119 loses it at once
    assert (results[117].success, results[117].state.success) == (True, False)
    assert not results[118].success


def test_failed_starts_do_not_keep_a_lost_face_for_ever():
    run = Run(Script(tracked=lambda f: 0.9 if f < 10 else 0.4, started=lambda f: [(0.0, 0.9 if f == 1 else 0.3)]))
    run.until(118)
    assert run.detected == [1, *range(10, 111, 2), 118]


def test_reset_forgets_the_stream():
    script = Script(tracked=lambda frame: 0.9 if frame % 100 < 10 else 0.4)
    run = Run(script, boxes=lambda frame: BOX if frame < 10 or frame > 100 else NO_BOX)
    run.until(15)
    run.tracker.reset()
    run.frame = 101
    result = run.next()
    assert run.detected[-1] == 102
    assert run.kinds(102) == ["start"] * 11
    assert result.success
    fresh = Run(Script(), boxes=lambda frame: NO_BOX)
    fresh.until(5)
    fresh.tracker.reset()
    fresh.next()
    assert fresh.detected == [1, 6]


@pytest.mark.parametrize("widths", [(10, 50, 30), (50, 10, 50), (7,)])
def test_the_widest_box_is_taken(widths):
    boxes = f32([[k, 2 * k, width, 90 - width, 1 - 0.1 * k] for k, width in enumerate(widths)])
    box = widest(boxes)
    assert box is not None
    first = widths.index(max(widths))
    assert np.array_equal(box, boxes[first, :4])


def test_no_box_is_no_face():
    assert widest(NO_BOX) is None


class Replay:
    """Stands for FaceModel: gives what the C++ program's fits gave, and checks that it was asked as they were."""

    def best_of(self, gray, starts):
        return likeliest(self.fit(gray, start, np.zeros(34, np.float32), tracking=False) for start in starts)

    def __init__(self, events: Any, pdm: Any) -> None:
        self.events, self.pdm = events, pdm
        self.tracks = {event["frame"]: event for event in events.track}
        self.starts: dict[int, list[Any]] = {}
        self.ends: dict[int, list[Any]] = {}
        for kind, into in ((events.hyp_start, self.starts), (events.hyp, self.ends)):
            for event in kind:
                into.setdefault(event["frame"], []).append(event)
        self.hypothesis = 0
        self.frame = 0

    def fit(self, gray: np.ndarray, g: np.ndarray, p: np.ndarray, *, tracking: bool) -> FaceState:
        number = int(gray[0, 0])
        if number != self.frame:
            self.frame, self.hypothesis = number, 0
            if number > 1:
                return self._track(number, g, p, tracking)
        return self._start(number, g, p, tracking)

    def _track(self, number: int, g: np.ndarray, p: np.ndarray, tracking: bool) -> FaceState:
        last, event = self.events.frames[number - 1], self.tracks[number]
        assert tracking == bool(last["success"])
        assert np.array_equal(g, f32(last["params_global"]))
        assert np.array_equal(p, f32(last["params_local"]))
        return state_of(self.events.frames[number], event["certainty"], bool(event["ok"]), 0.0)

    def _start(self, number: int, g: np.ndarray, p: np.ndarray, tracking: bool) -> FaceState:
        begin, end = self.starts[number][self.hypothesis], self.ends[number][self.hypothesis]
        self.hypothesis += 1
        assert not tracking
        # one division and three products away from the box: the last bit or two of 400 px
        assert np.allclose(g, begin["params_global"], rtol=5e-7, atol=1e-6)
        assert not p.any()
        return state_of(end, end["certainty"], bool(end["ok"]), end["lhood"])


def state_of(event: Any, certainty: float, success: bool, likelihood: float) -> FaceState:
    return FaceState(
        f32(event["params_global"]),
        f32(event["params_local"]),
        likelihood=likelihood,
        confidence=certainty,
        success=success,
    )


@pytest.mark.golden
@pytest.mark.parametrize(
    ("clip", "searched", "failed"),
    [("default", [1], []), ("2015-10-15-15-14", [1], []), ("multi_face_single", [1, 13, 578, 580], [578, 579, 580])],
)
def test_golden_decisions(trace, face_model, clip, searched, failed):
    """Given the C++ program's fits, all of its decisions: when it searches, what it starts from, what it keeps."""
    events = trace(clip)
    boxes = {event["frame"]: [[event[k] for k in ("x", "y", "width", "height", "conf")]] for event in events.det}
    tracker = FaceTracker(Replay(events, face_model.pdm))  # type: ignore[arg-type]
    detected, lost = [], []
    for number, frame in sorted(events.frames.items()):

        def detect(number: int = number) -> np.ndarray:
            detected.append(number)
            return f32(boxes[number])

        result = tracker.process(np.full((1, 1), number, np.float32), detect)
        assert result.success == bool(frame["success"]), number
        assert np.array_equal(result.state.params_global, f32(frame["params_global"])), number
        assert np.array_equal(result.state.params_local, f32(frame["params_local"])), number
        assert result.state.confidence == pytest.approx(frame["certainty"], abs=1e-6), number
        if not result.success:
            lost.append(number)
    assert detected == searched == sorted(boxes)
    assert lost == failed
