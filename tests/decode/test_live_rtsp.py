"""A reader against a real RTSP server and everything that it can do wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from auflow.stages.decode.live import LiveSpec, Patience, SourceState
from auflow.stages.decode.live.reader import LiveReader
from auflow.tests.decode.live_tools import PATIENCE, Watched, watch
from auflow.tests.decode.rtsp_server import Clip, RtspServer, encode


@pytest.fixture(scope="module")
def clips_by_size() -> dict[str, Clip]:
    return {"small": encode((64, 48)), "large": encode((96, 64))}


@pytest.fixture
def server(clips_by_size: dict[str, Clip]) -> Iterator[RtspServer]:
    with RtspServer(clips_by_size["small"], speed=6) as server:
        yield server


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_picture_comes_through(server: RtspServer, transport: str) -> None:
    server.limit = 30
    with watch(server.url, rtsp_transport=transport) as camera:
        camera.until(lambda c: c.has("backing_off"))
        counts = camera.reader.counts
    assert "h264, software, 64x48" in camera.text
    assert "the server ended the stream; next attempt in 0.1 s" in camera.text
    assert camera.states == ["connecting", "streaming", "backing_off"]
    assert (counts.decoded, counts.lost, counts.corrupt, counts.faults) == (30, 0, 0, 1)
    indices = [picture.index for picture in camera.pictures]
    assert indices == sorted(set(indices))
    times = [picture.timestamp_s for picture in camera.pictures]
    assert times == sorted(times)
    assert times[-1] - times[1] == pytest.approx((indices[-1] - indices[1]) / 25, abs=0.002)


def test_pixels_are_those_of_the_clip(server: RtspServer) -> None:
    with watch(server.url) as camera:
        camera.until(lambda c: len(c.pictures) > 2)
    out = np.empty((48, 64, 3), np.uint8)
    camera.pictures[-1].write_into(out)
    # The ramp of the synthetic clip: three grey levels per pixel along both axes.
    steps = np.diff(out[:, :, 0].astype(int), axis=1)
    assert np.median(steps) == pytest.approx(3, abs=1)


def test_sender_reports_give_the_wall_clock_of_the_camera(server: RtspServer) -> None:
    server.wall_offset_s, server.speed = 1000.0, 1
    with watch(server.url) as camera:
        camera.until(lambda c: len(c.pictures) > 5)
    assert {p.clock for p in camera.pictures[1:]} == {"rtcp"}
    # It was captured before it arrived, and arrived before now.
    ages = [time.time() + 1000 - p.captured_s for p in camera.pictures[1:]]
    assert all(0 < age < 20 for age in ages)


def test_without_sender_reports_the_arrival_counts(server: RtspServer) -> None:
    server.reports = False
    with watch(server.url) as camera:
        camera.until(lambda c: len(c.pictures) > 5)
    assert {p.clock for p in camera.pictures} == {"arrival"}
    assert all(0 <= time.time() - p.captured_s < 20 for p in camera.pictures)


def test_a_reset_is_answered_by_a_new_connection(server: RtspServer) -> None:
    with watch(server.url) as camera:
        camera.until(lambda c: len(c.pictures) > 12)
        server.cut(reset=True)
        camera.until(lambda c: c.has("backing_off", "connecting", "streaming") and len(c.pictures) > 20)
        counts = camera.reader.counts
    assert (counts.reconnects, counts.faults, counts.refused) == (1, 1, 0)
    times = [p.timestamp_s for p in camera.pictures]
    assert times == sorted(times)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stall_is_told_before_the_connection_is_given_up(server: RtspServer, transport: str) -> None:
    with watch(server.url, rtsp_transport=transport) as camera:
        camera.until(lambda c: len(c.pictures) > 12)
        server.faults.kind = "stall"
        camera.until(lambda c: c.has("streaming", "stalled", "backing_off"))
        server.faults.kind = ""
        camera.until(lambda c: c.has("streaming"))
    assert "no picture for " in camera.text


def test_a_short_stall_keeps_the_connection(server: RtspServer) -> None:
    patience = Patience(stalled_after_s=0.3, picture_timeout_s=60)
    with watch(server.url, patience=patience, read_timeout_s=60) as camera:
        camera.until(lambda c: len(c.pictures) > 2)
        server.faults.kind = "stall"
        camera.until(lambda c: c.has("stalled"))
        server.faults.kind = ""
        camera.until(lambda c: c.has("stalled", "streaming"))
        assert camera.reader.counts.reconnects == 0
        server.cut()  # else the thread would sit out its long time-out


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_wrong_password_backs_off_for_long_and_is_told(
    server: RtspServer, auth: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server.auth = auth
    with watch(server.url.replace("//", "//user:geheim@")) as camera:
        camera.until(lambda c: c.has("backing_off"))
        assert camera.reader.counts.refused == 1
    assert "user or password refused" in camera.text
    assert "next attempt in 1000.0 s" in camera.text
    told = camera.text + repr(camera.reader.spec) + repr(camera.story) + "".join(capfd.readouterr())
    assert "geheim" not in told


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_the_right_password_with_special_characters(
    server: RtspServer, auth: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    server.auth = auth
    monkeypatch.setenv("CAM_PASSWORD", server.password)
    with watch(server.url, username=server.user, password_env="CAM_PASSWORD") as camera:
        camera.until(lambda c: c.pictures)
        server.cut(reset=True)
        camera.until(lambda c: c.has("backing_off", "connecting", "streaming"))
    told = camera.text + repr(camera.reader.spec) + repr(camera.story) + "".join(capfd.readouterr())
    assert server.password not in told
    assert "p%40ss" not in told


def test_a_missing_password_is_told(server: RtspServer) -> None:
    with watch(server.url, username="u", password_env="NOT_THERE") as camera:
        camera.until(lambda c: c.has("backing_off"))
    assert "the environment variable NOT_THERE is not set" in camera.text


def test_a_busy_server_is_asked_again(server: RtspServer) -> None:
    server.faults.kind = "503"
    with watch(server.url) as camera:
        camera.until(lambda c: c.states.count("backing_off") == 3)
        server.faults.kind = ""
        assert camera.reader.counts.refused == 3
    told = [event.reason for event in camera.story if event.state is SourceState.BACKING_OFF]
    assert all("refuses for now (5xx, busy or out of order)" in reason for reason in told)
    assert [reason[-5:] for reason in told[:3]] == ["0.1 s", "0.2 s", "0.3 s"]


def test_no_server_and_a_mute_one(server: RtspServer) -> None:
    server.faults.kind = "mute"
    with watch(server.url, open_timeout_s=0.3) as camera:
        camera.until(lambda c: c.has("backing_off"))
    assert "no answer in time" in camera.text
    with watch("rtsp://127.0.0.1:1/x") as camera:
        camera.until(lambda c: c.has("backing_off"))
    assert "Connection refused" in camera.text


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_lost_packets_are_counted(server: RtspServer, transport: str) -> None:
    server.faults.loss, server.limit = 0.1, 120
    with watch(server.url, rtsp_transport=transport) as camera:
        camera.until(lambda c: c.reader.counts.faults == 1)
        counts = camera.reader.counts
    assert server.sent.lost > 5
    assert counts.decoded < 120
    assert counts.lost + counts.corrupt > 0
    first, last = camera.pictures[1], camera.pictures[-1]
    passed = round((last.timestamp_s - first.timestamp_s) * 25)
    assert counts.lost == pytest.approx(passed - (last.index - first.index), abs=3)


def test_the_size_may_change_on_reconnect(server: RtspServer, clips_by_size: dict[str, Clip]) -> None:
    with watch(server.url) as camera:
        camera.until(lambda c: c.pictures)
        server.clip = clips_by_size["large"]
        server.cut()
        camera.until(lambda c: c.pictures[-1].width_px == 96)
    assert {(p.width_px, p.height_px) for p in camera.pictures} == {(64, 48), (96, 64)}
    assert "pictures are 96x64 now" in camera.text
    out = np.empty((64, 96, 3), np.uint8)
    camera.pictures[-1].write_into(out)


def test_garbage_ends_the_connection_not_the_reader(server: RtspServer) -> None:
    server.faults.kind, server.faults.pictures = "garbage", 15
    with watch(server.url) as camera:
        camera.until(lambda c: c.reader.counts.faults >= 1)
        server.faults.kind = ""
        camera.until(lambda c: c.has("streaming"))


def test_pause_disconnects_and_resume_connects(server: RtspServer) -> None:
    with watch(server.url) as camera:
        camera.until(lambda c: c.pictures)
        camera.reader.pause()
        time.sleep(0.3)
        camera.until(lambda c: c.has("paused"))
        before = camera.reader.counts
        assert before.waiting == 0
        assert camera.reader.take() is None
        sent = server.sent.pictures
        time.sleep(0.5)
        assert camera.reader.counts == before
        assert server.sent.pictures <= sent + 2
        camera.reader.resume()
        camera.until(lambda c: c.has("paused", "connecting", "streaming"))


def test_an_old_picture_is_not_given(server: RtspServer) -> None:
    server.limit = 5
    with watch(server.url, patience=Patience()) as camera:
        deadline_s = time.monotonic() + 10
        while camera.reader.counts.faults == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert camera.reader.take(max_age_s=0.0) is None
        counts = camera.reader.counts
    assert (counts.decoded, counts.superseded, counts.too_old, counts.taken) == (5, 4, 1, 0)


@pytest.mark.parametrize("at", ["connecting", "streaming", "stalled", "backing_off", "paused", "not started"])
def test_stop_ends_in_every_state_and_leaves_nothing(server: RtspServer, at: str) -> None:
    before = len(os.listdir("/dev/fd")), set(threading.enumerate())
    reader = LiveReader(LiveSpec("a", server.url, open_timeout_s=0.5, read_timeout_s=0.7), patience=PATIENCE)
    if at == "connecting":
        server.faults.kind = "mute"
    if at != "not started":
        reader.start()
    camera = Watched(reader)
    if at in ("streaming", "stalled"):
        camera.until(lambda c: c.has("streaming"))
    if at == "stalled":
        server.faults.kind = "stall"
        camera.until(lambda c: c.has("stalled"))
    if at == "backing_off":
        server.auth = "basic"
        camera.until(lambda c: c.has("backing_off"))
    if at == "paused":
        reader.pause()
    assert reader.stop(10.0)
    assert reader.state is SourceState.STOPPED
    reader.close()
    server.cut()
    deadline_s = time.monotonic() + 10
    while len(os.listdir("/dev/fd")) > before[0] or set(threading.enumerate()) - before[1]:
        assert time.monotonic() < deadline_s, (os.listdir("/dev/fd"), before, threading.enumerate())
        time.sleep(0.05)


def test_many_reconnects_leave_no_descriptor_or_thread(server: RtspServer) -> None:
    server.limit = 3
    patience = Patience(ladder_s=(0.0,), jitter=0.0)
    with watch(server.url, patience=patience) as camera:
        camera.until(lambda c: c.reader.counts.reconnects == 5)
        before = len(os.listdir("/dev/fd")), threading.active_count()
        camera.until(lambda c: c.reader.counts.reconnects == 25)
        after = len(os.listdir("/dev/fd")), threading.active_count()
    # The moment of counting falls anywhere into a connection: its few descriptors and threads come and go.
    assert after[0] - before[0] < 10
    assert after[1] - before[1] < 5
