"""Numbers faces by the person: through crossings, leaving and returning, and trackers that slide from face to face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.faces import box_around, overlap
from auflow.stages.faces import distance as distance_of_boxes
from auflow.stages.identity.appearance import distances
from auflow.stages.identity.assignment import assign
from auflow.stages.identity.gallery import Person
from auflow.stages.state import field

__all__ = ["IdentityKeeper", "SeenFace"]

Floats = NDArray[np.float32]

# Distances of appearances (`appearance.distances`). Of a face to its own person's gallery 99 % lie below 0.6 where the
# fit is good, and up to 1.3 where it is not; of two persons' 99 % lie above 0.7 and half above 1.4.
_SAME = 0.75
_OTHER = 0.95
_ABRUPT = 1.1  # from one look to the next: the face of a person hardly ever changes so much
_NOVEL = 0.3  # an appearance that differs by more from those that are remembered is remembered too
_MARGIN = 0.15  # somebody else must be nearer by so much

# Looks in a row that speak against a person, until the tracker's person is asked for anew: where the face looks like
# somebody who is known, and where it is like nobody and has been on trial.
_DOUBTS, _MANY_DOUBTS = 5, 10
_AWAY = 3  # frames for which a face may be lost and still be taken for the same, at the same place
_SETTLED_AFTER = 10  # looks that agreed: from then on only every so many frames are looked at
_LOOK_EVERY = 4
_ALIKE = 3  # looks in a row that show an older person
_SURELY, _CHECK_EVERY = 0.5, 8  # what counts for it later, and every how many looks
_YOUNG = 10  # looks, within which a new person may turn out to be one who was there before
_TOUCHING = 0.1  # common share of two boxes from which on their appearances are mixed
_NEAR = 1.0  # of its width: so far a face may move from one frame to the next, or be found again
_RECENT = 60  # frames within which the place says something
_PLACE_WEIGHT = 0.2  # of a width's distance in place, against distances of appearances
_PERSONS = 64  # in the gallery; whoever was not seen for longest is forgotten


@dataclass(frozen=True, slots=True)
class SeenFace:
    """One face of a frame."""

    track: int  # number of the tracker that follows it
    landmarks_px: Floats  # (136,) planar
    accepted: bool  # the validator's verdict
    # Gives the appearance (d,) float32; None where there is none, or it is as it was in the last frame.
    appearance: Callable[[], Floats] | None


@dataclass(frozen=True, slots=True)
class _Face:
    """A face of the frame at hand."""

    track: int
    accepted: bool
    box: Floats  # x, y, w, h [px]
    look: Floats | None  # (d,)


@dataclass(slots=True)
class _Track:
    """What is known of a tracker's face."""

    person: int
    box: Floats  # x, y, w, h [px]
    seen_at: int  # frame
    agreed: int = 0  # looks in a row that agreed
    doubts: int = 0  # looks in a row that did not
    looks: int = 0  # since it has this person
    on_trial: bool = True  # the face was lost, has jumped, changed or touched another, and has not settled since
    is_new: bool = False  # the person was unknown when this tracker came
    alike: int = -1  # an older person whom it may be, and ...
    alike_looks: int = 0  # ... how many looks said so
    last_look: Floats | None = None  # (d,)
    there_at: int = 0  # frame in which there was a face, good or not


