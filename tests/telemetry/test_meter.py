"""What a worker measures comes out as it went in."""

from __future__ import annotations

import pytest

import auflow
from auflow import metrics
from auflow.telemetry.meter import MOST_STREAMS, Meter
from auflow.tests.telemetry.kit import aus, face, labels_of, read, value


@pytest.fixture
def meter() -> Meter:
    return Meter("cafe")


def test_times_are_counted_in_buckets_by_stage(meter: Meter) -> None:
    for took_s in (0.0005, 0.001, 0.03, 20.0):
        meter.worked("clnf", took_s)
    meter.waited("clnf", 0.2)
    meter.worked("au", 0.002)
    found = read(meter.text())
    name = metrics.STAGE_DURATION.name
    assert value(found, f"{name}_count", stage="clnf") == 4
    assert value(found, f"{name}_sum", stage="clnf") == pytest.approx(20.0315)
    assert value(found, f"{name}_bucket", stage="clnf", le="0.001") == 2  # an edge is in its bucket
    assert value(found, f"{name}_bucket", stage="clnf", le="0.0333") == 3
    assert value(found, f"{name}_bucket", stage="clnf", le="10.0") == 3
    assert value(found, f"{name}_bucket", stage="clnf", le="+Inf") == 4
    assert value(found, f"{name}_count", stage="au") == 1
    assert value(found, f"{metrics.QUEUE_WAIT.name}_count", stage="clnf") == 1
    assert {labels["stage"] for labels in labels_of(found, f"{metrics.QUEUE_WAIT.name}_count")} == {"clnf"}


def test_a_stage_that_has_done_nothing_is_there_at_zero(meter: Meter) -> None:
    meter.expect("detect", waits=True)
    meter.expect("decode", waits=False)
    found = read(meter.text())
    for stage in ("detect", "decode"):
        assert value(found, f"{metrics.STAGE_DURATION.name}_count", stage=stage) == 0
    assert [labels["stage"] for labels in labels_of(found, f"{metrics.QUEUE_WAIT.name}_count")] == ["detect"]


def test_convergence_counts_what_was_fitted_only(meter: Meter) -> None:
    meter.fitted([face(optimisations=10, converged=3, iterations=47), face(1), face(2, optimisations=4, iterations=20)])
    found = read(meter.text())
    assert value(found, "auflow_clnf_iterations_count") == 2
    assert value(found, "auflow_clnf_iterations_sum") == 67
    assert value(found, "auflow_clnf_iterations_bucket", le="20.0") == 1
    assert value(found, "auflow_clnf_optimisations_total") == 14
    assert value(found, "auflow_clnf_optimisations_converged_total") == 3


def test_faces_and_their_action_units(meter: Meter) -> None:
    meter.result("door", 0.02, [face(0, confidence=0.8), face(1, success=False, confidence=0.1)], [aus(0), aus(1)])
    meter.result("door", 0.04, [face(0, confidence=0.6)], [aus(0, intensity=9.0)])  # off the scale: OpenFace clips
    meter.result("door", 0.04, [face(0, confidence=0.6)], [aus(0, intensity=9.0, online=2.5)])
    found = read(meter.text())
    assert value(found, "auflow_frame_age_seconds_count", stream="door") == 3
    assert value(found, "auflow_frame_age_seconds_sum", stream="door") == pytest.approx(0.1)
    assert value(found, "auflow_faces_tracked", stream="door") == 1
    assert value(found, "auflow_face_confidence_count", stream="door") == 4
    assert value(found, "auflow_face_confidence_sum", stream="door") == pytest.approx(2.1)
    assert value(found, "auflow_au_intensity_count", stream="door", au="AU12") == 3  # the face that failed has none
    assert value(found, "auflow_au_intensity_sum", stream="door", au="AU12") == pytest.approx(1.0 + 5.0 + 2.5)
    assert len(labels_of(found, "auflow_au_intensity_sum")) == 17


def test_what_was_left_out_is_counted_by_stream(meter: Meter) -> None:
    followed, lost = face(accepted=True), face(1, accepted=False)
    meter.result("door", 0.02, [followed, lost], [aus(0), aus(1)], 2)
    meter.result("door", 0.02, [followed], [aus(0, reused=True)])
    meter.result("door", 0.02, [], [], 1)
    meter.result("hall", 0.02, [followed], [aus(0)])
    found = read(meter.text())
    counts = {
        stream: [
            value(found, f"auflow_{name}_total", stream=stream)
            for name in ("detections", "descriptors", "descriptors_reused")
        ]
        for stream in ("door", "hall")
    }
    assert counts == {"door": [3, 2, 1], "hall": [0, 1, 0]}


def test_a_frame_without_a_face_shows_none(meter: Meter) -> None:
    meter.result("door", 0.02, [face()], [aus()])
    meter.result("door", 0.02, [], [])
    assert value(read(meter.text()), "auflow_faces_tracked", stream="door") == 0
    meter.result("door", 0.02, [face()], [aus()])
    meter.ended("door")
    found = read(meter.text())
    assert value(found, "auflow_faces_tracked", stream="door") == 0
    assert value(found, "auflow_frame_age_seconds_count", stream="door") == 3  # the next scrape wants the last ones
    meter.ended("never")


def test_streams_that_come_and_go_do_not_pile_up(meter: Meter) -> None:
    meter.result("stays", 0.02, [face()], [aus()])
    for number in range(3 * MOST_STREAMS):
        meter.result(f"s{number}", 0.02, [face()], [aus()])
        meter.ended(f"s{number}")
    found = read(meter.text())
    kept = {labels["stream"] for labels in labels_of(found, "auflow_frame_age_seconds_count")}
    assert len(kept) == MOST_STREAMS
    assert {"stays", f"s{3 * MOST_STREAMS - 1}"} <= kept
    assert {labels["stream"] for labels in labels_of(found, "auflow_faces_tracked")} == kept
    meter.result("s0", 0.02, [face()], [aus()])  # comes again
    assert value(read(meter.text()), "auflow_frame_age_seconds_count", stream="s0") == 1


def test_gauges_and_counts_are_read_when_asked(meter: Meter) -> None:
    now = {"depth": 3, "refused": 5}
    meter.gauge(metrics.QUEUE_DEPTH, lambda: now["depth"], stage="clnf")
    meter.gauge(metrics.RING_SLOTS, lambda: 10)
    meter.counter(metrics.MESSAGES_REFUSED, lambda: now["refused"])
    now["depth"] = 4
    found = read(meter.text())
    assert value(found, "auflow_queue_depth", stage="clnf") == 4
    assert value(found, "auflow_ring_slots") == 10
    assert value(found, "auflow_messages_refused_total") == 5
    assert value(found, "auflow_build_info", models="cafe", version=auflow.__version__) == 1
    assert value(found, "process_resident_memory_bytes") > 1e6
    assert not [name for name, _ in found if name.endswith("_created")]
