"""The running service: the fleet of lanes, and the doors through which it is asked, watched and stopped."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auflow.backends.choice import read_asked
from auflow.backends.int8 import require_int8
from auflow.backends.ort_files import require_ort_files
from auflow.errors import AuflowError, UsageError
from auflow.flow import events as e
from auflow.flow.crew import Crew, Plan
from auflow.flow.groups import Limits
from auflow.flow.job import LiveJob, StreamJob
from auflow.flow.nursery import Nursery
from auflow.flow.topology import BusAddress, Role, Worker
from auflow.kernel_cache import COMPILING, kernels_are_ready, place_kernel_cache
from auflow.models import store
from auflow.profiles.applying import Applied, resolve
from auflow.profiles.store import load_profile
from auflow.report import StreamSummary
from auflow.serve.checks import host_and_port
from auflow.serve.config import ServeConfig, StreamConfig
from auflow.serve.control import ControlServer, dispatch
from auflow.serve.fleet import Fleet
from auflow.serve.health import HealthServer
from auflow.serve.keys import Faults
from auflow.serve.notify import Notifier
from auflow.serve.page import page_address, page_url
from auflow.serve.status import status_of
from auflow.serve.stream_config import check_outputs
from auflow.serve.watch import Watch
from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink.finished import is_finished
from auflow.threads import pin_threads
from auflow.transport import messages as m

__all__ = ["Service", "refuse_taken", "run"]

HEALTH_S = 1.0  # how often health and the service manager hear of the status
_log = logging.getLogger("auflow.serve")


class LogReporter:
    """What happens goes to the log."""

    def stream_started(self, info: SourceInfo) -> None:
        """Told by the stream's state."""

    def advanced(self, path: str, frames: int) -> None:
        """Told by the status."""

    def stream_finished(self, summary: StreamSummary) -> None:
        """Told by the stream's state."""

    def note(self, text: str) -> None:
        """Something that explains a wait."""
        _log.info(text)

    def warning(self, text: str) -> None:
        """Something that happened."""
        _log.warning(text)

    def close(self) -> None:
        """Nothing to close."""


