"""How well faces keep their numbers: id switches, MOTA and IDF1 of tracks against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.stages.faces import overlap

__all__ = ["Marked", "MotFigures", "Shown", "evaluate"]

Box = NDArray[np.float64]
_MATCHED_FROM = 0.5  # intersection over union


@dataclass(frozen=True, slots=True)
class Marked:
    """One person in one frame, as it is in truth."""

    person: int
    box: Box  # x, y, w, h [px]
    counts: bool = True  # else the person is hardly visible: whoever finds it is right, whoever does not is too


@dataclass(frozen=True, slots=True)
class Shown:
    """One face in one frame, as it was found."""

    number: int
    box: Box  # x, y, w, h [px]


@dataclass(frozen=True, slots=True)
class MotFigures:
    """What became of all frames."""

    truth: int  # faces in all frames that count
    found: int  # faces that were found, without those of persons that do not count
    missed: int
    false: int
    switches: int  # a person's number is another than when the person was found before
    same: int  # faces with the number that is the person's in the best assignment of numbers to persons
    changes: tuple[tuple[int, int], ...]  # frame, from 0, and person of each switch
    numbers: tuple[dict[int, int], ...]  # of each frame: the number of each person that was found

    @property
    def mota(self) -> float:
        """Multiple object tracking accuracy: 1 less misses, false faces and switches, each by the faces in truth."""
        return 1.0 - (self.missed + self.false + self.switches) / max(1, self.truth)

    @property
    def idf1(self) -> float:
        """Faces with the right number, by the mean of those in truth and those found."""
        return 2.0 * self.same / max(1, self.truth + self.found)


def evaluate(truth: Sequence[Sequence[Marked]], found: Sequence[Sequence[Shown]]) -> MotFigures:
    """Compare what was found with the truth, frame by frame.

    A face is matched with the person that it was matched with before, where they still overlap by half, and else so
    that as many as possible are matched and overlap most.

    References
    ----------
    Bernardin, Stiefelhagen, Evaluating multiple object tracking performance: the CLEAR MOT metrics, EURASIP Journal on
    Image and Video Processing 2008.
    Ristani, Solera, Zou, Cucchiara, Tomasi, Performance measures and a data set for multi-target, multi-camera
    tracking, ECCV workshops 2016.
    """
    last: dict[int, int] = {}  # number of each person
    together: Counter[tuple[int, int]] = Counter()
    counts = Counter[str]()
    changes, numbers = [], []
    for frame, (people, faces) in enumerate(zip(truth, found, strict=True)):
        matches = _matched(people, faces, last)
        counts["truth"] += sum(person.counts for person in people)
        counts["matched"] += sum(people[i].counts for i in matches)
        counts["found"] += len(faces) - sum(not people[i].counts for i in matches)
        for i, j in matches.items():
            person, number = people[i].person, faces[j].number
            if people[i].counts:
                together[person, number] += 1
                if last.get(person, number) != number:
                    changes.append((frame, person))
            last[person] = number
        numbers.append({people[i].person: faces[j].number for i, j in matches.items()})
    return MotFigures(
        truth=counts["truth"],
        found=counts["found"],
        missed=counts["truth"] - counts["matched"],
        false=counts["found"] - counts["matched"],
        switches=len(changes),
        same=_best(together),
        changes=tuple(changes),
        numbers=tuple(numbers),
    )


def _matched(people: Sequence[Marked], faces: Sequence[Shown], last: dict[int, int]) -> dict[int, int]:
    """Place of the face of each person, by the person's place."""
    overlaps = np.array([[overlap(p.box, f.box) for f in faces] for p in people]).reshape(len(people), len(faces))
    near = overlaps >= _MATCHED_FROM
    matches = {}
    for i, person in enumerate(people):
        for j, face in enumerate(faces):
            if near[i, j] and last.get(person.person) == face.number:
                matches[i] = j
    rest_i = [i for i in range(len(people)) if i not in matches]
    rest_j = [j for j in range(len(faces)) if j not in matches.values()]
    gains = np.where(near, 1.0 + overlaps, 0.0)[np.ix_(rest_i, rest_j)]
    rows, columns = _assigned(gains)
    for row, column in zip(rows, columns, strict=True):
        if gains[row, column] > 0.0:
            matches[rest_i[row]] = rest_j[column]
    return matches


def _best(together: Counter[tuple[int, int]]) -> int:
    """Faces with the right number, when each person has one number and each number one person."""
    people = sorted({person for person, _ in together})
    numbers = sorted({number for _, number in together})
    gains = np.array([[together[person, number] for number in numbers] for person in people], np.float64)
    rows, columns = _assigned(gains.reshape(len(people), len(numbers)))
    return int(gains[rows, columns].sum()) if len(people) else 0


def _assigned(gains: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return rows.tolist(), columns.tolist()
