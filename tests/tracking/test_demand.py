"""When to look for faces: tables of frames, looks and changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from auflow.stages.state import StateError
from auflow.stages.tracking.demand import LookDemand, SearchDemand
from auflow.stages.tracking.scene import Change


def never_asked() -> Change:
    raise AssertionError("the picture was looked at for nothing")


def shows(change: Change) -> Callable[[], Change]:
    return lambda: change


def after(demand: LookDemand | SearchDemand, frames: int) -> None:
    for _ in range(frames):
        demand.next_frame()


def in_vain(demand: LookDemand) -> LookDemand:
    """After as many looks without a face as make the next one less urgent."""
    for _ in range(5):
        demand.looked(found=False)
    return demand


def first_due(demand: SearchDemand, change: Change, *, alone: bool = False) -> int:
    """Frames until the next look."""
    for frame in range(1, 200):
        demand.next_frame()
        if demand.is_due(shows(change), alone=alone):
            return frame
    raise AssertionError("no look in 200 frames")


class TestLookDemand:
    """One face."""

    def test_the_first_look_asks_nothing_of_the_picture(self) -> None:
        demand = LookDemand(5)
        demand.next_frame()
        assert demand.is_worth_it(never_asked)

    def test_a_face_that_was_followed_is_looked_for_at_once(self) -> None:
        demand = in_vain(LookDemand(5))
        demand.followed()
        assert demand.is_worth_it(never_asked)

    def test_a_face_may_be_hidden_for_a_moment(self) -> None:
        demand = LookDemand(5)
        for _ in range(4):
            demand.looked(found=False)
            assert demand.is_worth_it(never_asked)
        demand.looked(found=False)
        assert not demand.is_urgent

    def test_a_look_that_found_one_makes_the_next_urgent(self) -> None:
        demand = LookDemand(5)
        demand.looked(found=True)
        demand.started(accepted=False)
        demand.next_frame()
        assert demand.is_worth_it(never_asked)

    @pytest.mark.parametrize(
        ("frames", "change", "looks"),
        [
            (1, Change.NONE, False), (1, Change.SOME, False), (1, Change.FACE, True),
            (4, Change.SOME, False), (5, Change.SOME, True), (5, Change.NONE, False),
            (49, Change.NONE, False), (50, Change.NONE, True),
        ],
    )  # fmt: skip
    def test_after_looks_that_found_none_it_depends_on_the_picture(
        self, frames: int, change: Change, looks: bool
    ) -> None:
        demand = in_vain(LookDemand(5))
        after(demand, frames)
        assert demand.is_worth_it(shows(change)) is looks

    def test_starts_that_are_refused_three_times_are_no_longer_urgent(self) -> None:
        demand = LookDemand(5)
        urgent = []
        for _ in range(4):
            demand.looked(found=True)
            demand.started(accepted=False)
            urgent.append(demand.is_urgent)
        assert urgent == [True, True, False, False]
        demand.started(accepted=True)
        assert demand.is_urgent

    def test_state(self) -> None:
        demand, other = in_vain(LookDemand(5)), LookDemand(5)
        after(demand, 4)
        other.restore(demand.snapshot())
        assert not other.is_worth_it(shows(Change.SOME))
        other.next_frame()
        assert other.is_worth_it(shows(Change.SOME))
        with pytest.raises(StateError, match="demand"):
            other.restore({})


class TestSearchDemand:
    """Further faces."""

    def test_the_first_frame_is_looked_at(self) -> None:
        assert first_due(SearchDemand(5), Change.SOME) == 1

    def test_looks_that_find_nobody_new_come_more_and_more_rarely(self) -> None:
        demand = SearchDemand(5)
        waits = []
        for _ in range(5):
            waits.append(first_due(demand, Change.SOME))
            demand.looked(found=False)
        assert waits == [1, 10, 20, 20, 20]

    def test_one_that_finds_somebody_is_repeated_soon(self) -> None:
        demand = SearchDemand(5)
        demand.looked(found=False)
        demand.looked(found=True)
        assert first_due(demand, Change.SOME) == 5

    def test_where_nothing_changes_one_look_in_fifty_frames_is_enough(self) -> None:
        demand = SearchDemand(5)
        demand.looked(found=True)
        assert first_due(demand, Change.NONE) == 50

    def test_a_lost_face_is_looked_for_five_times_whatever_the_picture_shows(self) -> None:
        demand = SearchDemand(5)
        for _ in range(4):
            demand.looked(found=False)
        demand.lost()
        waits = []
        for _ in range(6):
            waits.append(first_due(demand, Change.NONE))
            demand.looked(found=False)
        assert waits == [5, 5, 5, 5, 5, 50]

    def test_where_nobody_is_followed_looks_do_not_become_so_rare(self) -> None:
        demand = SearchDemand(5)
        waits = []
        for _ in range(4):
            waits.append(first_due(demand, Change.SOME, alone=True))
            demand.looked(found=False)
        assert waits == [1, 10, 10, 10]  # OpenFace: 8

    def test_state(self) -> None:
        demand, other = SearchDemand(5), SearchDemand(5)
        for _ in range(3):
            demand.looked(found=False)
        after(demand, 7)
        other.restore(demand.snapshot())
        assert first_due(other, Change.SOME) == 13
        with pytest.raises(StateError, match="demand"):
            other.restore({})
