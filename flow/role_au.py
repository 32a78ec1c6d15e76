"""The work loop of the AU stage: live frames that wait together go through the heads together."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from auflow.flow.job import StreamJob
from auflow.flow.process import Shell
from auflow.flow.role_passing import PassingRole
from auflow.flow.topology import Role
from auflow.stages.records import Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.transport import messages as m
from auflow.transport.ring import Owner

__all__ = ["AuRole"]

# The first of several frames waits for the others, so long at most, by the average of late for one frame. The windows
# of the edges bound their number too: two today.
_ADDED_S = 0.002
_SHARE_OF_NEW = 0.05


class AuRole(PassingRole[m.FitReady, m.AuReady]):
    """Predicts AUs, and at the end of a stream runs the offline pass."""

    upstream = Role.CLNF
    kind = m.FitReady
    next_owner = Owner.SINK

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._each_s = _ADDED_S  # that a frame takes

    def make_stage(self, settings: StageSettings) -> Any:
        """An AU predictor."""
        return self.kit.make_au(self.shell.config.models, settings)

    def reset(self, stage: Any, _info: SourceInfo) -> None:
        """Forget the running medians."""
        stage.reset()

    def work(self, stage: Any, frame: Frame, record: m.FitReady) -> m.AuReady:
        """The online values of the frame."""
        fits, aus = stage.process_faces(frame, record.fits)
        return m.AuReady(record.frame, fits, aus, record.detections)

    def pass_on(self, record: m.FitReady, *, before_s: float = 0.0, batch: int = 1) -> None:
        """One frame, or with it those of other live streams that have come meanwhile."""
        records, after = self.waiting_with(record, 1 + int(_ADDED_S / self._each_s))
        if len(records) == 1:
            super().pass_on(record, before_s=before_s, batch=batch)
        else:
            self._pass_on_together(records)
        if after is not None:
            self.handle(after)

    def _pass_on_together(self, records: list[m.FitReady]) -> None:
        work = [(self.stage_of(record.frame.stream), self.frame(record.frame), record.fits) for record in records]

        def at(place: int) -> None:
            ready = records[place].frame
            self.shell.stream = ready.stream
            self.shell.note(ready.stream, ready.index)

        began_s = time.monotonic()
        results = self.kit.process_together(work, at)
        each_s = (time.monotonic() - began_s) / len(records)
        for place, (record, (fits, aus)) in enumerate(zip(records, results, strict=True)):
            out = m.AuReady(record.frame, fits, aus, record.detections)
            self.sent(record, out, began_s + place * each_s, began_s + (place + 1) * each_s, len(records))

    def told(self, out: m.AuReady, took_s: float) -> None:
        """How long a frame takes, for the next ones."""
        self._each_s += _SHARE_OF_NEW * (took_s - self._each_s)

    def add_to(self, snapshot: m.Snapshot, state: bytes) -> m.Snapshot:
        """With the medians and the series."""
        return dataclasses.replace(snapshot, au=state)

    def state_of(self, state: m.StreamState) -> bytes:
        """The predictor's."""
        return state.au

    def finish(self, stage: Any, job: StreamJob, end: m.StreamEnd) -> m.StreamEnd:
        """Add the table of the offline pass."""
        if end.error is not None or end.kept or (end.interrupted and end.sent == 0) or not job.settings.keep_series:
            return end
        end = dataclasses.replace(end, table=stage.finish())
        if not end.last:
            stage.next_segment()
        return end
