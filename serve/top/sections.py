"""The parts of the screen as lines of text. Pure. What is coloured also says so in words or figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from rich.text import Text

from auflow.metrics import STAGES
from auflow.serve.table import COLOURS, duration
from auflow.serve.top.figures import Histogram, sparkline
from auflow.serve.top.grid import Column, cut, grid
from auflow.serve.top.model import Group, Stage, Stream, View
from auflow.serve.top.noticed import UP, Warned

__all__ = ["HELP", "SORTS", "groups_of", "head_of", "ordered", "stages_of", "streams_of", "warnings_of"]

_REASONS = {"superseded": "newer", "too_old": "old"}  # of drops; others stand for themselves
_BUSY, _FULL = 0.7, 0.9
_BAR = 10
_AGE_S = 1.0  # an age from which on it is told in red

HELP = """\
streams
  fps      results a second; trend: of the last refreshes
  age      from a picture's arrival to its result, ms: median/99th percentile
  dropped  newer (a newer picture came), old (older than max_age_s), paused
  reconn   connections to the source after its first
stages
  work     time that it works on one frame, ms: median/99th percentile
  wait     until it began with it, since the stage before had handed it over
  busy     share of the time that it works; at 100 % it is the bottleneck
  queue    frames that wait for it or are in its work
  credits  frames that it may still hand to the next stage
processes
  free     slots of the lane's ring, which hold its pictures
  CPU %    100 is one core

