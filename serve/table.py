"""`auflow ctl status` for people: the status of a service as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["duration", "render"]

_COLOURS = {
    "streaming": "green",
    "ready": "green",
    "running": "green",
    "finished": "green",
    "paused": "yellow",
    "connecting": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "degraded": "red",
    "failed": "red",
    "stalled": "red",
}


def render(status: Mapping[str, Any]) -> RenderableType:
    """Tables of streams and of processes under one line about the whole; what is missing is shown as a dash."""
    from rich.console import Group
    from rich.text import Text

    state = str(status.get("state", "-"))
    head = Text.assemble(
        f"auflow {status.get('version', '-')}  ",
        (state, _COLOURS.get(state, "")),
        f"  up {duration(status.get('uptime_s'))}",
    )
    parts: list[RenderableType] = [head]
    streams = _list(status, "streams")
    parts.append(_streams(streams) if streams else Text("no streams: `auflow ctl add NAME SOURCE` brings one"))
    groups = [*_list(status, "lanes"), *_list(status, "detectors")]
    if groups:
        parts.append(_processes(groups))
    bus = status.get("bus") or {}
    if bus.get("address"):
        parts.append(Text(f"bus {bus['address']}: {_number(bus.get('published'))} messages published"))
    if status.get("dropped_messages"):
        parts.append(Text(f"{_number(status['dropped_messages'])} messages were malformed and dropped", style="red"))
    return Group(*parts)


def duration(seconds: object) -> str:
    """Seconds in the two largest units: 45 s, 3 min 20 s, 2 h 5 min, 4 d 7 h."""
    if not isinstance(seconds, (int, float)):
        return "-"
    whole = max(0, int(seconds))
    for unit, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {small}"
    return f"{whole} s"


def _streams(streams: Sequence[Mapping[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("stream", "source", "state", "for", "size", ">fps", ">in", ">done", ">dropped", ">failed",
                   ">p50 ms", ">p99 ms", ">faces", ">reconnects", "lane")  # fmt: skip
    for stream in streams:
        frames = stream.get("frames") or {}
        dropped = {why: count for why, count in (frames.get("dropped") or {}).items() if count}
        table.add_row(
            escape(str(stream.get("name", "-"))),
            escape(str(stream.get("source", "-"))),
            _state(stream),
            duration(stream.get("since_s")),
            _size(stream),
            _number(stream.get("fps"), 1),
            *(_number(frames.get(name)) for name in ("in", "done")),
            _number(sum(dropped.values())) + "".join(f"\n{why} {count}" for why, count in dropped.items()),
            _number(frames.get("failed")),
            *(_number(stream.get(name)) for name in ("age_p50_ms", "age_p99_ms", "faces", "reconnects")),
            str(stream.get("lane") or "-"),
        )
    return table


def _processes(groups: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("processes", "state", ">restarts", "worker", ">pid", ">CPU s", ">memory MB")
    for group in groups:
        own = (str(group.get("name", "-")), _state(group), _number(group.get("restarts")))
        for worker in _list(group, "workers") or [{}]:
            figures = (_number(worker.get("cpu_s"), 1), _number(worker.get("pss_mb")))
            pid = str(worker.get("pid") or "-")
            table.add_row(*own, str(worker.get("name", "-")), pid, *figures)
            own = ("", "", "")
    return table


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def _state(item: Mapping[str, Any]) -> str:
    from rich.markup import escape

    state, reason = str(item.get("state") or "-"), item.get("reason")
    colour = _COLOURS.get(state)
    shown = f"[{colour}]{escape(state)}[/]" if colour else escape(state)
    return f"{shown}\n{escape(str(reason))}" if reason else shown


def _size(stream: Mapping[str, Any]) -> str:
    width, height = stream.get("width_px"), stream.get("height_px")
    return f"{width}x{height}" if width and height else "-"


def _number(value: object, decimals: int = 0) -> str:
    return f"{value:,.{decimals}f}" if isinstance(value, (int, float)) else "-"


def _list(item: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return list(item.get(name) or ())