class IdentityKeeper:
    """Gives each face of a stream the number of its person, 0, 1, 2 ... in the order in which they appear.

    A tracker keeps its person as long as its face moves on without a jump and looks like that person. Else the face is
    compared with all persons that nobody is at the moment, by appearance and place; the best assignment counts, and
    who is like none of them is new. A single look never changes a number; two faces of a frame never have the same.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._persons: dict[int, Person] = {}
        self._tracks: dict[int, _Track] = {}
        self._next = 0
        self._mistaken: set[int] = set()  # persons, in the frame at hand, who have turned out to be older ones

    @property
    def persons(self) -> int:
        """Numbers given so far."""
        return self._next

    def assign(self, index: int, faces: Sequence[SeenFace]) -> list[int]:
        """The person's number of each face of a frame.

        Parameters
        ----------
        index : of the frame, from 1; rising, with gaps where frames were left out
        faces : of different trackers
        """
        boxes = [_box(face.landmarks_px) for face in faces]
        looked_at = [
            _Face(face.track, face.accepted, box, self._look(index, face, box, boxes))
            for face, box in zip(faces, boxes, strict=True)
            if box is not None
        ]
        claims: dict[int, _Face] = {}
        for face in sorted(looked_at, key=self._certainty, reverse=True):
            if self._goes_on(index, face) and (person := self._tracks[face.track].person) not in claims:
                claims[person] = face
        known = {face.track for face in claims.values()}
        unknown = [face for face in looked_at if face.track not in known]
        if unknown:
            self._recognise(index, claims, unknown)
        for face in looked_at:
            self._remember(index, face)
        self._forget(index)
        return [self._number(face.track, box) for face, box in zip(faces, boxes, strict=True)]

    def _number(self, number: int, box: Floats | None) -> int:
        track = self._tracks.get(number)
        assert track is not None or box is None
        return 0 if track is None else track.person

    def _certainty(self, face: _Face) -> tuple[bool, int, int, int]:
        """By which of two faces that are taken for the same person the one is chosen that is more likely to be."""
        track = self._tracks.get(face.track)
        return face.accepted, 0 if track is None else track.seen_at, 0 if track is None else track.agreed, -face.track

    def _look(self, index: int, face: SeenFace, box: Floats | None, boxes: Sequence[Floats | None]) -> Floats | None:
        """The face's appearance, where it is there, unmixed with others', and worth the look."""
        if face.appearance is None or not face.accepted or box is None:
            return None
        track = self._tracks.get(face.track)
        if any(other is not None and other is not box and overlap(other, box) > _TOUCHING for other in boxes):
            if track is not None:
                track.on_trial, track.agreed = True, 0
            return None
        settled = track is not None and not track.on_trial and not track.doubts and _follows(track, index, box)
        return None if settled and index % _LOOK_EVERY else face.appearance()

    def _goes_on(self, index: int, face: _Face) -> bool:
        """Whether the face is the person that its tracker had; counts what speaks for it and against it."""
        track = self._tracks.get(face.track)
        if track is None:
            return False
        goes_on = _follows(track, index, face.box)
        if index - track.seen_at > 1 or not goes_on or _is_abrupt(track, face.look):
            track.on_trial, track.agreed = True, 0
        if face.look is None:
            return True  # nothing can be said: it stays who it was until there is a look
        track.last_look = face.look
        return goes_on and self._agrees(track, face.look)

    def _agrees(self, track: _Track, look: Floats) -> bool:
        """Whether a look leaves the tracker its person."""
        person = self._persons[track.person]
        distance = person.distance(look)
        track.looks += 1
        if not person.is_known or distance <= _SAME or (track.is_new and track.looks <= _YOUNG):
            track.agreed, track.doubts = track.agreed + 1, 0
            track.on_trial = track.on_trial and track.agreed < _SETTLED_AFTER
            return not self._is_older(track, look)
        nearest = min((self._persons[n].distance(look) for n in self._persons if n != track.person), default=np.inf)
        track.agreed = 0
        like_another = nearest <= _SAME and nearest + _MARGIN < distance
        track.doubts += like_another or (track.on_trial and distance > _OTHER)
        return track.doubts < (_DOUBTS if like_another else _MANY_DOUBTS)

    def _is_older(self, track: _Track, look: Floats) -> bool:
        """Whether several looks have shown that this is somebody who was there before under a lower number."""
        is_young = track.is_new and track.looks <= _YOUNG
        if not is_young and track.looks % _CHECK_EVERY:
            return False
        taken = {other.person for other in self._tracks.values() if other.there_at >= track.there_at}
        older = [n for n in self._persons if n < track.person and n not in taken]
        best = min(older, key=lambda n: self._persons[n].distance(look), default=-1)
        if best < 0 or self._persons[best].distance(look) > (_SAME if is_young else _SURELY):
            track.alike_looks = 0
            return False
        track.alike_looks = track.alike_looks + 1 if best == track.alike else 1
        track.alike = best
        if track.alike_looks < _ALIKE:
            return False
        self._mistaken.add(track.person)
        return True

    def _recognise(self, index: int, claims: Mapping[int, _Face], unknown: Sequence[_Face]) -> None:
        """Give these faces the persons that they are most like, or new ones."""
        # A fit that the validator refused does not keep a person from being found elsewhere.
        free = [n for n in self._persons if n not in self._mistaken and (n not in claims or not claims[n].accepted)]
        costs = np.array([[self._cost(index, face, number) for number in free] for face in unknown])
        found = assign(costs.reshape(len(unknown), len(free)))
        for row, face in enumerate(unknown):
            is_new = row not in found
            number = self._new_person(index) if is_new else free[found[row]]
            self._tracks[face.track] = _Track(number, face.box, index, is_new=is_new, last_look=face.look)
            if number in claims:
                # What is fitted where somebody was who has been found elsewhere is nobody, or somebody else.
                other = claims[number]
                self._tracks[other.track] = _Track(self._new_person(index), other.box, index, is_new=True)

    def _cost(self, index: int, face: _Face, number: int) -> float:
        person = self._persons[number]
        gap = index - person.seen_at
        away = distance_of_boxes(person.box, face.box) if gap <= _RECENT else np.inf
        if face.look is None or not person.is_known:
            # By the place alone, and after all that can be told by their looks.
            return _OTHER + _PLACE_WEIGHT * away if away <= _NEAR else np.inf
        distance = person.distance(face.look)
        track = self._tracks.get(face.track)
        doubted = track is not None and track.person == number and track.doubts > 0
        limit = _SAME if doubted or away > _NEAR else np.inf if gap <= _AWAY else _OTHER
        return distance + _PLACE_WEIGHT * min(away, 2.0) if distance <= limit else np.inf

    def _new_person(self, index: int) -> int:
        number, self._next = self._next, self._next + 1
        self._persons[number] = Person()
        self._persons[number].seen_at = index
        return number

    def _remember(self, index: int, face: _Face) -> None:
        track, look = self._tracks[face.track], face.look
        follows = _follows(track, index, face.box)
        track.box, track.there_at = face.box, index
        person = self._persons[track.person]
        if face.accepted:
            track.seen_at = index
            person.box, person.seen_at = face.box, index
        if look is None or not follows:
            return
        distance = person.distance(look)
        # A face that has been there all the time is that person, however they look now.
        is_sure = not track.on_trial and not track.doubts
        young = track.is_new and track.looks <= _YOUNG
        if not person.is_known or (distance > _NOVEL and (distance <= _SAME or young or is_sure)):
            person.learn(look)

    def _forget(self, index: int) -> None:
        """Trackers that are gone, persons who were others, and whoever was not seen for longest if there are too many.

        Nobody who is in the frame at hand.
        """
        self._tracks = {n: track for n, track in self._tracks.items() if index - track.there_at <= _RECENT}
        present = {track.person for track in self._tracks.values() if track.there_at == index}
        gone = self._mistaken - present
        others = sorted((n for n in self._persons if n not in present), key=lambda n: (self._persons[n].seen_at, n))
        gone |= set(others[: max(0, len(self._persons) - _PERSONS)])
        self._mistaken = set()
        self._persons = {n: person for n, person in self._persons.items() if n not in gone}
        self._tracks = {n: track for n, track in self._tracks.items() if track.person not in gone}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next answers depend on."""
        tracks = sorted(self._tracks)
        own: dict[str, NDArray[Any]] = {
            "next": np.array(self._next),
            "numbers": np.array(list(self._persons), np.int64),
            "track_looks": _looks([self._tracks[n] for n in tracks]),
            "track_boxes": np.array([self._tracks[n].box for n in tracks], np.float32).reshape(-1, 4),
            "tracks": np.array([(n, *_counts(self._tracks[n])) for n in tracks], np.int64).reshape(-1, 11),
        }
        for number, person in self._persons.items():
            own |= {f"{number}/{name}": array for name, array in person.snapshot().items()}
        return own

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self.reset()
        self._next = int(field(arrays, "next", np.int64, ()))
        for number in field(arrays, "numbers", np.int64, (None,)).tolist():
            own = {n.removeprefix(f"{number}/"): a for n, a in arrays.items() if n.startswith(f"{number}/")}
            self._persons[number] = Person()
            self._persons[number].restore(own)
        rows = field(arrays, "tracks", np.int64, (None, 11))
        boxes = field(arrays, "track_boxes", np.float32, (len(rows), 4))
        looks_of = field(arrays, "track_looks", np.float32, (len(rows), None))
        for row, box, last_look in zip(rows.tolist(), boxes, looks_of, strict=True):
            number, person, seen_at, agreed, doubts, looks, on_trial, is_new, alike, alike_looks, there_at = row
            self._tracks[number] = _Track(
                person, box.copy(), seen_at, agreed, doubts, looks, bool(on_trial), bool(is_new), alike, alike_looks,
                last_look.copy() if last_look.any() else None, there_at,
            )  # fmt: skip


def _counts(track: _Track) -> tuple[int, ...]:
    return (
        track.person, track.seen_at, track.agreed, track.doubts, track.looks, track.on_trial, track.is_new,
        track.alike, track.alike_looks, track.there_at,
    )  # fmt: skip


def _looks(tracks: Sequence[_Track]) -> Floats:
    """The last look at each face (n, d); zero where there was none."""
    known = [track.last_look for track in tracks if track.last_look is not None]
    size = known[0].size if known else 0
    return np.array(
        [np.zeros(size) if track.last_look is None else track.last_look for track in tracks], np.float32
    ).reshape(len(tracks), size)


def _is_abrupt(track: _Track, look: Floats | None) -> bool:
    if look is None or track.last_look is None:
        return False
    return float(distances(look, track.last_look[None])[0]) > _ABRUPT


def _follows(track: _Track, index: int, box: Floats) -> bool:
    """Whether the face may have moved from where its tracker had it last."""
    return index - track.seen_at <= _RECENT and distance_of_boxes(track.box, box) <= _NEAR


def _box(landmarks_px: Floats) -> Floats | None:
    """[x, y, w, h] around the landmarks; None of a face that was never found."""
    return box_around(landmarks_px) if landmarks_px.any() else None
