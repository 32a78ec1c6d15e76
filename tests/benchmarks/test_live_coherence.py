"""The live comparison of trackings: what is asked of the service, and what is made of its counts."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest

from auflow.benchmarks import live_coherence as bench
from auflow.serve.loading import load_config

REASONS = {"superseded": 0, "too_old": 0, "paused": 0}


def asked(*argv: str) -> argparse.Namespace:
    return bench.arguments(["--clip", "a.avi", "--clip", "b.mov", "--cameras", "3", *argv])


def test_cameras_show_the_clips_in_turn_and_one_has_all_faces() -> None:
    found = bench.cameras(asked("--size", "320x180", "--multi-face", "many.avi"))
    assert [(camera.name, str(camera.clip), camera.size, camera.faces) for camera in found] == [
        ("camera0", "a.avi", (320, 180), "widest"),
        ("camera1", "b.mov", (320, 180), "widest"),
        ("camera2", "a.avi", (320, 180), "widest"),
        ("faces", "many.avi", (640, 480), "all"),
    ]


@pytest.mark.parametrize("tracking", bench.MODES)
def test_the_service_takes_the_configuration(tmp_path: Path, tracking: str) -> None:
    cameras = bench.cameras(asked("--multi-face", "many.avi"))
    sources = {camera: f"rtsp://127.0.0.1:{9000 + number}/live" for number, camera in enumerate(cameras)}
    path = tmp_path / "serve.toml"
    path.write_text(bench.configuration(tmp_path, sources, tracking, lanes=2))
    config = load_config(path)
    assert config.workers.live_lanes == 2
    streams = {stream.name: stream for stream in config.streams}
    assert {name: stream.tracking for name, stream in streams.items()} == dict.fromkeys(streams, tracking)
    assert [name for name, stream in streams.items() if stream.identities] == ["faces"] * (tracking == "coherent")
    assert streams["faces"].faces == "all"
    assert streams["camera1"].source == "rtsp://127.0.0.1:9001/live"


def sample(at_s: float, cpu_s: float, done: int, dropped: int, looks: int, faces: int, reused: int) -> dict[str, Any]:
    names = ("auflow_detections_total", "auflow_descriptors_total", "auflow_descriptors_reused_total")
    counts = {"door": (looks, faces, reused), "gate": (0, 0, 0)}
    frames = {"in": 0, "done": done, "failed": 1, "dropped": {**REASONS, "superseded": dropped}, "under_way": 0}
    return {
        "at_s": at_s,
        "cpu_s": cpu_s,
        "streams": {"door": frames, "gate": {**frames, "done": 7}},
        "counters": {
            name: {stream: float(of_stream[place]) for stream, of_stream in counts.items()}
            for place, name in enumerate(names)
        },
    }


@pytest.fixture
def found() -> dict[str, Any]:
    first, last = sample(10.0, 5.0, 100, 4, 8, 90, 9), sample(20.0, 6.5, 400, 6, 11, 340, 59)
    ages_s = {"door": [n / 1000 for n in range(1, 102)]}
    return bench.figures(first, last, ages_s, True)


def test_only_what_happened_between_the_samples_counts(found: dict[str, Any]) -> None:
    assert (found["seconds"], found["done"], found["cpus"]) == (10.0, 300, pytest.approx(0.15))
    assert found["cpu_ms_per_frame"] == pytest.approx(5.0)
    door = found["streams"]["door"]
    assert (door["done"], door["failed"], door["detections"]) == (300, 0, 3)
    assert door["dropped"] == {**REASONS, "superseded": 2}
    assert door["reuse_percent"] == pytest.approx(20.0)
    assert door["age_ms"] == {"p50": 51.0, "p90": 91.0, "p99": 100.0, "max": 101.0}


def test_a_stream_without_results_has_no_ages(found: dict[str, Any]) -> None:
    gate = found["streams"]["gate"]
    assert gate["age_ms"] == dict.fromkeys(("p50", "p90", "p99", "max"))
    assert gate["reuse_percent"] == 0.0
    assert not any(isinstance(value, float) and math.isnan(value) for value in gate.values())


def test_the_table_has_a_line_for_each_stream_and_tracking(found: dict[str, Any]) -> None:
    text = bench.table({"openface": found, "coherent": {**found, "adds_up": False}})
    lines = text.splitlines()
    assert lines[0] == (
        "| stream | tracking | done | superseded | too_old | paused | looks | reused | p50 ms | p90 | p99 | max |"
    )
    assert "| door | coherent | 300 | 2 | 0 | 0 | 3 | 20.0 % | 51.0 | 91.0 | 100.0 | 101.0 |" in lines
    assert "| gate | openface | 0 | 2 | 0 | 0 | 0 | 0.0 % | - | - | - | - |" in lines
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "coherent: 300 frames in 10 s, 5.00 ms of CPU each over all processes, 0.15 CPUs busy" in text
    assert text.rstrip().endswith("in == done + dropped + failed: NO")
