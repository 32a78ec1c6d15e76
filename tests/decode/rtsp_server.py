"""An RTSP server for tests: real RTP H.264 over TCP and UDP with sender reports, and faults on command.

By hand: python tests/decode/rtsp_server.py CLIP --port 8554 --fps 15 --size 320x240 --fault stall:10:5
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RTP_CLOCK_HZ = 90_000
NTP_EPOCH_S = 2_208_988_800  # from 1900 to 1970
PAYLOAD = 1200
NONCE = "0123456789abcdef"


@dataclass
class Clip:
    """Encoded once, sent without end: the NAL units of each picture, the first of them an IDR picture."""

    units: list[list[bytes]]
    size: tuple[int, int]  # width, height
    fps: float

    @property
    def sdp(self) -> str:
        """The session description."""
        sps, pps = (next(n for n in self.units[0] if n[0] & 31 == kind) for kind in (7, 8))
        sets = ",".join(base64.b64encode(n).decode() for n in (sps, pps))
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            f"a=rtpmap:96 H264/{RTP_CLOCK_HZ}\r\na=control:track1\r\n"
            f"a=fmtp:96 packetization-mode=1;profile-level-id={sps[1:4].hex()};sprop-parameter-sets={sets}\r\n"
        )


def encode(
    size: tuple[int, int] = (64, 48), fps: float = 25.0, frames: int = 25, *, path: Path | None = None, gop: int = 10
) -> Clip:
    """`frames` pictures (all of them when 0) of the file at `path`, scaled and cropped, or a moving grey ramp."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base, context.framerate, context.thread_count = Fraction(1, 90_000), Fraction(fps), 1
    context.options = {"preset": "veryfast", "tune": "zerolatency", "g": str(gop), "x264-params": "repeat-headers=1"}
    packets = []
    for number, frame in enumerate(_pictures(path, size, frames)):
        frame.pts, frame.time_base = round(number * RTP_CLOCK_HZ / fps), Fraction(1, RTP_CLOCK_HZ)
        packets += context.encode(frame)
    packets += context.encode(None)
    return Clip([[n for n in re.split(b"\0\0\0?\1", bytes(p)) if n] for p in packets], size, fps)


def _pictures(path: Path | None, size: tuple[int, int], frames: int):
    width, height = size
    if path is None:
        ramp = np.add.outer(np.arange(height), np.arange(width))
        for number in range(frames):
            picture = np.repeat(((ramp * 3 + number * 7) % 256).astype(np.uint8)[..., None], 3, axis=2)
            yield av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
        return
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if frames and number >= frames:
                return
            scale = max(width / frame.width, height / frame.height)
            whole = frame.to_ndarray(
                format="bgr24", width=round(frame.width * scale), height=round(frame.height * scale)
            )
            top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
            cut = np.ascontiguousarray(whole[top : top + height, left : left + width])
            yield av.VideoFrame.from_ndarray(cut, format="bgr24").reformat(format="yuv420p")


def rtp_payloads(nal: bytes) -> list[bytes]:
    """One NAL unit as single or fragmented (FU-A) payloads, RFC 6184."""
    if len(nal) <= PAYLOAD:
        return [nal]
    pieces = [nal[at : at + PAYLOAD] for at in range(1, len(nal), PAYLOAD)]
    last = len(pieces) - 1
    head = nal[0] & 0xE0 | 28
    return [bytes([head, (i == 0) << 7 | (i == last) << 6 | nal[0] & 31]) + p for i, p in enumerate(pieces)]


@dataclass
class Faults:
    """What goes wrong, for all clients; may be changed at any time."""

    kind: str = ""  # "", 503, mute (accepts, never answers), close, reset, stall, garbage (instead of RTP)
    loss: float = 0.0  # part of the RTP packets that is not sent
    pictures: int = 0  # after so many pictures of one session `kind` begins; before, all is well
    answer: Callable[[str, bytes], bytes] | None = None  # changes an answer: (method, bytes) -> bytes
    rtp: Callable[[bytes], bytes] | None = None  # changes what is sent after PLAY, framing included


@dataclass
class Sent:
    """Counts over all clients."""

    pictures: int = 0
    packets: int = 0
    lost: int = 0
    sessions: int = 0
    times_s: list[float] = field(default_factory=list)  # unix time of each picture's sending, when asked for


