"""What stands on the screen, at several sizes."""

from __future__ import annotations

import time

import pytest

from auflow.serve.top.frame import Screen, ansi, frame, shares, whole
from auflow.serve.top.model import History, View
from auflow.serve.top.sections import HELP, SORTS

from .top_tools import look_at, stream_at

SMALL = """\
auflow 1.2  ready   up 12 s   1 of 2 streams up   in 32.5 out 30.0 fps
CPU 99 %   memory 320 MB

stream state         fps  in/s   age ms dropped/s  failed/s faces    fps trend
door   streaming    30.0  32.5    42/50 2.5 newer       0.0     2            ▇
hall   backing off   0.0   0.0      -/- 0.0             0.0     -            ▁

stage  per s   work ms   wait ms busy                   queue credits
decode     -       -/-       -/- -                          -       -
detect     -       -/-       -/- -                          -       -
clnf    30.0     21/25   3.8/5.0 ━━━━━━──── 60 %            3       1
au         -       -/-       -/- -                          -       -
sink       -       -/-       -/- -                          -       -

process  state      restarts free CPU %  MB CPU % of each
lane-0   running           0 4/10    90 200 decode 15 clnf 60 au 12 sink 3
detect-0 running           1    -     -   -
bus-0    running           0    -     3  70
service  running           -    -     6  50

last warnings
HH:MM:SS hall: backing off: Connection refused

 q quit  p pause  s sort  ? help   sorted: as configured"""


def hall(**others: object) -> dict[str, object]:
    return stream_at("hall", 0, state="backing_off", reason="Connection refused", **others)


def view_of(*others: dict[str, object]) -> View:
    history = History()
    history.take(look_at(10.0, 1200, stream_at("door", 1200), *others))
    return history.take(look_at(12.0, 1260, stream_at("door", 1260), *others))


def shown(view: View, width: int, height: int, screen: Screen | None = None) -> list[str]:
    lines, _ = frame(view, screen or Screen(), width, height)
    return [line.rstrip() for line in ansi(lines, width, colour=False)]


def test_a_small_terminal() -> None:
    view = view_of(hall())
    lines = shown(view, 80, 24)
    at = time.strftime("%H:%M:%S", time.localtime(view.warnings[0].unix_s))
    assert "\n".join(lines).rstrip("\n") == SMALL.replace("HH:MM:SS", at)


def test_a_large_terminal_has_the_totals_too() -> None:
    lines = shown(view_of(hall()), 200, 60)
    title, door, *_ = lines[2:]
    assert " ".join(title.split()) == (
        "stream state for fps in/s age ms dropped/s failed/s faces conf reconn fps trend age trend "
        "in done dropped failed"
    )
    assert "1 min 1 s" in door
    assert door.split()[-5:] == ["1,365", "1,260", "105", "newer", "0"]
    assert len(lines) == 60


@pytest.mark.parametrize("streams", [0, 1, 7, 64])
@pytest.mark.parametrize("mode", [Screen(), Screen(helps=True), Screen(scroll=50, sort="age", paused=True)])
def test_every_size_is_filled_exactly(streams: int, mode: Screen) -> None:
    view = view_of(*(stream_at(f"camera-{number}", number) for number in range(streams)))
    for width in (1, 10, 40, 79, 80, 120, 250):
        for height in (1, 2, 5, 10, 24, 60):
            lines, room = frame(view, mode, width, height)
            assert len(lines) == height
            assert all(line.cell_len <= width for line in lines)
            assert 0 <= room <= height


def test_streams_scroll_and_the_last_line_says_where() -> None:
    view = view_of(*(stream_at(f"camera-{number:02}", number) for number in range(63)))
    lines, room = frame(view, Screen(), 80, 24)
    assert 3 <= room < 64
    texts = [line.plain for line in lines]
    assert f"streams 1-{room} of 64" in texts[-1]
    assert any(text.startswith("door ") for text in texts)
    lines, _ = frame(view, Screen(scroll=1_000), 80, 24)  # the last ones stay at the end
    assert f"streams {64 - room + 1}-64 of 64" in lines[-1].plain
    assert any(line.plain.startswith("camera-62") for line in lines)