Rates and percentiles are of the time since the last refresh. Percentiles are
interpolated between the edges of histograms; beyond 10 s they are >10,000."""

SORTS: dict[str, Callable[[Stream], tuple[object, ...]]] = {
    "as configured": lambda stream: (),
    "name": lambda stream: (stream.name,),
    "state": lambda stream: (stream.state in UP, stream.state),
    "age": lambda stream: (-(stream.age_p99_s or 0.0),),
    "dropped": lambda stream: (-(sum(stream.rates.dropped.values()) if stream.rates else 0.0),),
    "fps": lambda stream: (-(stream.rates.done if stream.rates else 0.0),),
}


def ordered(streams: Sequence[Stream], sort: str) -> list[Stream]:
    """In an order of `SORTS`: what may need somebody first."""
    return sorted(streams, key=SORTS[sort])


def head_of(view: View, width: int, note: str = "") -> list[Text]:
    """The service as a whole, in as few lines as it takes."""
    head = view.head
    if view.gone:
        gone = Text.assemble(("no service answers", "bold red"), f" for {duration(view.gone_s)}; waiting for it")
        return [cut(gone, width), cut(Text(view.gone, "red"), width)]
    pieces = [
        Text.assemble(f"auflow {head.version}  ", _state(head.state)),
        Text(f"up {duration(head.uptime_s)}"),
        Text(f"{head.up} of {head.streams} streams up", "" if head.up == head.streams else "yellow"),
        Text(f"in {number(head.in_per_s, 1)} out {number(head.out_per_s, 1)} fps"),
        Text(f"CPU {_percent(head.cpu)}"),
        Text(f"memory {number(head.memory_mb)} MB"),
    ]
    if note:
        pieces.append(Text(note, "bold yellow"))
    lines = [Text()]
    for piece in pieces:
        gap = "   " if lines[-1].cell_len else ""
        if lines[-1].cell_len + len(gap) + piece.cell_len > width and gap:
            lines.append(Text())
            gap = ""
        lines[-1] = Text.assemble(lines[-1], gap, piece)
    return [cut(line, width) for line in lines]


def streams_of(streams: Sequence[Stream], width: int, *, plain: bool = False) -> list[Text]:
    """The title and a line for each."""
    if not streams:
        return [cut(Text("no streams: `auflow ctl add NAME SOURCE` brings one"), width)]
    bars = 24 if width >= 160 else 12
    columns = [
        _column("stream", streams, lambda s: Text(_short(s.name, 24 if width >= 100 else 14))),
        _column("state", streams, lambda s: _state(s.state), least=11),
        _column("for", streams, lambda s: Text(duration(s.since_s)), rank=8, least=11),
        _column(">fps", streams, lambda s: _rate(s.rates and s.rates.done), least=5),
        _column(">in/s", streams, lambda s: _rate(s.rates and s.rates.came), rank=4, least=5),
        _column(">age ms", streams, _age, least=8),
        _column("dropped/s", streams, _dropped, rank=1, least=10),
        _column(">failed/s", streams, lambda s: _lost(s.rates and s.rates.failed), rank=5),
        _column(">faces", streams, lambda s: Text(number(s.faces)), rank=3),
        _column(">conf", streams, lambda s: Text(number(s.confidence, 2)), rank=6),
        _column(">reconn", streams, lambda s: _count(s.reconnects), rank=5),
        _column(">fps trend", streams, lambda s: _trend(s.trend, bars, "cyan", plain), rank=2, least=bars),
        _column(">age trend", streams, lambda s: _trend(s.ages, bars, "magenta", plain), rank=10, least=bars),
        _column(">in", streams, lambda s: Text(number(s.counts.came)), rank=9),
        _column(">done", streams, lambda s: Text(number(s.counts.done)), rank=7),
        _column("dropped", streams, lambda s: Text(_reasons(s.counts.dropped, 0) or "0"), rank=7),
        _column(">failed", streams, lambda s: _count(s.counts.failed), rank=7),
    ]
    return grid(columns, width)


def stages_of(stages: Sequence[Stage], fault: str, width: int, *, plain: bool = False) -> list[Text]:
    """The title and a line for each; or why there are none."""
    if not stages:
        return [cut(Text(f"no stages: {fault or 'the service tells no metrics'}", "yellow"), width)]
    columns = [
        _column("stage", stages, lambda s: Text(s.name)),
        _column(">per s", stages, lambda s: _rate(s.per_s)),
        _column(">work ms", stages, lambda s: Text(_two(s.work)), least=9),
        _column(">wait ms", stages, lambda s: Text(_two(s.wait)), rank=2, least=9),
        _column("busy", stages, lambda s: _busy(s.busy, plain), least=_BAR + 12),
        _column("busiest", stages, lambda s: Text(_busiest(s)), rank=4),
        _column(">queue", stages, lambda s: Text(number(s.queue)), rank=1),
        _column(">credits", stages, lambda s: Text(number(s.credits)), rank=3),
    ]
    return grid(columns, width)


def groups_of(groups: Sequence[Group], width: int) -> list[Text]:
    """The title and a line for each group of processes."""
    if not groups:
        return []
    columns = [
        _column("process", groups, lambda g: Text(g.name)),
        _column("state", groups, lambda g: _state(g.state), least=10),
        _column(">restarts", groups, lambda g: Text("-") if g.restarts is None else _count(g.restarts), rank=2),
        _column(">free", groups, _ring, rank=3),
        _column(">CPU %", groups, lambda g: Text(_hundred(g.cpu))),
        _column(">MB", groups, lambda g: Text(number(g.memory_mb)), rank=1),
        _column("CPU % of each", groups, _each),
    ]
    return grid(columns, width)


def warnings_of(warnings: Sequence[Warned], width: int) -> list[Text]:
    """The title and a line for each, in local time."""
    if not warnings:
        return []
    lines = [Text("last warnings", "bold")]
    for warned in warnings:
        at = time.strftime("%H:%M:%S", time.localtime(warned.unix_s))
        times = f" ({warned.times} times)" if warned.times > 1 else ""
        lines.append(Text.assemble((at, "dim"), f" {warned.who}{times}: ", (" ".join(warned.text.split()), "yellow")))
    return [cut(line, width) for line in lines]


def number(value: float | None, decimals: int = 0) -> str:
    """With commas; a dash where there is none."""
    return "-" if value is None else f"{value:,.{decimals}f}"


def _column(title: str, items: Sequence[object], cell: Callable[..., Text], rank: int = 0, least: int = 0) -> Column:
    return Column(title.removeprefix(">"), rank, title.startswith(">"), least, [cell(item) for item in items])


def _state(state: str) -> Text:
    return Text(state.replace("_", " "), COLOURS.get(state, ""))


def _rate(value: float | None) -> Text:
    return Text(number(value, 1))


def _lost(value: float | None) -> Text:
    return Text(number(value, 1), "red" if value else "")


def _count(value: float) -> Text:
    return Text(number(value), "yellow" if value else "")


def _trend(values: Sequence[float | None], bars: int, colour: str, plain: bool) -> Text:
    return Text(sparkline(values[-bars:], plain=plain).rjust(bars), colour)


def _age(stream: Stream) -> Text:
    text = f"{_ms(stream.age_p50_s)}/{_ms(stream.age_p99_s)}"
    return Text(text, "red" if (stream.age_p99_s or 0.0) > _AGE_S else "")


def _dropped(stream: Stream) -> Text:
    if stream.rates is None:
        return Text("-")
    told = _reasons({why: rate for why, rate in stream.rates.dropped.items() if rate >= 0.05}, 1)
    return Text(told, "yellow") if told else Text("0.0")


def _reasons(counts: Mapping[str, float], decimals: int) -> str:
    return " ".join(f"{number(count, decimals)} {_REASONS.get(why, why)}" for why, count in counts.items() if count)


def _two(histogram: Histogram) -> str:
    return f"{_ms(histogram.quantile(0.5))}/{_ms(histogram.quantile(0.99))}"


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return ">10,000"
    return number(1e3 * seconds, 1 if seconds < 0.01 else 0)


def _busy(busy: float | None, plain: bool) -> Text:
    if busy is None:
        return Text("-")
    filled = round(_BAR * busy)
    full, empty = ("#", ".") if plain else ("━", "─")
    word, colour = (" full", "red") if busy >= _FULL else (" high", "yellow") if busy >= _BUSY else ("", "green")
    return Text.assemble((full * filled, colour), (empty * (_BAR - filled), "dim"), f" {_percent(busy)}{word}")


def _busiest(stage: Stage) -> str:
    return f"{stage.busiest[0]} {_percent(stage.busiest[1])}" if stage.busiest else ""


def _ring(group: Group) -> Text:
    if group.slots is None or group.slots_free is None:
        return Text("-")
    return Text(f"{group.slots_free}/{group.slots}", "" if group.slots_free else "yellow")


def _each(group: Group) -> Text:
    if len(group.workers) < 2:
        return Text("")
    order = {stage: place for place, stage in enumerate(STAGES)}
    workers = sorted(group.workers, key=lambda worker: order.get(worker[0], len(order)))
    return Text(" ".join(f"{name} {_hundred(cpu)}" for name, cpu in workers))


def _hundred(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"
