"""The work loop of the detection service beside the lanes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.flow.process import Shell, WorkerRole, slot_of
from auflow.flow.topology import Role, edge_name
from auflow.transport import messages as m
from auflow.transport.faults import TransportError
from auflow.transport.ring import Owner
from auflow.transport.service import DetectServer
from auflow.transport.together import Together

__all__ = ["DetectRole"]


class DetectRole(WorkerRole):
    """Answers the CLNF workers of all lanes; keeps nothing between two requests.

    Live pictures that wait together are worked on together, and then the ring's marks name none of them: a death in
    the middle is at nobody's door. A worker that is started again takes each picture by itself for the rest of its
    life, so the next death names the picture that it is due to.
    """

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._server = DetectServer(
            shell.context, shell.endpoint(edge_name(Role.DETECT, shell.config.number)), shell.complain
        )
        self._detector: Any = None
        self._together = Together(alone=shell.config.incarnation > 0)

    def connect(self) -> None:
        """Nobody need be there: lanes come and go, and ask again when there was no answer."""

    def setup(self) -> None:
        """Load the networks."""
        self.shell.probe.expect(Role.DETECT)
        self._detector = self.kit.make_detector(self.shell.config.models, self.shell.config.settings)

    def step(self) -> None:
        """Answer the requests that are there."""
        self.shell.wait((self._server.socket,))
        for requests in self._together.take(self._server.receive):
            self._answer(requests)

    def _answer(self, requests: Sequence[tuple[bytes, m.DetectRequest]]) -> None:
        there = [(client, request, bgr) for client, request in requests if (bgr := self._picture(request)) is not None]
        if len(there) == 1:
            frame = there[0][1].frame
            self.shell.note(frame.stream, frame.index, self.shell.ring_of(there[0][1].lane))
        if there:
            self._work(there)
        if len(there) == 1:
            self.shell.note(-1, -1, self.shell.ring_of(there[0][1].lane))
        self.shell.progress += len(requests)

    def _picture(self, request: m.DetectRequest) -> NDArray[np.uint8] | None:
        frame, ring = request.frame, self.shell.ring_of(request.lane)
        try:
            return ring.array(slot_of(frame), frame.height_px, frame.width_px, owner=Owner.CLNF)
        except TransportError as error:
            self.shell.complain(str(error))  # the lane was started anew meanwhile: nobody waits for this answer
            return None

    def _work(self, there: Sequence[tuple[bytes, m.DetectRequest, NDArray[np.uint8]]]) -> None:
        began_s = time.monotonic()
        found = self._detector.detect_many([bgr for _, _, bgr in there])
        took_s = time.monotonic() - began_s
        self._together.took([(client, request) for client, request, _ in there], took_s)
        share_s = took_s / len(there)
        for number, ((client, request, _), boxes) in enumerate(zip(there, found, strict=True)):
            frame = request.frame
            try:
                self.shell.ring_of(request.lane).check(slot_of(frame), Owner.CLNF)
            except TransportError as error:
                self.shell.complain(str(error))
                continue
            self._server.answer(client, m.Boxes(frame.stream, frame.index, boxes))
            # Told as if one had come after the other: so the times add up to those of this process.
            began = began_s + number * share_s
            self.shell.probe.worked(
                "detect", began, began + share_s, since_s=request.asked_s, trace=frame.trace, stream=frame.stream,
                frame=frame.index, batch=len(there),
            )  # fmt: skip

    def close(self) -> None:
        """Close the socket."""
        self._server.close()