class RtspServer:
    """Serves one clip on 127.0.0.1 to any number of clients, one thread each; a context manager."""

    def __init__(self, clip: Clip, *, port: int = 0, speed: float = 1.0, auth: str = "", reports: bool = True) -> None:
        self.clip, self.speed, self.reports = clip, speed, reports
        self.auth, self.user, self.password = auth, "user", "p@ss/w:rd"  # auth: "", basic or digest
        self.wall_offset_s = 0.0  # the camera's wall clock minus ours
        self.limit = 0  # pictures of one session, then a clean end; 0 is without end
        self.faults, self.sent = Faults(), Sent()
        self._random = random.Random(5)
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        """The address without user and password."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self, *, reset: bool = False) -> None:
        """End all connections at once, cleanly or by a reset."""
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                else:
                    client.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._closed:
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                self._clients.add(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(5)
        with contextlib.suppress(OSError, ValueError), client:
            _Session(self, client).run()
        self._clients.discard(client)

    def refuses(self, request: str) -> bool:
        """Whether the request lacks the right user and password."""
        if not self.auth:
            return False
        given = re.search(r"Authorization: (\w+) (.*)", request)
        if given is None:
            return True
        if self.auth == "basic":
            return base64.b64decode(given[2]).decode(errors="replace") != f"{self.user}:{self.password}"
        fields = dict(re.findall(r'(\w+)="([^"]*)"', given[2]))
        ha1 = hashlib.md5(f"{self.user}:test:{self.password}".encode()).hexdigest()
        ha2 = hashlib.md5(f"{request.split()[0]}:{fields.get('uri')}".encode()).hexdigest()
        return fields.get("response") != hashlib.md5(f"{ha1}:{NONCE}:{ha2}".encode()).hexdigest()

    def drops(self) -> bool:
        """Whether the next RTP packet is lost."""
        return self._random.random() < self.faults.loss


class _Session:
    def __init__(self, server: RtspServer, client: socket.socket) -> None:
        self.server, self.client = server, client
        self.clip, self.sequence, self.packets, self.octets = server.clip, 0, 0, 0
        self.udp: tuple[socket.socket, str, int] | None = None
        self.pending = b""

    def run(self) -> None:
        try:
            while self.step(None) != "PLAY":
                pass
            self.server.sent.sessions += 1
            self.play()
        finally:
            if self.udp:
                self.udp[0].close()

    def step(self, wait_s: float | None) -> str:
        """Answer one request, or return "" when none comes within `wait_s`."""
        while b"\r\n\r\n" not in self.pending:
            if self.pending[:1] == b"$" and len(self.pending) >= 4:
                self.pending = self.pending[4 + int.from_bytes(self.pending[2:4]) :]  # a receiver report
                continue
            if wait_s is not None and not select.select([self.client], [], [], wait_s)[0]:
                return ""
            got = self.client.recv(65536)
            if not got:
                raise ConnectionResetError
            self.pending += got
        request, _, self.pending = self.pending.partition(b"\r\n\r\n")
        text = request[request.rfind(b"$") + 1 :].decode(errors="replace").lstrip("\0")
        method = (text.split() or [""])[0]
        self.answer(method, text)
        return method

    def answer(self, method: str, text: str) -> None:
        server, faults = self.server, self.server.faults
        cseq = re.search(r"CSeq: *(\d+)", text)
        status, lines, body = "200 OK", [f"CSeq: {cseq[1] if cseq else 0}"], ""
        kind = "" if faults.pictures else faults.kind
        if kind == "mute":
            time.sleep(0.05)
            return
        if kind == "503":
            status = "503 Service Unavailable"
        elif method != "OPTIONS" and server.refuses(text):
            status = "401 Unauthorized"
            nonce = f', nonce="{NONCE}"' if server.auth == "digest" else ""
            lines.append(f'WWW-Authenticate: {server.auth.title()} realm="test"{nonce}')
        elif method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            body = self.clip.sdp
            lines += ["Content-Type: application/sdp", f"Content-Base: {server.url}/", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Session: 1234;timeout=60", self.setup(text)]
        else:
            lines.append("Session: 1234")
        data = ("\r\n".join([f"RTSP/1.0 {status}", *lines]) + "\r\n\r\n" + body).encode()
        self.client.sendall(faults.answer(method, data) if faults.answer else data)

    def setup(self, text: str) -> str:
        ports = re.search(r"client_port=(\d+)", text)
        if ports is None:
            return "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001"
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind(("127.0.0.1", 0))
        self.udp = (sender, "127.0.0.1", int(ports[1]))
        own = sender.getsockname()[1]
        return f"Transport: RTP/AVP;unicast;client_port={ports[1]}-{int(ports[1]) + 1};server_port={own}-{own + 1}"

    def play(self) -> None:
        server, number, period_s = self.server, 0, 1 / self.clip.fps
        started_s, wall_s = time.monotonic(), time.time()
        while not (server.limit and number >= server.limit):
            kind = server.faults.kind if number >= server.faults.pictures else ""
            due_s = started_s + number * period_s / server.speed
            while (wait_s := due_s - time.monotonic()) > 0 or self.pending:
                if self.step(max(wait_s, 0)) == "TEARDOWN":
                    return
            if kind in ("close", "mute", "503"):
                return
            if kind == "reset":
                self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if kind == "garbage":
                self.client.sendall(server._random.randbytes(500))
            elif kind != "stall":
                self.picture(number, wall_s + number * period_s / server.speed + server.wall_offset_s)
            number += 1

    def picture(self, number: int, wall_s: float) -> None:
        server = self.server
        stamp = (1000 + round(number * RTP_CLOCK_HZ / self.clip.fps)) & 0xFFFFFFFF
        if server.reports and number % max(1, round(self.clip.fps)) == 0:
            seconds = int(wall_s)
            ntp = struct.pack(">II", seconds + NTP_EPOCH_S, int((wall_s - seconds) * 2**32))
            self.send(
                1, struct.pack(">BBHI", 0x80, 200, 6, 1) + ntp + struct.pack(">III", stamp, self.packets, self.octets)
            )
        payloads = [p for nal in self.clip.units[number % len(self.clip.units)] for p in rtp_payloads(nal)]
        for at, payload in enumerate(payloads):
            marker = (at == len(payloads) - 1) << 7
            self.sequence = self.sequence + 1 & 0xFFFF
            self.packets += 1
            self.octets += len(payload)
            if server.drops():
                server.sent.lost += 1
                continue
            server.sent.packets += 1
            self.send(0, struct.pack(">BBHII", 0x80, marker | 96, self.sequence, stamp, 1) + payload)
        server.sent.pictures += 1

    def send(self, channel: int, packet: bytes) -> None:
        change = self.server.faults.rtp
        if self.udp:
            sender, host, port = self.udp
            sender.sendto(change(packet) if change else packet, (host, port + channel))
            return
        framed = b"$" + bytes([channel]) + len(packet).to_bytes(2) + packet
        self.client.sendall(change(framed) if change else framed)


def _follow(server: RtspServer, schedule: list[str]) -> None:
    """Faults as KIND:AT_S[:FOR_S], for ever after the last."""
    started_s, changes = time.monotonic(), []
    for entry in schedule:
        kind, at_s, *for_s = entry.split(":")
        changes += [(float(at_s), kind), *((float(at_s) + float(s), "") for s in for_s)]
    for at_s, kind in sorted(changes):
        time.sleep(max(0.0, started_s + at_s - time.monotonic()))
        server.faults.kind = kind
        if kind in ("503", "mute"):
            server.cut()
        print(f"{at_s:.1f} s: {kind or 'all is well'}", flush=True)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path, help="a video file, or - for a synthetic picture")
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--frames", type=int, default=0, help="of the clip, 0 for all")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the RTP packets that is not sent")
    parser.add_argument("--auth", choices=["basic", "digest"], default="", help="user `user`, password `p@ss/w:rd`")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND:AT_S[:FOR_S]")
    given = parser.parse_args()
    width, _, height = given.size.partition("x")
    path = None if str(given.clip) == "-" else given.clip
    clip = encode((int(width), int(height)), given.fps, given.frames or 100 * (path is None), path=path, gop=30)
    with RtspServer(clip, port=given.port, speed=given.speed, auth=given.auth) as server:
        server.faults.loss = given.loss
        print(f"{server.url}: {len(clip.units)} pictures, then again", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            _follow(server, given.fault)
            threading.Event().wait()
        print(f"sent {server.sent}", flush=True)


if __name__ == "__main__":
    main()
