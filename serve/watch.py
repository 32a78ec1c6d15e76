"""What a service tells of itself to Prometheus: its own metrics, those of its workers, and where they answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.errors import OutputError
from auflow.serve.config import ServeConfig
from auflow.stages.sink.provenance import models_digest
from auflow.telemetry.http import Answer, metrics_answer
from auflow.telemetry.probe import MODEL_DIGITS, Telemetry
from auflow.telemetry.targets import ORCHESTRATOR, OWN_PATH, Targets
from auflow.telemetry.tracing import require_otel

if TYPE_CHECKING:
    from auflow.serve.families import OwnMetrics

__all__ = ["Watch"]

_log = logging.getLogger("auflow.serve")


class Watch:
    """The metrics of a service; without any where the configuration says so.

    Parameters
    ----------
    config : of the service
    ports : asked for the workers that tell metrics, and at which port of this machine

    Raises
    ------
    UsageError
        Traces are asked for, and the libraries for them are missing.
    """

    def __init__(self, config: ServeConfig, ports: Callable[[], Mapping[str, int]]) -> None:
        asked = config.telemetry
        models = models_digest()[:MODEL_DIGITS] if asked.metrics else ""
        self.asked = Telemetry(asked.metrics, models, asked.trace_every, asked.trace_endpoint)
        if asked.trace_every:
            require_otel()
        self._ports = ports
        self._warned = ""
        self._own: OwnMetrics | None = None
        self._targets: Targets | None = None
        if asked.metrics:
            from auflow.serve.families import OwnMetrics

            self._own, self._targets = OwnMetrics(models), Targets(Path(asked.targets))

    @property
    def pages(self) -> dict[str, Callable[[], Answer]]:
        """For the server of health."""
        if self._own is None:
            return {}
        return {"/metrics": self._all, OWN_PATH: self._mine}

    def _mine(self) -> Answer:
        assert self._own is not None
        return metrics_answer(self._own.text())

    def _all(self) -> Answer:
        from auflow.telemetry.gather import fetch_all, merged

        assert self._own is not None
        own = {ORCHESTRATOR: self._own.text().decode()}
        return metrics_answer(merged(own | fetch_all(dict(self._ports()))))

    def update(self, status: Mapping[str, Any]) -> None:
        """The status now; writes the file of targets where they have changed."""
        if self._own is None or self._targets is None:
            return
        self._own.update(status)
        try:
            self._targets.tell(self._ports(), status["http"]["address"])
            self._warned = ""
        except OutputError as error:
            if str(error) != self._warned:  # it is tried again each time
                self._warned = str(error)
                _log.warning("%s", self._warned)

    def close(self) -> None:
        """The workers are gone, and Prometheus need not ask them."""
        if self._targets is not None:
            self._targets.withdraw()