class Service:
    """A service from its start to its end; usable as a context manager."""

    def __init__(self, config: ServeConfig, *, kit: str = "auflow.flow.stagekit", limits: Limits | None = None) -> None:
        self._config = config
        self._stack = ExitStack()
        self._streams: dict[str, StreamConfig] = {}  # by name, also those that have ended
        self._began_s = time.monotonic()
        self._health_s = 0.0
        self._was_ready = False
        workers, given = config.workers, config.limits
        self._page = page_address(config)
        self._limits = limits or Limits(
            startup_s=given.start_s,
            silence_s=given.silence_s,
            window_s=given.restart_window_s,
            budget=given.restarts or None,
            drain_s=given.drain_s,
            gives_up=False,
        )
        self.fleet = Fleet(
            live_lanes=workers.live_lanes,
            file_lanes=workers.file_lanes,
            detectors=0 if workers.detectors_at else workers.detectors,
            seats=workers.streams_per_lane,
            bus=bool(config.bus.address),
            web=self._page is not None,
            limits=self._limits,
            seat_taken=lambda lane, seat: self.crew.clear_tally(lane, seat),
            seat_left=lambda lane, seat: self.crew.tally(lane, seat),
        )
        refuse_taken(config)
        self._profile = load_profile()
        for text in self._resolve(StageSettings()).notes:
            _log.info(text)
        with ExitStack() as stack:
            self._control = ControlServer(config.control_socket)
            stack.callback(self._control.close)
            self._watch = Watch(config, lambda: self.crew.metrics_ports)
            stack.callback(self._watch.close)
            self._health = HealthServer(config.http.address, self._watch.pages) if config.http.address else None
            if self._health is not None:
                stack.callback(self._health.close)
            self._notifier = Notifier()
            stack.callback(self._notifier.close)
            nursery = stack.enter_context(Nursery())
            bus = BusAddress(config.bus.address, config.bus.keys_dir) if config.bus.address else None
            settings = self._settings(config.streams[0]) if config.streams else self._resolve(StageSettings()).settings
            plan = Plan(
                self.fleet.topology,
                config.models_root,
                settings,
                kit,
                bus,
                self._page,
                detectors_at=workers.detectors_at,
                detection_keys=workers.keys_dir,
                telemetry=self._watch.asked,
                first_slot_bytes=1,  # of lanes that may never be started
            )
            self.crew = Crew(plan, self.fleet, LogReporter(), nursery, stack)
            self._stack = stack.pop_all()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def until_done(self) -> None:
        """Serve until told to end.

        Raises
        ------
        AuflowError
            What no restart can mend: missing models.
        """
        for stream in self._config.streams:
            if stream.live is None and is_finished(self._output(stream), stream.settings):
                _log.info("%s: %s is there already", stream.name, self._output(stream))
            else:
                self.add(stream)
        self._notifier.extend(self._limits.startup_s)
        if self._page is not None:
            _log.info("the live page: %s", page_url(self._page))
        self.crew.until_done([self._control], self._turn)
        self._notifier.stopping()
        if self.fleet.error is not None:
            raise self.fleet.error

    def _turn(self) -> tuple[e.Event, ...]:
        """What else there is to do in each turn of the main loop."""
        for client, request in self._control.requests():
            self._control.answer(client, dispatch(self, request))
        self._notifier.watchdog()
        now = time.monotonic()
        if now >= self._health_s:
            self._health_s = now + HEALTH_S
            self._tell_health()
        return ()

    def _tell_health(self) -> None:
        status = self._status(memory=False)
        self._watch.update(status)
        if self._health is not None:
            self._health.update(status)
        if self._page is not None:
            self.crew.carry_out([e.Send(Worker(Role.WEB, 0).name, m.ServiceStatus(json.dumps(status)))])
        told = f"{status['state']}, {len(status['streams'])} streams"
        if status["state"] == "ready" and not self._was_ready:
            self._was_ready = True
            self._notifier.ready(told)
            _log.info("ready")
        elif status["state"] == "draining":
            self._notifier.stopping(self._limits.drain_s, told)
        else:
            self._notifier.status(told)

    # What is asked of the service: `auflow.serve.control.ServiceApi`

    def status(self) -> dict[str, Any]:
        """How everything is; docs/serve.md has the fields."""
        return self._status(memory=True)

    def _status(self, *, memory: bool) -> dict[str, Any]:
        uptime_s = time.monotonic() - self._began_s
        address = self._health.address if self._health is not None else ""
        return status_of(
            self.fleet,
            self.crew,
            self._config,
            uptime_s,
            self._was_ready,
            http_address=address,
            memory=memory,
        )

    def add(self, stream: StreamConfig) -> None:
        """Begin another stream."""
        running = [self._streams[name] for name in self.fleet.streams if name != stream.name]
        faults = Faults()
        check_outputs([*running, stream], faults)
        faults.raise_any("the stream cannot be added")
        if stream.model == "ceclm":  # a lane that finds them missing would end the service
            store.require_ceclm(self._config.models_root)
        if stream.cen_precision == "int8":
            require_int8()
        self._settings(stream)  # refuses what does not go together
        is_live = stream.policy == "live"
        self.crew.carry_out(
            self.fleet.add(stream.name, lambda seat: self._job(stream, seat), is_live, time.monotonic())
        )
        known = {**self._streams, stream.name: stream}
        self._streams = {name: known[name] for name in self.fleet.streams}

    def remove(self, name: str) -> None:
        """End a stream."""
        self.crew.carry_out(self.fleet.remove(name, time.monotonic()))

    def pause(self, name: str) -> None:
        """Take no more pictures of a live stream."""
        self.crew.carry_out(self.fleet.pause(name, True, time.monotonic()))

    def resume(self, name: str) -> None:
        """Go on with a stream that was paused."""
        self.crew.carry_out(self.fleet.pause(name, False, time.monotonic()))

    def drain(self) -> None:
        """Take no more pictures at all; the service stays."""
        self.crew.carry_out(self.fleet.drain(time.monotonic()))

    def stop(self) -> None:
        """Drain and end."""
        self.crew.carry_out(self.fleet.stop(time.monotonic()))

    @staticmethod
    def _output(stream: StreamConfig) -> Path:
        """The CSV of a file stream."""
        path = stream.csv_path(datetime.now(UTC))
        assert path is not None  # the configuration gives every file stream one
        return path

    def _job(self, stream: StreamConfig, seat: int) -> StreamJob:
        state = str(self._config.state_dir / "streams" / stream.name)
        spec = stream.live
        # {start} of a live stream is filled in where a segment begins.
        output = stream.csv.replace("{name}", stream.name) if spec else str(self._output(stream))
        live = None
        if spec is not None:
            live = LiveJob(
                spec=asdict(spec),
                seat=seat,
                max_age_s=stream.max_age_s,
                rotate_s=stream.rotate_s,
                checkpoint_s=self._config.limits.checkpoint_s,
                jsonl=stream.jsonl.replace("{name}", stream.name),
                paused=stream.paused,
            )
        return StreamJob(
            name=stream.name,
            source=str(stream.path) if live is None else stream.shown_source,
            output=output,
            state=output if live is None else state,
            settings=self._settings(stream),
            models_root=str(self._config.models_root),
            resume=True,
            keep=live is None,
            live=live,
            label=stream.name,
        )

    def _settings(self, stream: StreamConfig) -> StageSettings:
        """What the stages do for a stream, and what computes them here."""
        precision = ("cen_precision",) if stream.cen_precision != "auto" else ()
        return self._resolve(stream.settings, precision).settings

    def _resolve(self, settings: StageSettings, given: tuple[str, ...] = ()) -> Applied:
        asked = read_asked(self._config.workers.backend)
        # Cameras and files have their own tracking here, which the configuration tells.
        return resolve(settings, asked, self._profile, given=("tracking", *given), jobs=False)


