"""What a status says, as metrics."""

from __future__ import annotations

from typing import Any

import auflow
from auflow import metrics
from auflow.serve.families import OwnMetrics
from auflow.tests.telemetry.kit import Samples, labels_of, read, value

STREAM: dict[str, Any] = {
    "name": "door",
    "state": "streaming",
    "frames": {"in": 110, "done": 100, "failed": 2, "dropped": {"superseded": 5, "too_old": 1, "paused": 0}},
    "reconnects": 3,
    "corrupt": 4,
    "lost": 7,
    "last_frame_age_s": 0.5,
}
STATUS: dict[str, Any] = {
    "state": "degraded",
    "streams": [STREAM, STREAM | {"name": "hall", "state": "backing_off", "last_frame_age_s": None}],
    "lanes": [{"name": "lane-0", "state": "restarting", "restarts": 2}],
    "detectors": [{"name": "detect-0", "state": "running", "restarts": 0}],
    "bus": {"address": "x", "published": 42, "state": "running", "restarts": 1},
}


def told(status: dict[str, Any]) -> Samples:
    own = OwnMetrics("cafe")
    own.update(status)
    return read(own.text())


def test_a_status_as_metrics() -> None:
    found = told(STATUS)
    assert value(found, "auflow_ready") == 0
    assert value(found, "auflow_group_up", group="lane-0") == 0
    assert value(found, "auflow_group_up", group="detect-0") == 1
    assert value(found, "auflow_restarts_total", group="lane-0") == 2
    assert value(found, "auflow_restarts_total", group="bus-0") == 1
    assert value(found, "auflow_stream_up", stream="door") == 1
    assert value(found, "auflow_stream_up", stream="hall") == 0
    assert value(found, "auflow_stream_state", stream="hall", state="backing_off") == 1
    assert sum(value(found, "auflow_stream_state", **labels) for labels in labels_of(found, "auflow_stream_state")) == 2
    assert value(found, "auflow_frames_total", stream="door") == 110
    assert value(found, "auflow_frames_done_total", stream="door") == 100
    assert value(found, "auflow_frames_failed_total", stream="door") == 2
    assert value(found, "auflow_frames_dropped_total", stream="door", reason="superseded") == 5
    assert value(found, "auflow_frames_corrupt_total", stream="door") == 4
    assert value(found, "auflow_frames_lost_total", stream="door") == 7
    assert value(found, "auflow_reconnects_total", stream="door") == 3
    assert value(found, "auflow_bus_messages_published_total") == 42
    assert labels_of(found, "auflow_last_frame_timestamp_seconds") == [{"stream": "door"}]
    assert value(found, "auflow_build_info", models="cafe", version=auflow.__version__)


def test_a_file_that_is_worked_on_is_up_and_one_that_is_removed_is_gone() -> None:
    streams = [STREAM | {"state": "running"}, STREAM | {"name": "gone", "state": "removed"}]
    found = told(STATUS | {"streams": streams, "bus": {"address": "", "published": 0}})
    assert labels_of(found, "auflow_stream_up") == [{"stream": "door"}]
    assert value(found, "auflow_stream_up", stream="door") == 1
    assert {labels["group"] for labels in labels_of(found, "auflow_group_up")} == {"lane-0", "detect-0"}


def test_before_the_first_status_there_is_the_build_only() -> None:
    found = read(OwnMetrics("cafe").text())
    assert labels_of(found, "auflow_build_info")
    assert not labels_of(found, "auflow_stream_up")
    assert value(found, metrics.READY.name) == 0
