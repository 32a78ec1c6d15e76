"""A hostile RTSP server, by hand: python -m auflow.tests.decode.fuzz_rtsp --count 1000 --seed 1.

Each input is one whole connection to a server that damages one of its answers, or all that it sends after them. The
inputs run in forked children, so that a crash of a native library is a finding and does not end the campaign. An input
is made again from its seed and number.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from auflow.stages.decode.live import LiveSpec
from auflow.stages.decode.live.machine import Happened
from auflow.stages.decode.live.session import Decoded, Session
from auflow.tests.decode.rtsp_server import RtspServer, encode

__all__ = ["damage", "one"]

STEPS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "rtp")
SECRET = "geheim%21"
BATCH = 100
WORDS = (b"\r\n\r\n", b"\0", b"$\0\xff\xff", b"RTSP/1.0 401 \xff", b"Content-Length: 4294967295\r\n", b"v=0", b"%n%s")
WORDS += (
    b"a=fmtp:96 sprop-parameter-sets=",
    b"m=video 0 RTP/AVP 99",
    b"Content-Length: -1\r\n",
    b"a=control:file:///x",
)
WORDS += (b"Session: " + b"A" * 3000, b"Location: rtsp://127.0.0.1:1/\r\n", b"server_port=99999-0", b"9" * 40)


def damage(data: bytes, rng: random.Random) -> bytes:
    """Some steps of damage: bits, runs, cuts, doublings, words that parsers care about."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + rng.choice((1, 4, 60))] = rng.randbytes(rng.choice((1, 4, 60)))
        elif kind == 2:
            del changed[at : at + rng.choice((1, 8, 100, 5000))]
        elif kind == 3:
            changed[at:at] = changed[: rng.choice((10, 200))]
        elif kind == 4:
            changed[at:at] = rng.choice(WORDS)
        elif kind == 5:
            changed[at:] = b""
        else:
            changed[at:at] = bytes([rng.randrange(256)]) * rng.choice((3, 300, 70_000))
    return bytes(changed)


class _Ear:
    """Hears a session and checks what it says."""

    def __init__(self) -> None:
        self.pictures = 0
        self.end: tuple[Happened, str] | None = None
        self.ended_event = threading.Event()
        self.told: list[str] = []

    def opened(self, session: Session, facts: str) -> None:
        self.told.append(facts)

    def sender_time(self, session: Session, pts_s: float, unix_s: float) -> None:
        assert pts_s == pts_s
        assert unix_s == unix_s

    def restarted(self, session: Session) -> None:
        raise AssertionError("only files begin anew")

    def picture(self, session: Session, decoded: Decoded) -> None:
        assert decoded.frame.width > 0
        self.pictures += 1
        if self.pictures >= 12:
            session.stop()

    def damaged(self, session: Session) -> None:
        pass

    def ended(self, session: Session, kind: Happened, reason: str) -> None:
        self.end = kind, reason
        self.told.append(reason)
        self.ended_event.set()


def one(server: RtspServer, seed: int, number: int) -> str:
    """One damaged connection; what it came to. AssertionError when it is more than a refusal or an end."""
    rng = random.Random(f"{seed}/{number}")
    step = rng.choice(STEPS)
    server.limit = 12
    server.faults.answer = lambda method, data: damage(data, rng) if method == step else data
    server.faults.rtp = (lambda data: damage(data, rng) if rng.random() < 0.3 else data) if step == "rtp" else None
    url = server.url.replace("//", f"//user:{SECRET}@")
    transport = rng.choice(("tcp", "udp"))
    ear = _Ear()
    spec = LiveSpec("fuzz", url, rtsp_transport=transport, open_timeout_s=0.3, read_timeout_s=0.2)
    session = Session(spec, ear)
    began_s = time.monotonic()
    session.start()
    assert ear.ended_event.wait(20), f"{step}: no end after 20 s"
    assert session.join(5)
    server.cut()
    assert ear.end is not None
    assert not any(secret in text for text in ear.told for secret in ("geheim", "user:")), ear.told
    if time.monotonic() - began_s > 5:
        return f"{step} {transport}: slow"
    return f"{step} {transport}: {'pictures' if ear.pictures else ear.end[0].value}"


def _batch(seed: int, numbers: range, report: int) -> None:
    with RtspServer(encode((64, 48), frames=12), speed=20) as server:
        for number in numbers:
            try:
                verdict = one(server, seed, number)
            except AssertionError as error:
                verdict = f"FAULT {number}: {error}"
            os.write(report, f"{verdict}\n".encode())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    os.write(report, f"peak of a batch below {-(-peak // 50) * 50} MB\n".encode())


def main() -> None:
    """Run the campaign and print what the inputs came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    verdicts: Counter[str] = Counter()
    for start in range(given.first, given.first + given.count, BATCH):
        numbers = range(start, min(start + BATCH, given.first + given.count))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report"
            child = os.fork()
            if child == 0:
                _batch(given.seed, numbers, os.open(path, os.O_WRONLY | os.O_CREAT))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            lines = path.read_text(errors="replace").splitlines()
        verdicts.update(lines)
        if status:
            print(f"CRASH: status {status} at input {start + len(lines)}", flush=True)
            verdicts["CRASH"] += 1
    for verdict, count in sorted(verdicts.items()):
        print(f"{count:6d}  {verdict}")
    sys.exit(any(verdict.startswith(("FAULT", "CRASH")) for verdict in verdicts))


if __name__ == "__main__":
    main()
