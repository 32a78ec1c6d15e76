"""The mailbox: every picture is taken or counted, in exactly one place."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.errors import ShapeError
from auflow.stages.decode.live.mailbox import LivePicture, Mailbox


def picture(index: int, taken_s: float = 0.0, size: tuple[int, int] = (8, 6), turn: int = 0) -> LivePicture:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.time_base = Fraction(1, 90_000)
    width, height = size[::-1] if turn in (90, 270) else size
    return LivePicture(index, 0.0, 0.0, "arrival", taken_s, 0.0, width, height, frame, turn, VideoReformatter())


def test_the_newest_wins_and_is_given_once() -> None:
    box = Mailbox()
    box.put(picture(1))
    box.put(picture(2))
    taken = box.take(0.0, None)
    assert taken is not None
    assert taken.index == 2
    assert box.take(0.0, None) is None
    assert (box.decoded, box.taken, box.superseded) == (2, 1, 1)


@pytest.mark.parametrize(("now_s", "given"), [(10.5, True), (10.51, False)])
def test_an_old_picture_is_dropped(now_s: float, given: bool) -> None:
    box = Mailbox()
    box.put(picture(1, taken_s=10.0))
    assert (box.take(now_s, 0.5) is not None) == given
    assert (box.taken, box.too_old) == (int(given), int(not given))


STEPS = st.sampled_from(["put", "take", "take fresh", "pause", "refuse", "refuse paused"])


@settings(deadline=None, max_examples=300)
@given(st.lists(STEPS, max_size=60))
def test_every_picture_is_in_exactly_one_count(steps: list[str]) -> None:
    box, one, given = Mailbox(), picture(1, taken_s=0.0), 0
    for number, step in enumerate(steps):
        if step == "put":
            box.put(one)
        elif step == "pause":
            box.pause()
        elif step.startswith("refuse"):
            box.refuse(paused=step.endswith("paused"))
        else:
            given += box.take(float(number), 10.0 if step.endswith("fresh") else None) is not None
        assert box.decoded == box.taken + box.superseded + box.too_old + box.paused + box.waiting
    assert box.taken == given
    assert box.decoded == sum(step == "put" or step.startswith("refuse") for step in steps)


def test_pixels_are_written_turned_and_checked() -> None:
    out = np.full((8, 6, 3), 7, np.uint8)
    picture(1, turn=90).write_into(out)
    # Luma and chroma zero are a dark green in BT.601.
    assert (out == [0, 135, 0]).all()
    with pytest.raises(ShapeError, match=r"expected \(6, 8, 3\) uint8"):
        picture(1).write_into(out)
    with pytest.raises(ShapeError):
        picture(1).write_into(np.empty((6, 16, 3), np.uint8)[:, ::2])
