"""The inputs of a run as a pure state machine: which lane works on which, and how each of them ended.

An input is assigned to the decoder of a lane as soon as that is free, which is before the one before is written. So a
lane that falls may have two that are unfinished, and both go on, in order, from their last checkpoints.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from auflow.errors import AuflowError, InputError, StageError
from auflow.flow.events import Action, Advanced, Finished, Send, Started, Warn
from auflow.flow.job import StreamJob
from auflow.flow.topology import Role, Worker, group_name
from auflow.report import StreamSummary, cut_short_warning
from auflow.stages.records import SourceInfo
from auflow.transport import messages as m

__all__ = ["Lane", "Stream", "Streams"]


@dataclass(slots=True)
class Stream:
    """One input."""

    job: StreamJob
    info: SourceInfo | None = None
    began_s: float = 0.0
    frames: int = 0  # written, as the sink said last
    over: bool = False
    restarts: int = 0

    @property
    def shown_as(self) -> str:
        """What the reporter knows it by."""
        return self.job.name if self.info is None else self.info.path


@dataclass(slots=True)
class Lane:
    """One lane."""

    number: int
    is_free: bool = False  # decode can take an input
    streams: deque[int] = field(default_factory=deque)  # assigned, and neither written nor given up
    again: deque[int] = field(default_factory=deque)  # of them, those to be assigned anew

    @property
    def group(self) -> str:
        """The name of its workers."""
        return group_name(Role.CLNF, self.number)

    @property
    def decoder(self) -> str:
        """The worker that inputs are given to."""
        return Worker(Role.DECODE, self.number).name


class Streams:
    """All inputs of a run.

    Parameters
    ----------
    jobs : one for each input, in the order given
    lanes : how many there are
    began_s : when the run began
    """

    def __init__(self, jobs: Sequence[StreamJob], lanes: int, began_s: float) -> None:
        self.lanes = [Lane(number) for number in range(lanes)]
        self._streams = [Stream(job) for job in jobs]
        self._pending = deque(range(len(jobs)))
        self._summaries: dict[int, StreamSummary] = {}
        self._began_s = began_s
        self.ready_s = began_s  # when the last worker could work: loading is not an input's time

    def __getitem__(self, number: int) -> Stream:
        return self._streams[number]

    def __contains__(self, number: object) -> bool:
        return number in range(len(self._streams))

    @property
    def all_over(self) -> bool:
        """Whether nothing is left to do."""
        return all(stream.over for stream in self._streams)

    @property
    def left(self) -> list[int]:
        """Those that are not over."""
        return [number for number, stream in enumerate(self._streams) if not stream.over]

    @property
    def summaries(self) -> list[StreamSummary]:
        """How the inputs ended, in the order given."""
        return [self._summaries[stream] for stream in sorted(self._summaries)]

    def place(self, stream: int, frame: int) -> str:
        """Where something happened, for a message; "" where that is not known."""
        if stream not in self:
            return ""
        return f" at frame {frame} of {self[stream].job.name}" if frame > 0 else f" at {self[stream].job.name}"

    def drop_pending(self) -> None:
        """Those that have not begun are as if they had not been given."""
        for number in self._pending:
            self[number].over = True
        self._pending.clear()

    # Lanes

    def lane_of(self, group: str) -> Lane | None:
        """The lane that is this group, None for another group."""
        return next((lane for lane in self.lanes if lane.group == group), None)

    def lane_with(self, number: int) -> Lane | None:
        """The lane that works on an input."""
        return next((lane for lane in self.lanes if number in lane.streams), None)

    def lane_is_up(self, number: int) -> None:
        """Its decoder takes inputs; first those that a fall has interrupted."""
        lane = self.lanes[number]
        lane.is_free, lane.again = True, deque(lane.streams)

    def lane_has_fallen(self, lane: Lane, at_s: float) -> list[Action]:
        """Its inputs go on later, but for those that can be read only once."""
        lane.is_free = False
        lost = [number for number in lane.streams if self[number].job.once]
        for number in lane.streams:
            self[number].restarts += 1
            self[number].job = dataclasses.replace(self[number].job, resume=True)
        actions: list[Action] = []
        for number in lost:
            name = self[number].job.name
            error = StageError(f"{name}: what had come through the pipe is lost; write it to a file and run that")
            actions += self.give_up([number], at_s, error=error)
        return actions

    def feed(self, at_s: float) -> list[Action]:
        """Hand the next inputs to the decoders that are free."""
        actions: list[Action] = []
        for lane in self.lanes:
            if not lane.is_free or not (lane.again or self._pending):
                continue
            if lane.again:
                number = lane.again.popleft()
            else:
                number = self._pending.popleft()
                self[number].began_s = at_s
                lane.streams.append(number)
            lane.is_free = False
            actions.append(Send(lane.decoder, m.Assign(number, self[number].job.to_json())))
        return actions

    # News

    def opened(self, event: m.StreamOpened) -> list[Action]:
        """Decode has opened an input, for the first time or again."""
        stream = self[event.stream]
        is_first, stream.info = stream.info is None, event.info
        actions: list[Action] = [Started(event.info)] if is_first else []
        if event.resumed_at:
            actions.append(Warn(f"{stream.job.name}: goes on after frame {event.resumed_at}"))
        return actions

    def beat(self, beat: m.Beat) -> list[Action]:
        """How far a sink is."""
        if not beat.worker.startswith(Role.SINK) or beat.stream not in self:
            return []
        stream = self[beat.stream]
        if stream.over or beat.frames <= stream.frames:
            return []
        stream.frames = beat.frames
        return [Advanced(stream.shown_as, beat.frames)]

    def refused(self, event: m.StreamRefused, at_s: float) -> list[Action]:
        """Decode could not open an input, or did not begin it."""
        return self._end(event.stream, at_s, interrupted=event.error is None, error=event.error)

    def written(self, event: m.StreamWritten, at_s: float) -> list[Action]:
        """The sink is done with an input, well or not."""
        return self._end(event.stream, at_s, written=event, error=event.error)

    def give_up(
        self, numbers: Sequence[int], at_s: float, *, interrupted: bool = False, error: AuflowError | None = None
    ) -> list[Action]:
        """End inputs with nothing written."""
        text, code = (str(error), error.exit_code) if error else (None, 0)
        return [
            action
            for number in list(numbers)
            for action in self._end(number, at_s, interrupted=interrupted, error=text, exit_code=code)
        ]

    def _end(
        self,
        number: int,
        at_s: float,
        *,
        written: m.StreamWritten | None = None,
        interrupted: bool = False,
        error: str | None = None,
        exit_code: int = InputError.exit_code,
    ) -> list[Action]:
        stream = self[number]
        if stream.over:
            return []
        stream.over = True
        for lane in self.lanes:
            for queue in (lane.streams, lane.again):
                if number in queue:
                    queue.remove(number)
        seconds = at_s - max(stream.began_s, self.ready_s) if stream.began_s else 0.0
        summary = StreamSummary(
            path=stream.shown_as,
            output=None,
            frames=0,
            successes=0,
            corrupt_frames=0,
            seconds=max(0.0, seconds),
            interrupted=interrupted,
            error=error,
            exit_code=0 if error is None else exit_code,
            restarts=stream.restarts,
        )
        if written is not None:
            summary = self._with_results(summary, written)
        self._summaries[number] = summary
        told = [Warn(written.note)] if written is not None and written.note else []
        return [*told, *_cut_short(stream, summary), Finished(summary)]

    def _with_results(self, summary: StreamSummary, written: m.StreamWritten) -> StreamSummary:
        first_s = written.statistics.first_result_at_s
        return dataclasses.replace(
            summary,
            output=written.output,
            frames=written.frames,
            successes=written.successes,
            corrupt_frames=written.corrupt,
            interrupted=written.interrupted,
            exit_code=written.exit_code,
            statistics=written.statistics,
            first_result_s=None if first_s is None else first_s - self._began_s,
            failed_frames=written.failed,
            dropped_frames=written.dropped,
            overlay_encoder=written.overlay_encoder,
        )


def _cut_short(stream: Stream, summary: StreamSummary) -> list[Action]:
    if stream.info is None or summary.interrupted or summary.error is not None:
        return []
    text = cut_short_warning(stream.info, summary.frames)
    return [Warn(text)] if text else []
