"""One look at a service: its status from the control socket, its metrics over HTTP."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auflow import metrics
from auflow.errors import AuflowError
from auflow.serve.checks import host_and_port
from auflow.serve.client import ask, find_socket
from auflow.serve.keys import Unfit
from auflow.serve.top.figures import Samples, parse

__all__ = ["Look", "look"]

_STATUS_S = 10.0
_METRICS_S = 5.0  # the service itself gives up a worker that is silent for 2 s
_MAX_BYTES = 64 << 20
CPU, MEMORY = "process_cpu_seconds_total", "process_resident_memory_bytes"  # of processes that the status has not
_WANTED = (
    *(
        metric.name
        for metric in (
            metrics.STAGE_DURATION, metrics.QUEUE_WAIT, metrics.FRAME_AGE, metrics.QUEUE_DEPTH, metrics.CREDITS,
            metrics.RING_SLOTS, metrics.FACES_TRACKED, metrics.FACE_CONFIDENCE,
        )
    ),
    CPU,
    MEMORY,
    "process_start_time_seconds",
)  # fmt: skip
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # listened on everywhere, so also here


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen."""

    at_s: float  # monotonic
    unix_s: float
    status: Mapping[str, Any] | None = None  # docs/serve.md; None: no service answers
    fault: str = ""  # why there is no status
    metrics: Mapping[str, Samples] = field(default_factory=dict)  # by worker
    metrics_fault: str = ""  # why there are none


def look(socket: Path | None) -> Look:
    """Ask the service at `socket`, or where services put it; what is wrong is in the answer."""
    try:
        answer = ask(find_socket(socket), {"op": "status"}, _STATUS_S)
        status = answer.get("status")
        if not isinstance(status, Mapping):
            return Look(time.monotonic(), time.time(), fault=str(answer.get("error", "the answer has no status")))
    except AuflowError as error:
        return Look(time.monotonic(), time.time(), fault=str(error))
    at_s, unix_s = time.monotonic(), time.time()
    told, fault = _metrics((status.get("http") or {}).get("address", ""))
    return Look(at_s, unix_s, status, "", told, fault)


def _metrics(address: object) -> tuple[dict[str, Samples], str]:
    """By worker; and why there are none."""
    if not address:
        return {}, 'the service tells no metrics: [http] address is ""'
    try:
        host, port = host_and_port(address)
    except Unfit:
        return {}, "the service tells an address of its metrics that is none"
    connection = http.client.HTTPConnection(_ANYWHERE.get(host, host), port, timeout=_METRICS_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read(_MAX_BYTES)
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return {}, "the service tells no metrics: [telemetry] metrics is false"
        if answer.status != http.HTTPStatus.OK:
            return {}, f"metrics: http://{address}/metrics answers {answer.status}"
        return parse(body.decode(), _WANTED), ""
    except TimeoutError:
        return {}, f"metrics: http://{address}/metrics does not answer within {_METRICS_S:g} s"
    except OSError as error:
        return {}, f"metrics: http://{address}/metrics cannot be reached: {error.strerror or error}"
    except (http.client.HTTPException, ValueError) as error:
        return {}, f"metrics: http://{address}/metrics has none that can be read: {type(error).__name__}"
    finally:
        connection.close()
