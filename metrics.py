"""Every metric of auflow, declared once: name, kind, meaning, labels. Whoever measures or shows one takes it from here.

Names and units follow Prometheus' conventions: seconds and bytes, counters end in `_total`. Labels take few values: a
stage, a stream, a reason, a group of workers, an Action Unit; never a process number, an address or a face. The process
that tells a metric is the label `worker`, which its target has, or which the one target for all adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ALL", "Kind", "Metric"]


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"  # `_sum` and `_count`


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str  # of the samples; a summary's and a histogram's without their suffix
    kind: Kind
    meaning: str  # Prometheus' help
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper edges, of a histogram


# Periods of frames at 1000 to 10 per second, and what is longer than any should take.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.0167, 0.025, 0.0333, 0.05, 0.0667, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ITERATIONS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 100.0, 150.0, 200.0, 500.0)
STAGES = ("decode", "detect", "clnf", "au", "sink")
STATES = (
    "waiting", "connecting", "running", "streaming", "stalled", "backing_off", "paused", "restarting", "ending",
    "stopped", "ended", "interrupted", "removed", "finished", "failed",
)  # fmt: skip

# Told by each worker

STAGE_DURATION = Metric(
    "auflow_stage_duration_seconds",
    Kind.HISTOGRAM,
    "Time that a stage worked on one frame.",
    ("stage",),
    SECONDS,
)
QUEUE_WAIT = Metric(
    "auflow_queue_wait_seconds",
    Kind.HISTOGRAM,
    "Time that a frame waited for a stage, from the stage before.",
    ("stage",),
    SECONDS,
)
FRAME_AGE = Metric(
    "auflow_frame_age_seconds",
    Kind.HISTOGRAM,
    "Time from a frame's arrival, decoded, to its result.",
    ("stream",),
    SECONDS,
)
QUEUE_DEPTH = Metric("auflow_queue_depth", Kind.GAUGE, "Frames that wait for a stage or are in its work.", ("stage",))
CREDITS = Metric("auflow_credits", Kind.GAUGE, "Frames that a stage may still hand to the next one.", ("stage",))
RING_SLOTS = Metric("auflow_ring_slots", Kind.GAUGE, "Frames that the lane's ring holds.")
RING_SLOTS_FREE = Metric("auflow_ring_slots_free", Kind.GAUGE, "Slots of the lane's ring that nobody uses.")
CLNF_ITERATIONS = Metric(
    "auflow_clnf_iterations", Kind.HISTOGRAM, "Iterations of all optimisations of one fit.", (), ITERATIONS
)
CLNF_OPTIMISATIONS = Metric("auflow_clnf_optimisations_total", Kind.COUNTER, "Optimisations of the landmark fits.")
CLNF_CONVERGED = Metric(
    "auflow_clnf_optimisations_converged_total",
    Kind.COUNTER,
    "Optimisations that ended by their criterion, before their limit of iterations.",
)
FACES_TRACKED = Metric("auflow_faces_tracked", Kind.GAUGE, "Faces that were tracked in the last frame.", ("stream",))
FACE_CONFIDENCE = Metric(
    "auflow_face_confidence", Kind.SUMMARY, "How well the landmarks sit, 0 to 1, by face.", ("stream",)
)
AU_INTENSITY = Metric(
    "auflow_au_intensity", Kind.SUMMARY, "Online intensity of an Action Unit, 0 to 5, by face.", ("stream", "au")
)
DETECTIONS = Metric(
    "auflow_detections_total", Kind.COUNTER, "Times that faces were looked for in a frame.", ("stream",)
)
DESCRIPTORS = Metric(
    "auflow_descriptors_total",
    Kind.COUNTER,
    "Faces with a descriptor for their Action Units, made for the frame or kept from one before.",
    ("stream",),
)
DESCRIPTORS_REUSED = Metric(
    "auflow_descriptors_reused_total",
    Kind.COUNTER,
    "Of these faces, those that kept the one from before, for they had not changed.",
    ("stream",),
)
MESSAGES_REFUSED = Metric(
    "auflow_messages_refused_total", Kind.COUNTER, "Messages between processes that were none, and were dropped."
)
BUILD_INFO = Metric(
    "auflow_build_info",
    Kind.GAUGE,
    "Always 1; the labels tell the version and the digest of the model files.",
    ("version", "models"),
)

# Told by the page's process

WEB_VIEWERS = Metric("auflow_web_viewers", Kind.GAUGE, "Browsers that watch the live page.")
WEB_DROPPED = Metric(
    "auflow_web_messages_dropped_total", Kind.COUNTER, "Messages that a browser was too slow for.", ("reason",)
)

# Told by the orchestrator

READY = Metric("auflow_ready", Kind.GAUGE, "1 while every worker that should be there is.")
GROUP_UP = Metric("auflow_group_up", Kind.GAUGE, "1 while the workers of a group run.", ("group",))
RESTARTS = Metric("auflow_restarts_total", Kind.COUNTER, "Starts of a group after its first.", ("group",))
STREAM_UP = Metric("auflow_stream_up", Kind.GAUGE, "1 while a stream gives pictures.", ("stream",))
STREAM_STATE = Metric(
    "auflow_stream_state", Kind.GAUGE, "1 for the state that a stream is in, 0 for the others.", ("stream", "state")
)
LAST_FRAME = Metric(
    "auflow_last_frame_timestamp_seconds", Kind.GAUGE, "When the last frame was captured, Unix time.", ("stream",)
)
FRAMES = Metric("auflow_frames_total", Kind.COUNTER, "Frames that the source gave.", ("stream",))
FRAMES_DONE = Metric("auflow_frames_done_total", Kind.COUNTER, "Frames with a result.", ("stream",))
FRAMES_DROPPED = Metric(
    "auflow_frames_dropped_total",
    Kind.COUNTER,
    "Frames that no stage saw: a newer one came, too old, paused.",
    ("stream", "reason"),
)
FRAMES_FAILED = Metric("auflow_frames_failed_total", Kind.COUNTER, "Frames that were lost with a worker.", ("stream",))
FRAMES_CORRUPT = Metric("auflow_frames_corrupt_total", Kind.COUNTER, "Pictures that came damaged.", ("stream",))
FRAMES_LOST = Metric(
    "auflow_frames_lost_total", Kind.COUNTER, "Pictures that never arrived, by the gaps in time.", ("stream",)
)
RECONNECTS = Metric("auflow_reconnects_total", Kind.COUNTER, "Connections to a source after its first.", ("stream",))
BUS_PUBLISHED = Metric("auflow_bus_messages_published_total", Kind.COUNTER, "Messages that the sinks have published.")

# Told by `auflow run --metrics`

INPUTS = Metric("auflow_inputs_total", Kind.COUNTER, "Inputs of a run that have ended.", ("state",))
INPUTS_RUNNING = Metric("auflow_inputs_running", Kind.GAUGE, "Inputs of a run that are under way.")

ALL: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