def run(config: ServeConfig, *, kit: str = "auflow.flow.stagekit") -> int:
    """Serve until SIGTERM, Ctrl-C or `auflow ctl stop`; the exit code. `kit` is the module that makes the stages.

    Raises
    ------
    AuflowError
        It cannot start: models are missing, ONNX Runtime is damaged, or an address is taken.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    os.umask(os.umask(0) | 0o007)  # results of faces are for their owner and group
    pin_threads()
    for warning in filter(None, (place_kernel_cache(), require_ort_files())):
        _log.warning(warning)
    _check_models(config)
    if not kernels_are_ready("clnf"):
        _log.info(COMPILING)
    with Service(config, kit=kit) as service:
        try:
            service.until_done()
        except AuflowError as error:
            _log.error("%s", error)
            return error.exit_code
    return 0


def refuse_taken(config: ServeConfig) -> None:
    """Find out now, and not from a worker when streams have begun, that an address is somebody else's.

    Raises
    ------
    UsageError
        That of the bus or of the live page is.
    """
    for key, address in (("bus", config.bus.address.removeprefix("tcp://")), ("web", config.web.address)):
        if not address or "://" in address or address.endswith(":*"):
            continue
        host, port = host_and_port(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(
                    f'{key}.address: {address} cannot be listened on: {reason}; choose another, or "" for none'
                ) from error


def _check_models(config: ServeConfig) -> None:
    with_ceclm = any(stream.model == "ceclm" for stream in config.streams)
    (store.require_ceclm if with_ceclm else store.require)(config.models_root)
    if any(stream.cen_precision == "int8" for stream in config.streams):
        require_int8()
