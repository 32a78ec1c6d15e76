"""How many deaths a frame, or a stream beside its frames, is allowed."""

from __future__ import annotations

import pytest

from auflow.flow.deaths import Deaths
from auflow.flow.groups import Down
from auflow.flow.topology import Role


def down(frame: int, stream: int = 0, role: Role = Role.CLNF) -> Down:
    return Down("lane-0", role, "it died", stream, frame)


@pytest.mark.parametrize(
    ("deaths", "enough"),
    [
        ([down(7), down(7)], [False, True]),
        ([down(7), down(8), down(7)], [False, False, True]),
        ([down(7), down(7, stream=1), down(7, role=Role.AU)], [False, False, False]),  # three places
        ([down(0), down(0), down(0)], [False, False, True]),  # before the first frame or after the last
        ([down(-1), down(0), down(-1)], [False, False, True]),
        ([down(5, stream=-1)] * 4, [False] * 4),  # it worked on nothing
    ],
)
def test_the_last_one_that_is_allowed(deaths: list[Down], enough: list[bool]) -> None:
    counted = Deaths()
    assert [counted.is_enough(death) for death in deaths] == enough
