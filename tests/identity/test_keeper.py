"""Who is who: tables of frames with made-up appearances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.identity.appearance import APPEARANCE_SIZE, distances
from auflow.stages.identity.keeper import IdentityKeeper, SeenFace
from auflow.stages.state import StateError

SHAPE = APPEARANCE_SIZE - 48
WIDTH = 100.0


def look(person: int, variation: float = 0.0) -> np.ndarray:
    """Persons are about 1.4 apart, a variation of 1 moves a face by about 0.35 from its person's plain look."""
    rng = np.random.default_rng(person)
    shape, colour = rng.normal(size=SHAPE), rng.normal(0, 0.4, 48)
    shape /= np.linalg.norm(shape)
    other = np.random.default_rng(1000 + person).normal(size=SHAPE)
    shape = shape + variation * other / np.linalg.norm(other)
    return np.concatenate((shape / np.linalg.norm(shape), colour)).astype(np.float32)


def face(track: int, x: float, who: int | None, *, y: float = 100.0, variation: float = 0.0) -> SeenFace:
    """A face 100 px wide; `who` None: the validator refused the fit."""
    grid = np.linspace(0, WIDTH, 68, dtype=np.float32)
    landmarks = np.concatenate([grid + np.float32(x), grid + np.float32(y)])
    seen = None if who is None else look(who, variation)
    return SeenFace(track, landmarks, who is not None, None if seen is None else lambda: seen)


def nobody(track: int = 0) -> SeenFace:
    return SeenFace(track, np.zeros(136, np.float32), False, None)


class Stream:
    """A keeper and the frames that it has seen."""

    def __init__(self) -> None:
        self.keeper = IdentityKeeper()
        self.frame = 0

    def next(self, *faces: SeenFace) -> list[int]:
        self.frame += 1
        return self.keeper.assign(self.frame, faces)

    def during(self, frames: int, *faces: SeenFace) -> list[int]:
        for _ in range(frames):
            numbers = self.next(*faces)
        return numbers

    def skip(self, frames: int) -> None:
        self.frame += frames


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_the_made_up_persons_are_as_far_apart_as_real_ones() -> None:
    assert distances(look(0), np.stack([look(0), look(0, 1.0), look(1)])) == pytest.approx([0, 0.3, 1.55], abs=0.12)


