"""Live sources that are no RTSP server: files in real time, pipes, HTTP, webcams; and hardware decoders."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from auflow.stages.decode.live import LiveSpec, SourceState
from auflow.stages.decode.live.opening import explain
from auflow.stages.decode.live.reader import LiveReader
from auflow.tests.decode.live_tools import watch


def test_a_file_is_read_in_real_time_and_ends(tmp_path: Path, clips: SimpleNamespace) -> None:
    path = clips.write(tmp_path / "a b.mp4", 25, rate=50)
    began_s = time.monotonic()
    with watch(f"file:{path}") as source:
        source.until(lambda s: s.has("stopped"))
        counts = source.reader.counts
    assert time.monotonic() - began_s > 0.4
    assert (counts.decoded, counts.faults, counts.reconnects) == (25, 0, 0)
    assert source.states == ["connecting", "streaming", "stopped"]
    assert source.story[-1].reason == "the source ended"
    times = [p.timestamp_s for p in source.pictures]
    assert times[-1] == pytest.approx(0.48, abs=1e-6)


def test_a_looped_file_goes_on(tmp_path: Path, clips: SimpleNamespace) -> None:
    with watch(f"file:{clips.write(tmp_path / 'a.mp4', 5, rate=50)}", loop=True) as source:
        source.until(lambda s: len(s.pictures) > 12)
        assert source.reader.state is SourceState.STREAMING
    times = [p.timestamp_s for p in source.pictures]
    assert times == sorted(times)
    assert times[-1] > 0.15


@pytest.mark.parametrize("text", ["no video", ""])
def test_a_file_that_is_none_stops_with_the_reason(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.mp4").write_text(text)
    with watch(f"file:{tmp_path / 'a.mp4'}") as source:
        source.until(lambda s: s.has("stopped"))
    assert "Invalid data" in source.story[-1].reason


def test_the_end_of_a_pipe_is_the_end(tmp_path: Path, clips: SimpleNamespace) -> None:
    data = clips.write(tmp_path / "a.mkv", 10).read_bytes()
    read, write = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(write, data), os.close(write)))
    writer.start()
    with watch(f"pipe:{read}") as source:
        source.until(lambda s: s.has("stopped"))
        assert source.reader.counts.decoded == 10
    writer.join()
    os.close(read)


def test_stop_ends_while_a_pipe_is_silent() -> None:
    read, write = os.pipe()
    reader = LiveReader(LiveSpec("a", f"pipe:{read}"))
    reader.start()
    time.sleep(0.1)
    assert reader.stop(10)
    reader.close()
    os.close(read)
    os.close(write)


@contextlib.contextmanager
def mjpeg_camera(pictures: int) -> Iterator[str]:
    """An HTTP camera that sends so many JPEG pictures, then ends; asks for user and password."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    refused = b"Basic dTpwcA==" not in client.recv(4096)
                    if refused:
                        challenge = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n'
                        client.sendall(challenge + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
                        continue
                    client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n")
                    for number in range(pictures):
                        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 10 * number, np.uint8))[1].tobytes()
                        head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                        client.sendall(head + jpeg + b"\r\n")
                        time.sleep(0.02)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://u:pp@127.0.0.1:{listener.getsockname()[1]}/video?token=geheim"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_http_mjpeg_takes_its_times_from_the_arrival() -> None:
    with mjpeg_camera(20) as url, watch(url) as camera:
        camera.until(lambda c: c.has("backing_off", "connecting", "streaming"))
        assert camera.reader.counts.lost == 0
    assert "mjpeg, software, 64x48" in camera.text
    assert {p.clock for p in camera.pictures} == {"arrival"}
    times = [p.timestamp_s for p in camera.pictures]
    assert times == sorted(times)
    # FFmpeg would make up 25 pictures each second.
    first = [p for p in camera.pictures if p.index <= 20]
    assert first[-1].timestamp_s - first[0].timestamp_s == pytest.approx(first[-1].taken_s - first[0].taken_s, abs=0.01)


def test_a_webcam_that_is_not_there_is_tried_again() -> None:
    with watch("webcam:/dev/video99") as camera:
        camera.until(lambda c: c.states.count("backing_off") == 2)
    assert "No such file or directory; next attempt in 0.1 s" in camera.text


@pytest.mark.parametrize("wanted", ["auto", "cuda", "vaapi", "videotoolbox"])
def test_hardware_that_cannot_be_had_falls_back_and_says_so(
    tmp_path: Path, clips: SimpleNamespace, wanted: str
) -> None:
    with watch(f"file:{clips.write(tmp_path / 'a.mp4', 5)}", hwaccel=wanted) as source:
        source.until(lambda s: s.has("stopped"))
        assert source.reader.counts.decoded == 5
    (fact,) = [event.reason for event in source.story if not event.transition]
    # Whether it can be had depends on the machine; this codec is none that hardware decodes.
    assert fact.startswith("mpeg4, software, 64x48")
    assert f"({wanted} was asked for: " in fact


def test_whatever_goes_wrong_in_the_thread_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(spec: LiveSpec, stopped: object) -> None:
        raise KeyError(spec.url)

    monkeypatch.setattr("auflow.stages.decode.live.session.open_live", broken)
    with watch("rtsp://someone:geheim@cam/x") as camera:
        camera.until(lambda c: c.states.count("backing_off") == 2)
        assert camera.reader.counts.refused == 2
    assert camera.text.startswith("\nKeyError: '…'; next attempt")


def test_a_system_without_threads_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("auflow.stages.decode.live.session.Session.start", broken)
    with watch("rtsp://cam/x") as camera:
        camera.until(lambda c: c.has("connecting", "backing_off", "connecting", "backing_off"))
        monkeypatch.undo()
    assert "can't start new thread; next attempt in 0.1 s" in camera.text


@pytest.mark.parametrize(
    ("error", "told", "refused"),
    [
        (av.error.HTTPUnauthorizedError(1, "x", "rtsp://u:geheim@cam"), "user or password refused", True),
        (av.error.HTTPForbiddenError(1, "x", "rtsp://u:geheim@cam"), "user or password refused", True),
        (av.error.HTTPNotFoundError(1, "x", "rtsp://u:geheim@cam"), "no such path", False),
        (av.error.ExitError(1, "x", "rtsp://u:geheim@cam"), "no answer in time", False),
        (av.error.InvalidDataError(1, "odd data", "rtsp://u:geheim@cam", (1, "rtsp", "geheim")), "odd data", False),
        (ValueError("rtsp://u:geheim@cam is bad"), "ValueError: … is bad", False),
        (UnicodeDecodeError("utf-8", b"geheim", 0, 1, "rtsp://x:y@cam"), "UnicodeDecodeError", False),
    ],
)
def test_no_error_tells_the_password(error: Exception, told: str, refused: bool) -> None:
    text, was_refused = explain(LiveSpec("a", "rtsp://u:geheim@cam"), error)
    assert told in text
    assert was_refused == refused
    assert "geheim" not in text
    assert "x:y" not in text
