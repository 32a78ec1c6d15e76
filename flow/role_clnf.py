"""The work loop of the CLNF stage, which asks for faces in the middle of a frame."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.flow.process import BEAT_S, Shell
from auflow.flow.role_passing import PassingRole
from auflow.flow.topology import WINDOW, Role, edge_name
from auflow.stages.records import FaceFit, Frame, SourceInfo, blank_fit
from auflow.stages.settings import StageSettings
from auflow.transport import messages as m
from auflow.transport.ring import Owner
from auflow.transport.service import DetectClient

__all__ = ["ClnfRole"]


class ClnfRole(PassingRole[m.FrameReady, m.FitReady]):
    """Fits faces; asks the detection service when its state machine says so."""

    upstream = Role.DECODE
    kind = m.FrameReady
    next_owner = Owner.AU

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._detection = _detection(shell)
        self._detections = 0  # asked for in the frame at hand
        self._alone = shell.config.incarnation > 0

    def make_stage(self, settings: StageSettings) -> Any:
        """A landmark fitter."""
        return self.kit.make_clnf(self.shell.config.models, settings)

    def reset(self, stage: Any, info: SourceInfo) -> None:
        """Forget the faces."""
        stage.reset(info)

    def work(self, stage: Any, frame: Frame, record: m.FrameReady) -> m.FitReady:
        """Fit the frame's faces."""
        if record.failed:
            return m.FitReady(record, self._no_face(frame, self._jobs[record.stream].settings))
        self._detections = 0
        fits = stage.process(frame, self._detector(record, frame.bgr))
        return m.FitReady(record, fits, self._detections)

    def pass_on(self, record: m.FrameReady, *, before_s: float = 0.0, batch: int = 1) -> None:
        """One frame; where a backend gains by it, with it those of other live streams that have come meanwhile.

        Only the fits that they ask for in any case are made together, ahead. Then each is worked on as if alone. A
        death in their midst is at nobody's door, so a worker that is started again takes each by itself.
        """
        if self._alone or not self.stage_of(record.stream).gains_by_company:
            super().pass_on(record)
            return
        records, after = self.waiting_with(record, WINDOW[Role.CLNF])
        shared_s = self._fit_together(records) / len(records)
        for each in records:
            super().pass_on(each, before_s=shared_s, batch=len(records))
        if after is not None:
            self.handle(after)

    def _fit_together(self, records: Sequence[m.FrameReady]) -> float:
        """Seconds that it took."""
        company = [each for each in records if not each.failed]
        if len(company) < 2:
            return 0.0
        self.shell.note(-1, -1)
        began_s = time.monotonic()
        self.kit.fit_together([(self.stage_of(each.stream), self.frame(each)) for each in company])
        return time.monotonic() - began_s

    def told(self, out: m.FitReady, took_s: float) -> None:
        """How the fits converged."""
        self.shell.probe.fitted(out.fits)

    @staticmethod
    def _no_face(frame: Frame, settings: StageSettings) -> tuple[FaceFit, ...]:
        # A stream of one face has a row for each frame.
        return (blank_fit(frame.index, frame.timestamp_s),) if settings.faces == "widest" else ()

    def add_to(self, snapshot: m.Snapshot, state: bytes) -> m.Snapshot:
        """With the state of the fitter."""
        return dataclasses.replace(snapshot, clnf=state)

    def state_of(self, state: m.StreamState) -> bytes:
        """The fitter's."""
        return state.clnf

    def _detector(self, frame: m.FrameReady, bgr: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        request = m.DetectRequest(self.shell.config.number, frame)

        def detect() -> NDArray[np.float32]:
            self._detections += 1
            asked = dataclasses.replace(request, asked_s=time.monotonic())
            self._detection.ask(asked, bgr)
            # However long it takes: a detection worker that hangs or dies is replaced, a host may be away for hours.
            with self.shell.probe.noting("wait", frame.stream, frame.index):
                while (answer := self._detection.receive(asked)) is None:
                    self.shell.wait(self._detection.sockets, min(BEAT_S, self._detection.wait_s))
            return answer.boxes

        return detect

    def close(self) -> None:
        """Close all sockets."""
        self._detection.close()
        super().close()


def _detection(shell: Shell) -> DetectClient:
    """The detection workers of this machine, or of other hosts where the configuration names some."""
    config = shell.config
    if not config.detectors_at:
        here = [shell.endpoint(edge_name(Role.DETECT, number)) for number in range(config.detectors)]
        return DetectClient(shell.context, here, shell.name, complain=shell.complain)
    # Brings the modules for keys along, which a run on one machine does without.
    from auflow.transport.keys import load_client_keys
    from auflow.transport.remote_detection import RemoteDetectClient

    keys = load_client_keys(Path(config.detection_keys)) if config.detection_keys else None
    # Several services may ask the same host: the name must be one of its own.
    name = f"{shell.name}-{secrets.token_hex(6)}"

    def warn(text: str) -> None:
        shell.tell(m.Note(shell.name, -1, text))

    return RemoteDetectClient(shell.context, config.detectors_at, name, keys=keys, complain=shell.complain, warn=warn)