class TestOneFace:
    """One tracker."""

    def test_no_face_is_number_0_and_nobody(self, stream: Stream) -> None:
        assert stream.during(3, nobody()) == [0]
        assert stream.keeper.persons == 0
        assert stream.next(face(0, 0, 7)) == [0]
        assert stream.keeper.persons == 1

    def test_expressions_and_motion_change_nothing(self, stream: Stream) -> None:
        numbers = [stream.next(face(0, 10.0 * k, 0, variation=np.sin(k))) for k in range(60)]
        assert numbers == 60 * [[0]]

    def test_a_bad_look_or_seven_change_nothing(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        assert stream.during(7, face(0, 0, 5)) == [0]
        assert stream.during(20, face(0, 0, 0)) == [0]

    def test_somebody_else_at_the_same_place_after_a_moment_is_somebody_else(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        stream.during(10, nobody())
        assert stream.during(3, face(1, 0, 1)) == [1]

    def test_the_same_tracker_too(self, stream: Stream) -> None:
        """OpenFace gives a slot to another face without a word."""
        stream.during(20, face(0, 0, 0))
        stream.skip(10)
        assert stream.during(11, face(0, 0, 1)) == [1]

    def test_a_cut_to_another_face_shows_within_ten_looks(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        numbers = [stream.next(face(0, 0, 1))[0] for _ in range(20)]
        assert numbers[0] == 0  # not on the first look
        assert numbers[-1] == 1
        assert sorted(numbers) == numbers

    def test_a_cut_back_to_somebody_known_shows_sooner(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        stream.during(40, face(0, 0, 1))
        numbers = [stream.next(face(0, 0, 0))[0] for _ in range(12)]
        assert numbers[-1] == 0

    def test_whoever_comes_back_gets_their_number(self, stream: Stream) -> None:
        for person, number in ((0, 0), (1, 1), (2, 2), (1, 1), (0, 0)):
            stream.during(5, nobody())
            stream.skip(500)
            assert stream.during(20, face(person + 10 * stream.frame, 40.0 * person, person, variation=0.5)) == [number]

    def test_a_start_that_was_taken_for_a_new_person_is_set_right(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        stream.skip(200)
        first = stream.next(face(1, 500, 9))  # the first fit of a face is often bad
        numbers = [stream.next(face(1, 500, 0))[0] for _ in range(8)]
        assert first == [1]
        assert numbers[-1] == 0

    def test_bad_fits_keep_the_person(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        assert stream.during(30, face(0, 20, None)) == [0]

    def test_looks_are_taken_rarely_once_settled(self, stream: Stream) -> None:
        taken = []
        seen = look(0)

        def give() -> np.ndarray:
            taken.append(stream.frame)
            return seen

        quiet = SeenFace(0, face(0, 0, 0).landmarks_px, True, give)
        stream.during(40, quiet)
        assert taken[-1] > 30
        assert len(taken) < 25


class TestSeveralFaces:
    """Several trackers."""

    def test_numbers_by_first_appearance(self, stream: Stream) -> None:
        assert stream.next(face(3, 0, 0), face(8, 300, 1), face(5, 600, 2)) == [0, 1, 2]

    def test_a_crossing_in_which_the_trackers_change_places(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0), face(1, 300, 1))
        for x in np.linspace(0, 300, 25):
            stream.next(face(0, x, 0), face(1, 300 - x, 1))
        # From here on each tracker follows the other's face.
        for _ in range(12):
            numbers = stream.next(face(0, 300, 1), face(1, 0, 0))
        assert numbers == [1, 0]

    def test_a_crossing_in_which_they_do_not(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0), face(1, 300, 1))
        for x in np.linspace(0, 300, 25):
            assert stream.next(face(0, x, 0), face(1, 300 - x, 1)) == [0, 1]
        assert stream.during(20, face(0, 300, 0), face(1, 0, 1)) == [0, 1]

    def test_one_is_lost_behind_the_other_and_comes_out_with_another_tracker(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0), face(1, 300, 1))
        stream.during(30, face(0, 150, 0))
        assert stream.during(3, face(0, 150, 0), face(2, 400, 1)) == [0, 1]

    def test_trackers_that_are_given_each_others_numbers(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0), face(1, 300, 1))
        stream.skip(30)
        numbers = stream.during(2, face(0, 300, 1), face(1, 0, 0))
        assert numbers == [1, 0]

    def test_a_bad_fit_does_not_hold_a_number_that_is_seen_elsewhere(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0), face(1, 300, 1))
        numbers = stream.next(face(0, 0, None), face(1, 300, 1), face(2, 600, 0))
        assert numbers[1:] == [1, 0]
        assert numbers[0] not in (0, 1)

    def test_many_persons_are_forgotten_but_no_number_is_given_twice(self, stream: Stream) -> None:
        given = []
        for person in range(70):
            stream.skip(100)
            given += stream.during(2, face(person, 0, person))
        assert given == list(range(70))
        stream.skip(100)
        assert stream.next(face(100, 0, 69)) == [69]  # still known
        stream.skip(100)
        assert stream.next(face(101, 0, 0)) == [70]  # forgotten

    def test_whoever_is_in_the_picture_is_not_forgotten(self, stream: Stream) -> None:
        """Passers-by whose trackers were there a moment ago, and one more, whose first fit is no good."""
        for person in range(70):
            stream.during(3, face(person, 300.0 * person, person))
        assert stream.next(face(1000, 500, None)) == [70]
        assert stream.next(face(1000, 500, 99)) == [70]

    def test_two_galleries_of_one_person_become_one(self, stream: Stream) -> None:
        stream.during(20, face(0, 0, 0))
        stream.skip(300)
        assert stream.during(30, face(1, 500, 9)) == [1]
        # From here on the face is the first person's after all, and what came before is part of its gallery.
        for step in range(1, 11):
            assert stream.next(face(1, 500, 9, variation=0.1 * step))[0] == 1
        numbers = [stream.next(face(1, 500, 0))[0] for _ in range(200)]
        assert numbers[-1] == 0
        assert 1 not in stream.keeper._persons or numbers.count(1) < 100

    def test_a_mistaken_person_whom_another_face_claims_stays(self, stream: Stream) -> None:
        """One face turns out to be an older person while another tracker has the younger one's number."""
        stream.during(20, face(0, 0, 0))
        stream.skip(100)
        stream.next(face(1, 500, 9))
        stream.keeper._tracks[2] = stream.keeper._tracks[1].__class__(
            1, np.array([0, 100, 100, 100], np.float32), stream.frame, there_at=stream.frame
        )
        for _ in range(12):
            numbers = stream.next(face(1, 500, 0), face(2, 0, None))
            assert len(set(numbers)) == 2


@st.composite
def scenes(draw: st.DrawFn) -> list[list[SeenFace]]:
    """Frames of up to four faces with trackers, places and persons at random."""
    frames = []
    for _ in range(draw(st.integers(1, 25))):
        tracks = draw(st.lists(st.integers(0, 6), max_size=4, unique=True))
        frames.append(
            [
                face(
                    track,
                    float(draw(st.integers(0, 6))) * 60,
                    draw(st.one_of(st.none(), st.integers(0, 5))),
                    variation=draw(st.sampled_from([0.0, 0.5, 1.5])),
                )
                for track in tracks
            ]
        )
    return frames


@settings(max_examples=60, deadline=None, derandomize=True)
@given(scenes())
def test_no_number_twice_in_a_frame_and_every_state_goes_on_as_it_was(frames: list[list[SeenFace]]) -> None:
    keeper = IdentityKeeper()
    for index, faces in enumerate(frames, start=1):
        other = IdentityKeeper()
        other.restore(keeper.snapshot())
        numbers = keeper.assign(index, faces)
        assert len(set(numbers)) == len(numbers)
        assert other.assign(index, faces) == numbers
        assert all(0 <= number < keeper.persons for number in numbers)


def test_states_that_are_none(stream: Stream) -> None:
    stream.during(3, face(0, 0, 0), face(1, 300, 1))
    arrays = stream.keeper.snapshot()
    for name in arrays:
        with pytest.raises(StateError, match=name.split("/")[-1]):
            IdentityKeeper().restore({other: array for other, array in arrays.items() if other != name})
