"""A file in TOML becomes a `ServeConfig`, or an error that tells everything that is wrong with it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from auflow.errors import UsageError
from auflow.serve.checks import host_and_port
from auflow.serve.config import (
    BusConfig,
    ControlConfig,
    HttpConfig,
    LimitsConfig,
    ServeConfig,
    ServiceConfig,
    StreamConfig,
    TelemetryConfig,
    WebConfig,
    WorkersConfig,
)
from auflow.serve.keys import Faults, Unfit, read_section, shown
from auflow.serve.places import MAX_SOCKET_PATH, default_socket, default_state_dir
from auflow.serve.stream_config import check_outputs, read_stream
from auflow.transport.address import check_address, read_address

__all__ = ["DEFAULT_PAGE", "SECTIONS", "load_config", "parse_config", "with_page"]

DEFAULT_PAGE = "127.0.0.1:8716"

SECTIONS: dict[str, type] = {
    "workers": WorkersConfig,
    "control": ControlConfig,
    "http": HttpConfig,
    "web": WebConfig,
    "bus": BusConfig,
    "telemetry": TelemetryConfig,
    "limits": LimitsConfig,
}
_STREAM = "stream"
_LARGEST = 1 << 20  # bytes of a file; thousands of streams take less
_LANES_PER_DETECTOR = 4
_SHORTEST_TOKEN = 16


def load_config(
    path: Path, environ: Mapping[str, str] | None = None, web: str | None = None, jobs: int | None = None
) -> ServeConfig:
    """Read and check a configuration file.

    Parameters
    ----------
    path : of the file
    environ : default this process's environment
    web : address of the live page that stands in for the file's; "": the file's, or the default where it has none
    jobs : lanes that `auflow tune` found best, for a file that says nothing of them

    Raises
    ------
    UsageError
        It cannot be read, is no TOML, or has mistakes: all of them.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: the configuration cannot be read: {reason}") from error
    if len(content) > _LARGEST:
        raise UsageError(f"{path}: expected a configuration of up to {_LARGEST} bytes; is this the right file?")
    try:
        document = tomllib.loads(content.decode())
    except RecursionError:
        raise UsageError(f"{path}: lists or tables are nested too deeply for a configuration") from None
    except ValueError as error:  # of the syntax, of UTF-8, or of a number that Python will not read
        raise UsageError(f"{path}: expected TOML: {error}") from error
    return parse_config(
        document if web is None else with_page(document, web), path.absolute().parent, str(path), environ, jobs
    )


def with_page(document: Mapping[str, object], address: str = "") -> dict[str, object]:
    """A configuration with the live page on, at this address; "": at its own, or the default."""
    given = document.get("web", {})
    if not isinstance(given, Mapping):
        return dict(document)  # a mistake that is told when it is read
    return {**document, "web": {**given, "address": address or given.get("address") or DEFAULT_PAGE}}


def parse_config(
    document: Mapping[str, object],
    base: Path,
    title: str,
    environ: Mapping[str, str] | None = None,
    jobs: int | None = None,
) -> ServeConfig:
    """Check a configuration and fill in what it leaves out.

    Parameters
    ----------
    document : the parsed TOML
    base : absolute folder that relative paths count from
    title : what the message of an error begins with
    environ : default this process's environment
    jobs : as in `load_config`

    Raises
    ------
    UsageError
        It has mistakes: all of them.
    """
    environ = os.environ if environ is None else environ
    faults = Faults()
    names = (*SECTIONS, _STREAM)
    own = {key: value for key, value in document.items() if key not in names}
    service = read_section(ServiceConfig, own, "", faults, beside=names)
    given = {name: read_section(kind, document.get(name, {}), name, faults) for name, kind in SECTIONS.items()}
    streams = _streams(document.get(_STREAM, {}), base, environ, faults)
    http = _http(HttpConfig(**given["http"]), faults)
    web = _web(WebConfig(**given["web"]), environ, faults)
    bus = _bus(BusConfig(**given["bus"]), base, faults)
    socket = _socket(given["control"].get("socket", ""), base, environ, faults)
    workers = _workers(given["workers"], streams, base, faults, jobs)
    state_dir = _folder(service.get("state_dir"), "state_dir", base, faults) or default_state_dir(environ)
    models_root = _folder(service.get("models_dir"), "models_dir", base, faults) or _models_root()
    telemetry = _telemetry(TelemetryConfig(**given["telemetry"]), state_dir.absolute(), base, faults)
    faults.raise_any(title)
    return ServeConfig(
        state_dir=state_dir.absolute(),
        models_root=models_root.absolute(),
        workers=workers,
        control_socket=socket,
        http=http,
        web=web,
        bus=bus,
        telemetry=telemetry,
        limits=LimitsConfig(**given["limits"]),
        streams=streams,
    )


