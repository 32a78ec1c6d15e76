"""A service that is looked at: its status and the metrics of its workers after so many frames."""

from __future__ import annotations

import math
from typing import Any

from auflow.metrics import FRAME_AGE, QUEUE_WAIT, SECONDS, STAGE_DURATION
from auflow.serve.top.looks import Look

__all__ = ["histogram", "look_at", "metrics_text", "status_at", "stream_at"]


def histogram(name: str, labels: str, values: list[float]) -> str:
    """One in Prometheus' text format, with these observations."""
    edges = [*SECONDS, math.inf]
    lines = [
        f'{name}_bucket{{{labels},le="{"+Inf" if math.isinf(edge) else edge}"}} {sum(v <= edge for v in values)}'
        for edge in edges
    ]
    return "\n".join([f"# TYPE {name} histogram", *lines, f"{name}_count{{{labels}}} {len(values)}",
                      f"{name}_sum{{{labels}}} {sum(values)}", ""])  # fmt: skip


def metrics_text(frames: int) -> str:
    """Of a lane that has worked on so many frames: 20 ms of clnf for each, after 3 ms of waiting, 40 ms old."""
    worker = 'worker="clnf-0"'
    return "".join([
        histogram(STAGE_DURATION.name, f'{worker},stage="clnf"', [0.02] * frames),
        histogram(QUEUE_WAIT.name, f'{worker},stage="clnf"', [0.003] * frames),
        histogram(FRAME_AGE.name, 'worker="sink-0",stream="door"', [0.04] * frames),
        "# TYPE auflow_queue_depth gauge\n", f'auflow_queue_depth{{{worker},stage="clnf"}} 3\n',
        "# TYPE auflow_credits gauge\n", f'auflow_credits{{{worker},stage="clnf"}} 1\n',
        "# TYPE auflow_ring_slots gauge\n", 'auflow_ring_slots{worker="decode-0"} 10\n',
        "# TYPE auflow_ring_slots_free gauge\n", 'auflow_ring_slots_free{worker="decode-0"} 4\n',
        "# TYPE auflow_faces_tracked gauge\n", 'auflow_faces_tracked{worker="sink-0",stream="door"} 2\n',
        "# TYPE auflow_face_confidence summary\n",
        f'auflow_face_confidence_count{{worker="sink-0",stream="door"}} {2 * frames}\n',
        f'auflow_face_confidence_sum{{worker="sink-0",stream="door"}} {1.5 * frames}\n',
        "# TYPE process_cpu_seconds_total counter\n", f'process_cpu_seconds_total{{worker="bus-0"}} {frames / 1000}\n',
        f'process_cpu_seconds_total{{worker="orchestrator"}} {frames / 500}\n',
        "# TYPE process_resident_memory_bytes gauge\n", 'process_resident_memory_bytes{worker="bus-0"} 73400320\n',
        'process_resident_memory_bytes{worker="orchestrator"} 52428800\n',
    ])  # fmt: skip


def stream_at(name: str, frames: int, **others: Any) -> dict[str, Any]:
    """One in twelve of its pictures was dropped."""
    dropped = {"superseded": frames // 12, "too_old": 0, "paused": 0}
    counts = {"in": frames + frames // 12, "done": frames, "failed": 0, "dropped": dropped, "under_way": 0}
    known = {
        "name": name, "source": "rtsp://192.0.2.1/1", "state": "streaming", "reason": "", "since_s": 61.0,
        "frames": counts, "reconnects": 0, "age_p50_ms": 81.0, "age_p99_ms": 140.0, "faces": 1, "last_warning": None,
    }  # fmt: skip
    return known | others


def status_at(frames: int, uptime_s: float, *streams: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A status whose CPU time grows by 30 ms a frame."""
    shares = {"decode": 0.005, "clnf": 0.02, "au": 0.004, "sink": 0.001}
    workers = [
        {"name": f"{role}-0", "pid": 100 + place, "cpu_s": share * frames, "pss_mb": 50.0}
        for place, (role, share) in enumerate(shares.items())
    ]
    known = {
        "version": "1.2", "state": "ready", "uptime_s": uptime_s,
        "streams": list(streams) or [stream_at("door", frames)],
        "lanes": [{"name": "lane-0", "state": "running", "restarts": 0, "workers": workers}],
        "detectors": [{"name": "detect-0", "state": "running", "restarts": 1, "workers": []}],
        "bus": {"address": "tcp://127.0.0.1:8718", "published": 0, "state": "running", "restarts": 0},
        "http": {"address": "127.0.0.1:8717"}, "dropped_messages": 0,
    }  # fmt: skip
    return known | others


def look_at(at_s: float, frames: int, *streams: dict[str, Any], text: str | None = None, **others: Any) -> Look:
    """At a moment of the service's life."""
    from auflow.serve.top.figures import parse
    from auflow.serve.top.looks import _WANTED

    told = parse(metrics_text(frames) if text is None else text, _WANTED)
    return Look(1000.0 + at_s, 1.75e9 + at_s, status_at(frames, at_s, *streams, **others), "", told)
