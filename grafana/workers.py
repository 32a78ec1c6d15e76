"""The dashboard `Workers`: the processes, what they cost and what they wait for."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from auflow import metrics as m
from auflow.grafana import expressions as e
from auflow.grafana.board import Section, board
from auflow.grafana.expressions import RATE, rate, series
from auflow.grafana.parts import STAGE_COLOURS, Look, Query, lines, number, timeline

__all__ = ["workers"]

_UP = {0.0: ("down", "red"), 1.0: ("up", "green")}


def workers() -> Dashboard:
    """The processes."""
    return board(
        "auflow-workers",
        "Workers",
        "The processes, what they cost and what they wait for.",
        [
            Section("", _at_a_glance()),
            Section("Who is there", [_scraped(), _groups(), _restarts(), _uptime()]),
            Section("What they cost", [_cpu(), _memory(), _descriptors()]),
            Section("What waits where", [_depth(), _credits(), _ring(), _refused()]),
            Section("The bus and the live page", [_bus(), _viewers()]),
        ],
    )


def _at_a_glance() -> list[Panel]:
    return [
        number(
            "Processes",
            "Processes that tell metrics.",
            Look("none", 6, 4, base="text"),
            Query(f"count({series(e.PROCESS_START)})"),
        ),
        number(
            "CPU",
            "CPU time that all processes use; 100 % is one core.",
            Look("percentunit", 6, 4, decimals=0, base="text"),
            Query(rate(e.PROCESS_CPU)),
        ),
        number(
            "Memory",
            "Resident memory of all processes. Pages that they share are counted once for each of them.",
            Look("bytes", 6, 4, decimals=1, base="text"),
            Query(f"sum({series(e.PROCESS_MEMORY)})"),
        ),
        number(
            "Ring slots in use",
            "Of the frame ring of the lane where it is most: frames that are with some stage.",
            Look("percentunit", 6, 4, decimals=0, steps=((0.9, "yellow"),)),
            Query(f"max({_ring_share()})"),
        ),
    ]


def _scraped() -> Panel:
    return timeline(
        "Targets",
        "Whether each target of Prometheus answers: one for all processes, or one for each, as it is configured.",
        Look("none", 12, 8, names=_UP),
        Query(f"min by (instance, worker) ({series(e.UP)})", "{{instance}} {{worker}}"),
    )


def _groups() -> Panel:
    return timeline(
        "Groups of workers",
        "Whether the workers of each group run: lanes, which live and die together, detectors, and the bus.",
        Look("none", 12, 8, names=_UP),
        Query(f"min by (instance, group) ({series(m.GROUP_UP)})", "{{group}}"),
    )


def _restarts() -> Panel:
    return lines(
        "Restarts, by group",
        "Groups of workers that were started again, within the interval of one bar.",
        Look("none", 12, 7, low=0, decimals=0),
        Query(f"sum by (group) (increase({series(m.RESTARTS)}[{RATE}]))", "{{group}}"),
        drawn_as_bars=True,
    )


def _uptime() -> Panel:
    return lines(
        "Age of the processes",
        "How long each process has been running; a tooth is a restart.",
        Look("s", 12, 7, low=0, decimals=0),
        Query(f"time() - max by (worker) ({series(e.PROCESS_START)})", "{{worker}}"),
    )


def _cpu() -> Panel:
    return lines(
        "CPU, by worker",
        "CPU time; 100 % is one core. A worker has one thread for its work, so it cannot use much more.",
        Look("percentunit", 8, 9, low=0),
        Query(rate(e.PROCESS_CPU, ("worker",)), "{{worker}}"),
    )


def _memory() -> Panel:
    return lines(
        "Memory, by worker",
        "Resident memory. Workers are forked from one process: what they share is counted for each of them.",
        Look("bytes", 8, 9, low=0),
        Query(f"sum by (worker) ({series(e.PROCESS_MEMORY)})", "{{worker}}"),
    )


def _descriptors() -> Panel:
    return lines(
        "Open files, by worker",
        "Open file descriptors. A line that only rises is a leak.",
        Look("none", 8, 9, low=0, decimals=0),
        Query(f"sum by (worker) ({series(e.PROCESS_FDS)})", "{{worker}}"),
    )


def _depth() -> Panel:
    return lines(
        "Queue depth, by worker",
        "Frames that wait for a stage or are in its work. Where it stands high, that stage is the narrow one.",
        Look("none", 12, 8, low=0, decimals=0, colours=STAGE_COLOURS),
        Query(f"sum by (stage, worker) ({series(m.QUEUE_DEPTH)})", "{{stage}} ({{worker}})"),
    )


def _credits() -> Panel:
    return lines(
        "Credits, by worker",
        "Frames that a stage may still hand to the next one. At 0 it waits for the next one.",
        Look("none", 12, 8, low=0, decimals=0, colours=STAGE_COLOURS),
        Query(f"sum by (stage, worker) ({series(m.CREDITS)})", "{{stage}} ({{worker}})"),
    )


def _ring_share() -> str:
    free, slots = (f"min by (instance, worker) ({series(metric)})" for metric in (m.RING_SLOTS_FREE, m.RING_SLOTS))
    return f"1 - {free} / {slots}"


def _ring() -> Panel:
    return lines(
        "Ring slots in use",
        "Share of a lane's frame ring that is with some stage. At 100 % decoding waits for a slot.",
        Look("percentunit", 12, 8, low=0, high=1, steps=((0.9, "yellow"),)),
        Query(_ring_share(), "{{worker}}"),
    )


def _refused() -> Panel:
    return lines(
        "Messages refused",
        "Messages between processes that were none, a second. Any at all means a bug, or a stranger at a socket.",
        Look("cps", 12, 8, low=0),
        Query(rate(m.MESSAGES_REFUSED, ("worker",)), "{{worker}}"),
    )


def _bus() -> Panel:
    return lines(
        "Results on the bus",
        "Messages a second that the sinks have published.",
        Look("cps", 12, 7, low=0, colours={"published": "blue"}),
        Query(rate(m.BUS_PUBLISHED), "published"),
    )


def _viewers() -> Panel:
    return lines(
        "The live page",
        "Browsers that watch the live page, and messages a second that one of them was too slow for.",
        Look("none", 12, 7, low=0, colours={"viewers": "blue", "dropped": "orange"}),
        Query(f"sum({series(m.WEB_VIEWERS)})", "viewers"),
        Query(rate(m.WEB_DROPPED, ("reason",)), "dropped, {{reason}}"),
    )