def _models_root() -> Path:
    from auflow.models.store import default_root

    return default_root()


def _streams(table: object, base: Path, environ: Mapping[str, str], faults: Faults) -> tuple[StreamConfig, ...]:
    if not isinstance(table, Mapping):
        faults.add(_STREAM, f"expected a table for each stream, [stream.NAME] and not [[stream]], got {shown(table)}")
        return ()
    read = [read_stream(name, keys, base, environ, faults) for name, keys in table.items()]
    streams = tuple(stream for stream in read if stream is not None)
    check_outputs(streams, faults)
    return streams


def _http(http: HttpConfig, faults: Faults) -> HttpConfig:
    if not http.address:
        return http
    try:
        host_and_port(http.address)
        remote = not read_address(f"tcp://{http.address}").loopback
    except (Unfit, UsageError):
        faults.add("http.address", f"expected HOST:PORT, for example 127.0.0.1:8717, got {shown(http.address)}")
        return http
    if remote and not http.allow_remote:
        faults.add(
            "http.address",
            f"expected an address of this machine only (127.0.0.1 or [::1], no names), got {shown(http.address)}: "
            "anybody who reaches it can read the state; allow_remote = true permits that",
        )
    return http


def _telemetry(telemetry: TelemetryConfig, state_dir: Path, base: Path, faults: Faults) -> TelemetryConfig:
    targets = _folder(telemetry.targets, "telemetry.targets", base, faults) or state_dir / "prometheus" / "targets.json"
    endpoint = telemetry.trace_endpoint
    if endpoint and not endpoint.startswith(("http://", "https://")):
        faults.add("telemetry.trace_endpoint", f"expected http://HOST:PORT or https://HOST:PORT, got {shown(endpoint)}")
    return replace(telemetry, targets=str(targets))


def _web(web: WebConfig, environ: Mapping[str, str], faults: Faults) -> WebConfig:
    if not web.address:
        return web
    try:
        _, port = host_and_port(web.address)
        remote = not read_address(f"tcp://{web.address}").loopback
    except (Unfit, UsageError):
        port, remote = 0, False
    if not port:
        faults.add("web.address", f"expected HOST:PORT, for example {DEFAULT_PAGE}, got {shown(web.address)}")
    elif remote and not web.allow_remote:
        faults.add(
            "web.address",
            f"expected an address of this machine only (127.0.0.1 or [::1], no names), got {shown(web.address)}: "
            "allow_remote = true permits that, with a token",
        )
    if web.token_env and len(environ.get(web.token_env, "")) < _SHORTEST_TOKEN:
        faults.add(
            "web.token_env",
            f"expected the name of an environment variable with a token of {_SHORTEST_TOKEN} characters or more in it",
        )
    return web


def _bus(bus: BusConfig, base: Path, faults: Faults) -> BusConfig:
    keys_dir = _folder(bus.keys_dir, "bus.keys_dir", base, faults)
    bus = replace(bus, keys_dir=str(keys_dir or ""))
    if not bus.address:
        return bus
    scheme, _, rest = bus.address.partition("://")
    if scheme == "ipc" and rest and not rest.startswith("@"):  # @: a name in no folder, which everybody may open
        path = _folder(rest, "bus.address", base, faults) or base
        _check_length(path, "bus.address", faults)
        return replace(bus, address=f"ipc://{path}")
    try:
        loopback = scheme == "tcp" and read_address(bus.address).loopback
    except UsageError:
        scheme = ""
    if scheme != "tcp":
        faults.add("bus.address", f"expected tcp://HOST:PORT or ipc://PATH, got {shown(bus.address)}")
    elif not loopback and not keys_dir:
        faults.add(
            "bus.address",
            f"expected an address of this machine only (127.0.0.1 or [::1], no names), or keys_dir with keys from "
            f"`auflow keys new`, got {shown(bus.address)}: without keys anybody could read the results",
        )
    return bus


