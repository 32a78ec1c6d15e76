"""The file that tells Prometheus where the processes of a service answer (`file_sd`), kept up to date."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from auflow.errors import OutputError

__all__ = ["ORCHESTRATOR", "OWN_PATH", "Targets"]

ORCHESTRATOR = "orchestrator"
OWN_PATH = "/metrics/orchestrator"  # of its own metrics alone; `/metrics` has those of all


class Targets:
    """The file, and what was written last.

    Parameters
    ----------
    path : of the file; its folder is made
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: list[dict[str, Any]] | None = None

    def tell(self, ports: Mapping[str, int], orchestrator: str) -> bool:
        """Write the file if what it should say has changed.

        Parameters
        ----------
        ports : of the workers on this machine, by name
        orchestrator : HOST:PORT of its own metrics, "" for none

        Returns
        -------
        whether it was written

        Raises
        ------
        OutputError
            It cannot be written; the next call tries again.
        """
        # The service as a whole is the instance: a worker that is started again has another port.
        instance = orchestrator or platform.node()
        entries = [_entry(f"127.0.0.1:{port}", worker, instance) for worker, port in sorted(ports.items()) if port]
        if orchestrator:
            own = _entry(orchestrator, ORCHESTRATOR, instance)
            entries.insert(0, {**own, "labels": {**own["labels"], "__metrics_path__": OWN_PATH}})
        if entries == self._written:
            return False
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise OutputError(
                f"{self._path}: Prometheus' targets cannot be written: {error.strerror}; "
                "free some space or choose another place with telemetry.targets"
            ) from error
        self._written = entries
        return True

    def withdraw(self) -> None:
        """Nobody answers any more."""
        with suppress(OutputError):
            self.tell({}, "")


def _entry(address: str, worker: str, instance: str) -> dict[str, Any]:
    return {"targets": [address], "labels": {"worker": worker, "instance": instance}}
