"""Judging memory: growth on made-up courses, long streams made of short clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.benchmarks.clips import copies, describe, repeated, resized
from auflow.benchmarks.memory import ALLOWED_BYTES, allowed_bytes, judge
from auflow.benchmarks.processes import MemorySample, ProcessTrace, TimeSample, TreeTrace
from auflow.errors import InputError
from auflow.stages.decode import open_source

MB = 1_000_000


def course(mb_of_second) -> TreeTrace:
    """A minute of one process that works until second 50; its memory in MB by the second."""
    trace = TreeTrace(0.0)
    seconds = np.arange(0, 60, 0.5)
    memory = [MemorySample(float(s), int(mb_of_second(s) * MB), int(mb_of_second(s) * MB) + MB) for s in seconds]
    times = [TimeSample(float(s), min(float(s), 50.0), 0.0) for s in seconds]
    trace.processes[1] = ProcessTrace(1, "au-0", times, memory)
    trace.totals = memory
    return trace


def test_memory_that_stays_holds() -> None:
    # It fills in the first seconds, breathes afterwards, and takes more at the end of the stream.
    found = judge("x", course(lambda s: min(100 + 10 * s, 200) + 5 * (s % 7 > 5) + 50 * (s > 55)), 0.0, 10_000)
    assert found.holds
    assert found.total.growth_bytes == 0
    assert (found.total.first_half_mb, found.total.peak_pss_mb, found.total.peak_rss_mb) == (205, 255, 256)
    assert found.seconds == pytest.approx(50, abs=1)


def test_leak_is_found() -> None:
    found = judge("x", course(lambda s: 100 + s), 0.0, 10_000)  # 50 MB over 10,000 frames
    assert not found.holds
    assert found.total.bytes_per_frame == pytest.approx(5000, rel=0.05)
    assert found.processes[0].name == "au-0"


def test_what_every_frame_may_keep() -> None:
    assert allowed_bytes(0) == ALLOWED_BYTES
    assert allowed_bytes(100_000) > allowed_bytes(10_000) > ALLOWED_BYTES


def test_too_short_to_be_judged() -> None:
    with pytest.raises(InputError, match="ask for more"):
        judge("x", course(lambda s: 100), 45.0, 50)


def test_long_stream_has_all_frames_in_order(demo_dir: Path, tmp_path: Path) -> None:
    clip = demo_dir / "astronaut.mp4"
    with open_source(clip) as short, open_source(repeated(clip, 3, tmp_path)) as long:
        assert (long.info.width_px, long.info.height_px) == (short.info.width_px, short.info.height_px)
        frames = [np.empty((short.info.height_px, short.info.width_px, 3), np.uint8) for _ in range(2)]
        stamps = []
        while (read := long.read_into(frames[0])) is not None:
            stamps.append(read[1])
            if read[0] == 150:
                third = frames[0].copy()
        assert long.corrupt_frames == 0
        for _ in range(150):
            short.read_into(frames[1])
    assert len(stamps) == 450
    assert np.diff(stamps) == pytest.approx(np.full(449, 0.04), abs=0.002)
    np.testing.assert_array_equal(third, frames[1])


def test_other_size(demo_dir: Path, tmp_path: Path) -> None:
    clip = describe(resized(demo_dir / "astronaut.mp4", 128, 96, tmp_path))
    assert (clip.name, clip.width_px, clip.height_px, clip.frames) == ("astronaut-128x96.mp4", 128, 96, 150)
    assert clip.fps == pytest.approx(25.0)


def test_copies_are_links(demo_dir: Path, tmp_path: Path) -> None:
    clip = demo_dir / "astronaut.mp4"
    first, second = copies(clip, 2, tmp_path)
    assert first.name != second.name
    assert describe(first).sha256 == describe(clip).sha256


def test_folder_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found a folder"):
        describe(tmp_path)