def test_streams_are_sorted_by_what_may_need_somebody_first() -> None:
    view = view_of(hall(), stream_at("attic", 0))
    orders = {sort: [line.split()[0] for line in shown(view, 100, 40, Screen(sort=sort))[3:6]] for sort in SORTS}
    assert orders["as configured"] == ["door", "hall", "attic"]
    assert orders["name"] == ["attic", "door", "hall"]
    assert orders["state"][0] == "hall"
    assert orders["dropped"][0] == "door"
    assert orders["fps"][0] == "door"
    assert orders["age"][0] == "attic"  # 140 ms


def test_all_that_is_coloured_is_also_said() -> None:
    from io import StringIO

    from rich.console import Console

    history = History()
    history.take(look_at(10.0, 1200))
    view = history.take(look_at(12.0, 1300))  # clnf: 100 frames of 20 ms in 2 s
    texts = shown(view, 120, 30)
    assert any("100 % full" in text for text in texts)
    lines, _ = frame(view, Screen(), 120, 30)
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=120)
    for line in lines:
        console.print(line, no_wrap=True)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m━━━━━━━━━━" in told  # red
    assert "\x1b[32mstreaming" in told
    assert "\x1b[33m4.0 newer" in told


def test_a_service_that_is_gone() -> None:
    lines = shown(View(gone="/run/x.sock: no service listens there any more", gone_s=75.0), 80, 24)
    assert lines[0] == "no service answers for 1 min 15 s; waiting for it"
    assert "no service listens there" in lines[1]


def test_without_metrics_the_stages_say_why_and_the_rest_is_there() -> None:
    from dataclasses import replace

    view = replace(view_of(), stages=(), stages_fault='the service tells no metrics: [http] address is ""')
    lines = shown(view, 80, 24)
    assert 'no stages: the service tells no metrics: [http] address is ""' in lines
    assert any(line.startswith("lane-0 ") for line in lines)


def test_help_fits_a_small_terminal() -> None:
    assert all(len(line) <= 80 for line in HELP.splitlines())
    lines = shown(view_of(), 80, 24, Screen(helps=True))
    assert HELP.splitlines()[-1] in lines


def test_names_of_streams_are_no_markup_and_ascii_is_enough() -> None:
    view = view_of(stream_at("[red]x[/red]", 5))
    texts = shown(view, 120, 30, Screen(plain=True))
    assert any("[red]x[/red]" in text for text in texts)
    assert all(text.isascii() for text in texts)


def test_once_has_everything() -> None:
    view = view_of(*(stream_at(f"camera-{number:02}", number) for number in range(63)))
    texts = [line.plain for line in whole(view, 200)]
    assert all(any(text.startswith(f"camera-{number:02} ") for text in texts) for number in range(63))
    assert any(text.startswith("clnf ") for text in texts)
    assert texts[-1].strip()


def test_no_streams() -> None:
    view = History().take(look_at(10.0, 0, streams=[]))
    assert any("auflow ctl add" in text for text in shown(view, 80, 24))


@pytest.mark.parametrize("height", range(0, 90, 3))
@pytest.mark.parametrize("wanted", [(1, 6, 0, 0), (4, 6, 5, 3), (65, 6, 20, 30), (2, 1, 4, 0)])
def test_lines_are_shared_out(wanted: tuple[int, ...], height: int) -> None:
    sizes, gaps = shares(wanted, height)
    assert sum(sizes) + sum(gaps) <= height
    assert all(0 <= size <= want for size, want in zip(sizes, wanted, strict=True))
    if height >= sum(wanted) + 4:
        assert sizes == list(wanted)
