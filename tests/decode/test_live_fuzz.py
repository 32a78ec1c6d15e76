"""Servers that send anything: the reader says why it could not go on, and nothing else happens."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auflow.errors import UsageError
from auflow.stages.decode.live.spec import LiveSpec
from auflow.tests.decode.fuzz_rtsp import STEPS, damage, one
from auflow.tests.decode.live_tools import watch
from auflow.tests.decode.rtsp_server import RtspServer, encode


def test_a_few_damaged_connections() -> None:
    """The campaign of `fuzz_rtsp.py`, in small."""
    with RtspServer(encode((64, 48), frames=12), speed=20) as server:
        verdicts = [one(server, 7, number) for number in range(12)]
    assert len({verdict.partition(" ")[0] for verdict in verdicts}) >= 3  # several of the steps were met
    assert all(verdict.partition(" ")[0] in STEPS for verdict in verdicts)


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=3000))
def test_any_bytes_as_an_answer(data: bytes) -> None:
    with RtspServer(encode((64, 48), frames=2)) as server:
        server.faults.answer = lambda method, answer: data
        with watch(server.url, open_timeout_s=0.3, read_timeout_s=0.2) as camera:
            camera.until(lambda c: "backing_off" in c.states)
        assert camera.reader.counts.decoded == 0


def test_a_reader_outlives_damaged_pictures() -> None:
    rng = random.Random(3)
    with RtspServer(encode((64, 48)), speed=4) as server:
        server.faults.rtp = lambda data: damage(data, rng) if rng.random() < 0.2 else data
        with watch(server.url, rtsp_transport="udp") as camera:
            camera.until(lambda c: c.reader.counts.decoded > 20 or c.reader.counts.faults > 2)
            server.faults.rtp = None
            server.cut()
            camera.until(lambda c: c.has("backing_off", "connecting", "streaming"))


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60))
def test_any_text_as_an_address(text: str) -> None:
    try:
        spec = LiveSpec("a", text)
    except UsageError as error:
        refusal = str(error)
        spec = None
    assert "url: " in refusal if spec is None else spec.kind
