"""The status of a service as plain data: for `auflow ctl status`, `/status` and health (fields: docs/serve.md)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import auflow
from auflow.flow.crew import Crew
from auflow.flow.groups import Phase
from auflow.flow.topology import Worker
from auflow.serve.config import ServeConfig
from auflow.serve.fleet import Fleet
from auflow.serve.streams import Stream
from auflow.transport.ring import Tally

__all__ = ["status_of"]

_PHASES = {
    Phase.STARTING: "starting",
    Phase.UP: "running",
    Phase.FALLING: "restarting",
    Phase.WAITING: "waiting",
    Phase.LOST: "failed",
}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def status_of(
    fleet: Fleet,
    crew: Crew,
    config: ServeConfig,
    uptime_s: float,
    was_ready: bool,
    *,
    http_address: str = "",
    memory: bool = True,
) -> dict[str, Any]:
    """The whole status.

    Parameters
    ----------
    uptime_s : of the service
    was_ready : it was ready once: whatever is not up now has fallen
    http_address : HOST:PORT of health and metrics, "" for none
    memory : look up the memory of each process, which takes the system a millisecond or more
    """
    groups = {name: workers for name, workers in fleet.topology.groups().items() if name in fleet.groups}
    told = {name: _group(fleet, crew, name, workers, memory) for name, workers in groups.items()}
    tallies = {name: s.tally or crew.tally(s.lane, s.seat) for name, s in fleet.streams.items() if s.live}
    now = time.monotonic()
    return {
        "version": auflow.__version__,
        "state": _state(fleet, was_ready),
        "uptime_s": round(uptime_s, 1),
        "streams": [_stream(stream, tallies.get(name), now) for name, stream in fleet.streams.items()],
        "lanes": [group for name, group in told.items() if name.startswith("lane")],
        "detectors": [group for name, group in told.items() if name.startswith("detect")],
        "bus": {
            "address": config.bus.address,
            "published": fleet.published_before + sum(tally.published for tally in tallies.values()),
            **({name: told["bus-0"][name] for name in ("state", "restarts")} if "bus-0" in told else {}),
        },
        "http": {"address": http_address},
        "web": {
            "address": config.web.address,
            **({name: told["web-0"][name] for name in ("state", "restarts")} if "web-0" in told else {}),
        },
        "dropped_messages": crew.refused,
    }


def _state(fleet: Fleet, was_ready: bool) -> str:
    if fleet.draining:
        return "draining"
    if fleet.is_whole(but_for_new=was_ready):
        return "ready"
    return "degraded" if was_ready else "starting"


def _stream(stream: Stream, tally: Tally | None, now_s: float) -> dict[str, Any]:
    latency = stream.statistics.latency
    percentiles = {f"age_p{percent}_ms": _ms(latency.percentile_s(percent)) for percent in (50, 99)}
    age_s = round(max(0.0, time.time() - stream.captured_s), 3) if stream.captured_s else None
    return {
        "name": stream.name,
        "source": stream.job.source,  # without any password
        "policy": "live" if stream.live else "file",
        "state": stream.state,
        "reason": stream.reason,
        "since_s": round(now_s - stream.since_s, 1),
        "width_px": stream.width_px or None,
        "height_px": stream.height_px or None,
        "fps": round(stream.fps, 1) if stream.fps else None,
        "frames": _frames(stream, tally),
        "reconnects": tally.reconnects if tally else 0,
        "restarts": stream.restarts,
        "corrupt": tally.corrupt if tally else stream.corrupt,
        "lost": tally.lost if tally else 0,
        "clock": stream.clock or None,
        **percentiles,
        "faces": stream.faces,
        "last_frame_age_s": age_s,
        "lane": f"lane-{stream.lane}",
        "outputs": list(stream.outputs),
        "last_warning": stream.last_warning or None,
    }


def _frames(stream: Stream, tally: Tally | None) -> dict[str, Any]:
    """What came in, and what became of it: in == done + failed + dropped + those under way."""
    if tally is None:
        none = {"superseded": 0, "too_old": 0, "paused": 0}
        done = stream.frames - stream.failed
        return {"in": stream.frames, "done": done, "failed": stream.failed, "dropped": none, "under_way": 0}
    dropped = {"superseded": tally.superseded, "too_old": tally.too_old, "paused": tally.paused}
    return {
        "in": tally.decoded,
        "done": tally.done,
        "failed": tally.failed,
        "dropped": dropped,
        "under_way": tally.under_way,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1e3 * seconds, 1)


def _group(fleet: Fleet, crew: Crew, name: str, workers: tuple[Worker, ...], memory: bool) -> dict[str, Any]:
    return {
        "name": name,
        "state": _PHASES[fleet.groups.phase(name)],
        "restarts": fleet.groups.restarts(name),
        "workers": [_worker(worker.name, crew.pids.get(worker.name), memory) for worker in workers],
    }


def _worker(name: str, pid: int | None, memory: bool) -> dict[str, Any]:
    """What the system says of a process; None where it says nothing."""
    cpu_s = memory_mb = None
    if pid is not None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
            memory_mb = _pss_mb(pid) if memory else None
        except (OSError, IndexError, StopIteration):
            pass  # it has just ended, or this is no Linux
    return {
        "name": name,
        "pid": pid,
        "cpu_s": None if cpu_s is None else round(cpu_s, 2),
        "pss_mb": None if memory_mb is None else round(memory_mb, 1),
    }


def _pss_mb(pid: int) -> float:
    """Its share of the memory: what it has in common with others is divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
