"""`auflow ctl status` for people: the status of a service as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["COLOURS", "duration", "render"]

COLOURS = {  # of states
    "streaming": "green",
    "ready": "green",
    "running": "green",
    "finished": "green",
    "paused": "yellow",
    "connecting": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "backing_off": "yellow",
    "restarting": "yellow",
    "waiting": "yellow",
    "degraded": "red",
    "failed": "red",
    "stalled": "red",
}


_COUNTED = ("faces", "reconnects", "restarts", "corrupt", "lost")


def render(status: Mapping[str, Any]) -> RenderableType:
    """Tables of streams and of processes under one line about the whole; what is missing is shown as a dash."""
    from rich.console import Group
    from rich.text import Text

    state = str(status.get("state", "-"))
    head = Text.assemble(
        f"auflow {status.get('version', '-')}  ",
        (state, COLOURS.get(state, "")),
        f"  up {duration(status.get('uptime_s'))}",
    )
    parts: list[RenderableType] = [head]
    streams = _list(status, "streams")
    if streams:
        parts += [Text(), _streams(streams), Text(), *(_details(stream) for stream in streams)]
    else:
        parts.append(Text("no streams: `auflow ctl add NAME SOURCE` brings one"))
    groups = [*_list(status, "lanes"), *_list(status, "detectors")]
    if groups:
        parts += [Text(), _processes(groups), Text()]
    bus = status.get("bus") or {}
    if bus.get("address"):
        parts.append(
            Text(
                f"bus {bus['address']}: {_number(bus.get('published'))} messages published, "
                f"{bus.get('state', 'running')}"
            )
        )
    web = status.get("web") or {}
    if web.get("address"):
        parts.append(Text(f"live page http://{web['address']}/: {web.get('state', 'running')}"))
    if status.get("dropped_messages"):
        parts.append(Text(f"{_number(status['dropped_messages'])} messages were malformed and dropped", style="red"))
    return Group(*parts)


def duration(seconds: object) -> str:
    """Seconds in the two largest units: 45 s, 3 min 20 s, 2 h 5 min, 4 d 7 h."""
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return "-"
    whole = max(0, int(seconds))
    for unit, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {small}"
    return f"{whole} s"


def _streams(streams: Sequence[Mapping[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("stream", "state", "for", ">fps", ">in", ">done", ">dropped", ">failed", ">age ms", "lane")
    for stream in streams:
        frames = stream.get("frames") or {}
        table.add_row(
            escape(str(stream.get("name", "-"))),
            _state(stream),
            duration(stream.get("since_s")),
            _number(stream.get("fps"), 1),
            *(_number(frames.get(name)) for name in ("in", "done")),
            _number(sum(_dropped(frames).values())),
            _number(frames.get("failed")),
            f"{_number(stream.get('age_p50_ms'))}/{_number(stream.get('age_p99_ms'))}",
            escape(str(stream.get("lane") or "-")),
        )
    return table


def _details(stream: Mapping[str, Any]) -> Text:
    """What does not fit into the table: where it comes from, what was lost, why it is as it is."""
    from rich.text import Text

    facts = [str(stream.get("source", "-"))]
    if stream.get("width_px") and stream.get("height_px"):
        facts.append(f"{stream['width_px']}x{stream['height_px']}")
    facts += [f"{name} {_number(stream[name])}" for name in _COUNTED if stream.get(name)]
    if (stream.get("frames") or {}).get("under_way"):
        facts.append(f"under way {_number(stream['frames']['under_way'])}")
    facts += [f"dropped {why} {_number(count)}" for why, count in _dropped(stream.get("frames") or {}).items()]
    text = Text(f"{stream.get('name', '-')}: {', '.join(facts)}", overflow="fold")
    if stream.get("reason"):
        text.append(f"\n  {stream.get('state', '-')}: {stream['reason']}", style="yellow")
    return text


def _dropped(frames: Mapping[str, Any]) -> dict[str, int]:
    return {why: count for why, count in (frames.get("dropped") or {}).items() if count}


def _processes(groups: Sequence[Mapping[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("processes", "state", ">restarts", "worker", ">pid", ">CPU s", ">memory MB")
    for group in groups:
        own = (escape(str(group.get("name", "-"))), _state(group), _number(group.get("restarts")))
        for worker in _list(group, "workers") or [{}]:
            figures = (_number(worker.get("cpu_s"), 1), _number(worker.get("pss_mb")))
            pid = str(worker.get("pid") or "-")
            table.add_row(*own, escape(str(worker.get("name", "-"))), pid, *figures)
            own = ("", "", "")
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def _state(item: Mapping[str, Any]) -> str:
    from rich.markup import escape

    state = str(item.get("state") or "-")
    colour = COLOURS.get(state)
    return f"[{colour}]{escape(state)}[/]" if colour else escape(state)


def _number(value: object, decimals: int = 0) -> str:
    return f"{value:,.{decimals}f}" if isinstance(value, (int, float)) else "-"


def _list(item: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return list(item.get(name) or ())
