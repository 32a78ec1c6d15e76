"""What each column of a table is, once: its unit, the range of its values, a description. The README has the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES
from auflow.stages.sink.au_names import AU_NAMES

__all__ = ["MEANINGS", "NO_UNIT", "Meaning"]

NO_UNIT = "1"  # of a number without a unit, as in UCUM


@dataclass(frozen=True, slots=True)
class Meaning:
    """One column."""

    unit: str  # "s", "px", "mm", "px/mm", "rad", or NO_UNIT
    description: str  # a phrase, in English
    range: str = ""  # of the values, where they have one: "0 to 5"


def _points(stem: str, axes: str, unit: str, count: int, what: Callable[[int], str]) -> Iterator[tuple[str, Meaning]]:
    for axis in axes:
        for number in range(count):
            place = "position in the picture" if unit == "px" else "position in space, camera frame"
            yield f"{stem}{axis}_{number}", Meaning(unit, f"{what(number)}: {place}, {axis.lower()}")


def _eye(number: int) -> str:
    side = "left" if number < 28 else "right"
    return f"landmark {number % 28} of the eye on the {side} of the picture"


def _landmark(number: int) -> str:
    return f"face landmark {number} of 68 (iBUG)"


def _each(
    names: Sequence[str], unit: str, descriptions: Sequence[str], values: str = ""
) -> Iterator[tuple[str, Meaning]]:
    for name, description in zip(names, descriptions, strict=True):
        yield name, Meaning(unit, description, values)


def _gaze() -> Iterator[tuple[str, Meaning]]:
    for number, side in enumerate(("left", "right")):
        for axis in "xyz":
            text = f"gaze direction of the eye on the {side} of the picture, camera frame, {axis}"
            yield f"gaze_{number}_{axis}", Meaning(NO_UNIT, text, "unit vector")
    yield "gaze_angle_x", Meaning("rad", "mean gaze of both eyes, left to right; 0 is into the camera")
    yield "gaze_angle_y", Meaning("rad", "mean gaze of both eyes, up to down; 0 is into the camera")


def _all() -> Iterator[tuple[str, Meaning]]:
    yield "frame", Meaning(NO_UNIT, "number of the frame, from 1")
    yield (
        "face_id",
        Meaning(NO_UNIT, "number of the face, from 0: a person's or a tracker's, as the table's `face_numbers` say"),
    )
    yield "face", Meaning(NO_UNIT, "number of the face in the picture, from 0")
    yield "timestamp", Meaning("s", "time in the video, the first frame at 0; 0 for images")
    yield "confidence", Meaning(NO_UNIT, "how well the landmarks sit, by OpenFace's validator", "0 to 1")
    yield "success", Meaning(NO_UNIT, "whether a face was tracked; other rows mean nothing", "0 or 1")
    yield from _gaze()
    yield from _points("eye_lmk_", "xy", "px", 56, _eye)
    yield from _points("eye_lmk_", "XYZ", "mm", 56, _eye)
    heads = [f"head position, camera frame, {axis}" for axis in ("x (right)", "y (down)", "z (away)")]
    yield from _each(("pose_Tx", "pose_Ty", "pose_Tz"), "mm", heads)
    turns = [f"head rotation about {axis}; R = Rx Ry Rz" for axis in ("x (pitch)", "y (yaw)", "z (roll)")]
    yield from _each(("pose_Rx", "pose_Ry", "pose_Rz"), "rad", turns)
    yield from _points("", "xy", "px", 68, _landmark)
    yield from _points("", "XYZ", "mm", 68, _landmark)
    yield "p_scale", Meaning("px/mm", "rigid parameter of the face model: scale")
    rigid = "rigid parameter of the face model:"
    yield from _each(("p_rx", "p_ry", "p_rz"), "rad", [f"{rigid} rotation about {axis}" for axis in "xyz"])
    yield from _each(("p_tx", "p_ty"), "px", [f"{rigid} translation in {axis}" for axis in "xy"])
    shapes = range(34)
    yield from _each([f"p_{k}" for k in shapes], "mm", [f"shape parameter {k} of the face model" for k in shapes])
    names = [AU_NAMES[au] for au in AU_INTENSITIES]
    yield from _each([f"{au}_r" for au in AU_INTENSITIES], NO_UNIT, [f"{name}: intensity" for name in names], "0 to 5")
    names = [AU_NAMES[au] for au in AU_PRESENCES]
    yield from _each([f"{au}_c" for au in AU_PRESENCES], NO_UNIT, [f"{name}: presence" for name in names], "0 or 1")


MEANINGS: dict[str, Meaning] = dict(_all())  # by the column's name, in OpenFace's order