def _socket(written: str, base: Path, environ: Mapping[str, str], faults: Faults) -> Path:
    path = _folder(written, "control.socket", base, faults) or default_socket(environ)
    _check_length(path, "control.socket", faults)
    return path


def _check_length(path: Path, where: str, faults: Faults) -> None:
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH:
        faults.add(where, f"expected a socket path of up to {MAX_SOCKET_PATH} bytes, got {size}: {shown(str(path))}")


def _folder(written: str | None, where: str, base: Path, faults: Faults) -> Path | None:
    if not written:
        return None
    try:
        return base / Path(written).expanduser()
    except RuntimeError:  # ~NAME of a user that is not there
        faults.add(where, f"expected a path below a home folder that is there, got {shown(written)}")
        return None


def _workers(
    given: dict[str, Any], streams: tuple[StreamConfig, ...], base: Path, faults: Faults, jobs: int | None
) -> WorkersConfig:
    live = sum(stream.policy == "live" for stream in streams)
    files = len(streams) - live
    resolved = _lanes(live, files, jobs, given) | given
    lanes = resolved["live_lanes"] + resolved["file_lanes"]
    used = (resolved["live_lanes"] if live else 0) + (resolved["file_lanes"] if files else 0)
    resolved.setdefault("detectors", max(1, -(-used // _LANES_PER_DETECTOR)))
    keys_dir = _folder(given.get("keys_dir"), "workers.keys_dir", base, faults)
    at = [_detector_at(address, base, keys_dir, faults) for address in resolved.get("detectors_at", ())]
    own = {"keys_dir": str(keys_dir or ""), "detectors_at": tuple(dict.fromkeys(at))}
    workers = WorkersConfig(**resolved | own)
    if live > workers.live_lanes * workers.streams_per_lane:
        faults.add(
            "workers.live_lanes",
            f"expected room for {live} live streams, got {workers.live_lanes} lanes of {workers.streams_per_lane} "
            "streams (streams_per_lane)",
        )
    if files and not workers.file_lanes:
        faults.add("workers.file_lanes", f"expected at least 1 for {files} file streams, got 0")
    if not lanes and not streams:
        faults.add("workers", "expected at least one lane, got live_lanes = 0 and file_lanes = 0")
    return workers


def _lanes(live: int, files: int, jobs: int | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """How many there are of each kind where nobody says it.

    One of each at least, for what `auflow ctl add` brings: it is started when the first stream comes.
    """
    if jobs is None:
        return {"live_lanes": min(max(1, available_cpus() // 2), max(live, 1)), "file_lanes": 1}
    room = -(-live // given.get("streams_per_lane", WorkersConfig().streams_per_lane))  # fewer would refuse streams
    live_lanes = max(min(jobs, max(live, 1)), room)
    left = jobs - live_lanes if live else jobs
    return {"live_lanes": live_lanes, "file_lanes": min(max(left, 1), max(files, 1))}


def _detector_at(address: str, base: Path, keys_dir: Path | None, faults: Faults) -> str:
    scheme, _, rest = address.partition("://")
    if scheme == "ipc" and rest and not rest.startswith("@"):
        path = _folder(rest, "workers.detectors_at", base, faults) or base
        _check_length(path, "workers.detectors_at", faults)
        return f"ipc://{path}"
    try:
        check_address(address, keys_dir)
    except UsageError as error:
        faults.add("workers.detectors_at", str(error))
    else:
        if address.endswith((":*", ":0")):
            faults.add("workers.detectors_at", f"expected the port that `auflow detect` tells, got {shown(address)}")
    return address


def available_cpus() -> int:
    """CPUs that this process may use; a container or batch job may have been given fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
