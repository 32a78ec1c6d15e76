"""What workers note for the timeline: kept after a death, bounded, never in the way; damaged records are left out."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auflow.telemetry.chrome import lines
from auflow.telemetry.probe import Probe, Telemetry, make_probe
from auflow.telemetry.timeline import KINDS, MARK, RECORD, TimelineWriter
from auflow.telemetry.tracks import Track, read_tracks

MOST = 100
SPAN = (0.0, 1000.0)


def probe(folder: Path, worker: str = "clnf-0", *, life: int = 0, most: int = MOST, told: list[str]) -> Probe:
    return make_probe(Telemetry(timeline=str(folder), timeline_records=most), worker, told.append, life=life)


def frames(probe: Probe, numbers: range) -> None:
    for number in numbers:
        probe.worked("clnf", 10.0 + number, 10.5 + number, since_s=9.75 + number, stream=1, frame=number)


def track(folder: Path, most: int = MOST) -> Track:
    (found,) = read_tracks(folder, *SPAN, most)
    return found


def test_what_is_noted_comes_back(tmp_path: Path) -> None:
    told: list[str] = []
    noted = probe(tmp_path, told=told)
    frames(noted, range(1, 3))
    noted.worked("clnf", 50.0, 51.0, stream=2, frame=7, batch=4)
    noted.close()
    noted.worked("clnf", 60.0, 61.0)  # nobody writes it any more
    found = track(tmp_path)
    assert (found.worker, found.role, found.damaged, found.cut_s) == ("clnf-0", "clnf", 0, math.inf)
    names = ["stream", "frame", "batch", "began", "ended", "since"]
    assert found.records[names].tolist() == [
        (1, 1, 1, 11.0, 11.5, 10.75),
        (1, 2, 1, 12.0, 12.5, 11.75),
        (2, 7, 4, 50.0, 51.0, 0.0),
    ]
    assert told == []


def test_what_is_no_frame(tmp_path: Path) -> None:
    noted = probe(tmp_path, told=[])
    with noted.noting("wait", 3, 4):
        pass
    with pytest.raises(ZeroDivisionError), noted.noting("load"):
        raise ZeroDivisionError
    (found,) = read_tracks(tmp_path, 0.0, math.inf, MOST)
    assert [KINDS[kind] for kind in found.records["kind"]] == ["wait", "load"]
    assert found.records[["stream", "frame"]].tolist() == [(3, 4), (-1, 0)]
    assert len(found.of("wait")) == len(found.of("load")) == 1
    assert len(found.of("frame")) == 0
    noted.close()


def test_off_nothing_is_noted() -> None:
    with Probe().noting("wait", 3, 4):
        pass


def test_a_killed_workers_records_are_kept_and_the_next_one_goes_on(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from auflow.telemetry.timeline import TimelineWriter\n"
        "writer = TimelineWriter(pathlib.Path(sys.argv[1]), 'clnf-0', 0, 100, print)\n"
        "for frame in range(1, 6): writer.add('frame', 10.0, 11.0, stream=1, frame=frame)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    with (tmp_path / "clnf-0.records").open("ab") as file:
        file.write(RECORD.pack(MARK, 0, 0, 0, 1, 0, 6, 1.0, 2.0, 0.0)[:17])  # as if it had been in the middle of one
    assert (len(track(tmp_path).records), track(tmp_path).damaged) == (5, 1)
    noted = probe(tmp_path, life=1, told=[])
    frames(noted, range(6, 8))
    noted.close()
    found = track(tmp_path)
    assert found.records["frame"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found.records["life"].tolist() == [0] * 5 + [1] * 2
    assert found.damaged == 0


def test_it_is_bounded_over_all_lives(tmp_path: Path) -> None:
    told: list[str] = []
    for life in range(3):
        noted = probe(tmp_path, life=life, most=5, told=told)
        frames(noted, range(3 * life + 1, 3 * life + 4))
        noted.close()
    found = track(tmp_path)
    assert found.records["frame"].tolist() == [1, 2, 3, 4, 5]
    assert found.cut_s == 15.5  # later nothing is known of it
    assert told == []
    assert (tmp_path / "clnf-0.records").stat().st_size == 5 * RECORD.size == 200


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "clnf-0.records").symlink_to("/dev/full")
    told: list[str] = []
    noted = probe(tmp_path, told=told)
    frames(noted, range(1, 4))
    noted.close()
    assert told == [
        "the timeline ends early, for it cannot be written: No space left on device; results do not depend on it"
    ]


@pytest.mark.parametrize("half", [False, True])
def test_a_disk_that_becomes_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool) -> None:
    told: list[str] = []
    noted = probe(tmp_path, told=told)
    frames(noted, range(1, 3))
    pwrite = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        room = 2 * RECORD.size + 10 * half - at
        if room <= 0:
            raise OSError(28, "No space left on device")
        return pwrite(fd, data[:room], at)

    monkeypatch.setattr(os, "pwrite", full)
    frames(noted, range(3, 6))
    noted.close()
    found = track(tmp_path)
    assert found.records["frame"].tolist() == [1, 2]
    assert (found.cut_s, found.damaged) == (12.5, half)
    assert len(told) == 1


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    told: list[str] = []
    noted = probe(tmp_path / "gone", told=told)
    frames(noted, range(1, 3))
    noted.close()
    assert len(told) == 1
    assert "No such file or directory" in told[0]


GOOD: dict[str, Any] = {
    "mark": MARK, "kind": 0, "last": 0, "life": 0, "batch": 1, "stream": 0, "frame": 1,
    "began": 5.0, "ended": 6.0, "since": 4.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"mark": 0},
        {"kind": len(KINDS)},
        {"batch": 0},
        {"began": 7.0},
        {"began": -1.0},
        {"ended": 1001.0},
        {"began": math.nan},
        {"ended": math.nan},
        {"since": math.nan},
        {"since": -1.0},
        {"since": math.inf},
        {"ended": math.inf},
    ],
)
def test_a_damaged_record_is_left_out(tmp_path: Path, wrong: dict[str, Any]) -> None:
    good = RECORD.pack(*GOOD.values())
    (tmp_path / "au-0.records").write_bytes(good + RECORD.pack(*(GOOD | wrong).values()) + good)
    found = track(tmp_path)
    assert (len(found.records), found.damaged) == (2, 1)


def test_noise_is_read_and_shown_as_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    (tmp_path / "clnf-0.records").write_bytes(rng.bytes(40 * 3000 + 7))
    (tmp_path / "decode-0.records").write_bytes(b"")
    found = read_tracks(tmp_path, *SPAN, 2000)
    assert [(each.worker, len(each.records), each.damaged) for each in found] == [
        ("decode-0", 0, 0),
        ("clnf-0", 0, 2000),
    ]


def test_flipped_bytes_never_stop_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    whole = np.frombuffer(RECORD.pack(*GOOD.values()) * 400, np.uint8).copy()
    whole[rng.integers(0, len(whole), 500)] = rng.integers(0, 256, 500)
    (tmp_path / "clnf-0.records").write_bytes(whole.tobytes())
    found = track(tmp_path, 400)
    assert 0 < found.damaged < 400 == found.damaged + len(found.records)
    text = "".join(lines([found], ["a.avi"], 0.0, (np.zeros(1), np.empty(0)), {}))
    assert len(json.loads(text)["traceEvents"]) == 1 + 2 + len(found.records) + 1


def test_other_files_are_none_of_ours(tmp_path: Path) -> None:
    for name in ("lock", "clnf-0", "clnf-0.records.tmp", "cook-0.records", "clnf--1.records", "clnf-.records"):
        (tmp_path / name).write_bytes(RECORD.pack(*GOOD.values()))
    assert read_tracks(tmp_path, *SPAN, MOST) == []


def test_tracks_stand_by_lane_and_stage(tmp_path: Path) -> None:
    for name in ("sink-1", "clnf-10", "decode-1", "au-0", "detect-0"):
        TimelineWriter(tmp_path, name, 0, MOST, print).close()
    found = [each.worker for each in read_tracks(tmp_path, *SPAN, MOST)]
    assert found == ["detect-0", "au-0", "decode-1", "sink-1", "clnf-10"]


def test_the_documents_form(tmp_path: Path) -> None:
    """As the format's description has it: what Perfetto and Chrome need of each kind of event."""
    frames(probe(tmp_path, told=[]), range(1, 3))
    probe(tmp_path, life=1, told=[]).worked("clnf", 20.0, 20.25, stream=0, frame=3, batch=2)
    writer = TimelineWriter(tmp_path, "clnf-0", 1, MOST, print)
    writer.add("load", 15.0, 16.0)
    writer.add("wait", 20.1, 20.2, stream=0, frame=3)
    writer.close()
    inputs = ['a "b".avi', "\udcff.avi"]  # a name that is not UTF-8
    counter = (np.array([11.0, 12.0, 13.0]), np.array([0.5, 1.0]))
    document = json.loads("".join(lines([track(tmp_path)], inputs, 10.0, counter, {"program": "x"})))
    assert document["displayTimeUnit"] == "ms"
    assert document["otherData"] == {"program": "x"}
    events = document["traceEvents"]
    for event in events:
        assert event["ph"] in "XMC"
        assert isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert (event["tid"], event["cat"] in KINDS) == (1, True)
    assert {e["name"]: e["args"] for e in events if e["ph"] == "M"} == {
        "process_name": {"name": "auflow"},
        "thread_name": {"name": "clnf-0"},
        "thread_sort_index": {"sort_index": 1},
    }
    assert [(e["name"], e["ts"], e["dur"], e["args"]) for e in events if e["ph"] == "X"] == [
        ("clnf 1", 1e6, 5e5, {"frame": 1, "input": "\udcff.avi", "waited_ms": 250.0}),
        ("clnf 2", 2e6, 5e5, {"frame": 2, "input": "\udcff.avi", "waited_ms": 250.0}),
        ("clnf starts", 5e6, 1e6, {"start": 2}),
        ("clnf 3 (of 2)", 10e6, 2.5e5, {"frame": 3, "input": 'a "b".avi', "batch": 2}),
        ("waits for detection", 10.1e6, 1e5, {"frame": 3, "input": 'a "b".avi'}),
    ]
    assert [(e["ts"], e["args"]["processes"]) for e in events if e["ph"] == "C"] == [(1e6, 0.5), (2e6, 1), (3e6, 0)]
