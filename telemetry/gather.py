"""The metrics of all processes of a service under one address: each sample gets a label with its worker's name."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

__all__ = ["fetch", "fetch_all", "merged"]

_AT_ONCE = 8
_TIMEOUT_S = 2.0  # a worker in the middle of a long computation answers after it
_MAX_BYTES = 8 << 20


def fetch(port: int, timeout_s: float = _TIMEOUT_S) -> str | None:
    """What the worker at that port of this machine tells; None where it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.read(_MAX_BYTES).decode() if answer.status == 200 else None
    except (OSError, http.client.HTTPException, UnicodeDecodeError):
        return None  # it is being started anew, or hangs: its metrics are missing, and `auflow_group_up` tells
    finally:
        connection.close()


def fetch_all(ports: Mapping[str, int]) -> dict[str, str]:
    """What all workers that answer tell, by their names."""
    if not ports:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(ports)), thread_name_prefix="gather") as pool:
        told = zip(ports, pool.map(fetch, ports.values()), strict=True)
        return {worker: text for worker, text in told if text is not None}


def merged(texts: Mapping[str, str]) -> bytes:
    """One text in Prometheus' format out of several, by worker. Samples of a metric stand together, as it asks for."""
    heads: dict[str, list[str]] = {}  # by metric: its HELP and TYPE
    samples: dict[str, list[str]] = {}
    for worker, text in texts.items():
        metric = ""
        for line in text.splitlines():
            if line.startswith("# "):
                _, what, metric, *_ = line.split(" ", 3)
                head = heads.setdefault(metric, [])
                samples.setdefault(metric, [])
                if not any(known.startswith(f"# {what} ") for known in head):
                    head.append(line)
            elif line:
                samples.setdefault(metric, []).append(_with_worker(line, worker))
    lines = [line for metric in samples for line in (*heads.get(metric, ()), *samples[metric])]
    return _joined(lines)


def _with_worker(sample: str, worker: str) -> str:
    # A metric's name has neither a brace nor a space in it.
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
