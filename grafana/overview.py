"""The dashboard `Overview`: is the service well, and which stream is not."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from auflow import metrics as m
from auflow.grafana.board import Section, board
from auflow.grafana.expressions import quantile, rate, series, state_class
from auflow.grafana.parts import (
    QUANTILE_COLOURS,
    REASON_COLOURS,
    Column,
    Look,
    Query,
    columns,
    lines,
    number,
    timeline,
)
from auflow.grafana.states import AWAY, CLASS_NAMES, CLASSES, FAILED, ON_ITS_WAY

__all__ = ["overview"]

UNWANTED = 'reason!="paused"'  # drops that nobody asked for
_PLACE = "/d/auflow-stream?${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
_TO_STREAM = ("Show this stream", f"{_PLACE}&var-stream=${{__field.labels.stream}}")
_TO_ROW = ("Show this stream", f"{_PLACE}&var-stream=${{__data.fields.Stream}}")
_AGE_STEPS = ((0.5, "yellow"), (1.0, "red"))
_DROP_STEPS = ((0.05, "yellow"), (0.2, "red"))
_IN_TROUBLE = 'state=~"{}"'.format("|".join((*ON_ITS_WAY, *AWAY, *FAILED)))
_ALERTS = 'ALERTS{job=~"$job", alertname=~"Auflow.+", alertstate="firing"}'


def overview() -> Dashboard:
    """The whole service on one page."""
    return board(
        "auflow-overview",
        "Overview",
        "Is the service well, and which stream is not.",
        [
            Section("", [*_service_now(), *_streams_now()]),
            Section("Streams", [_states(), *_streams()]),
            Section("Drops and restarts", [_drops(), _restarts()]),
            Section("Work left out", _work()),
            Section("Every stream, now", [_table(), _builds()]),
        ],
    )


def _service_now() -> list[Panel]:
    ready = {0.0: ("not ready", "red"), 1.0: ("ready", "green")}
    return [
        number(
            "Service",
            "Ready while every worker that should be there is; of several hosts the worst.",
            Look("none", 3, 4, names=ready, base="red", steps=((1, "green"),)),
            Query(f"min({series(m.READY)})"),
            sparkline=False,
        ),
        number(
            "Alerts",
            "Alerts of auflow's rules that fire now. The runbook tells what each means.",
            Look("none", 3, 4, steps=((1, "red"),)),
            Query(f"count({_ALERTS}) or vector(0)"),
            sparkline=False,
        ),
        number(
            "Restarts in an hour",
            "Groups of workers that were started again within the last hour.",
            Look("none", 3, 4, decimals=0, steps=((1, "yellow"), (4, "red"))),
            Query(f"sum(increase({series(m.RESTARTS)}[1h]))"),
        ),
    ]


def _streams_now() -> list[Panel]:
    dropped, came = rate(m.FRAMES_DROPPED, where=UNWANTED), rate(m.FRAMES)
    return [
        number(
            "Streams that give pictures",
            "Streams whose source gives pictures now.",
            Look("none", 3, 4, base="text"),
            Query(f"sum({series(m.STREAM_UP)})"),
        ),
        number(
            "Streams in trouble",
            "Streams that should give pictures and do not: connecting, stalled, waiting to connect again, or failed.",
            Look("none", 3, 4, steps=((1, "orange"),)),
            Query(f"sum({series(m.STREAM_STATE, where=_IN_TROUBLE)})"),
        ),
        number(
            "Results",
            "Frames with a result, a second, of all streams.",
            Look("suffix: fps", 3, 4, decimals=1, base="text"),
            Query(rate(m.FRAMES_DONE)),
        ),
        number(
            "Age of the worst stream (p99)",
            "Time from a picture's arrival to its result that 99 of 100 stay below, of the stream where it is longest.",
            Look("s", 3, 4, decimals=2, steps=_AGE_STEPS),
            Query(f"max({quantile(0.99, m.FRAME_AGE, ('instance', 'stream'))})"),
        ),
        number(
            "Dropped",
            "Share of the pictures that no stage saw, without those of paused streams.",
            Look("percentunit", 3, 4, decimals=1, steps=_DROP_STEPS),
            Query(f"{dropped} / {came}"),
        ),
    ]


def _states() -> Panel:
    return timeline(
        "What each stream does",
        "Green gives pictures; yellow connects, waits for its lane or is started again; orange has stalled or waits to "
        "connect again; blue is paused; grey is over; red has failed and needs somebody.",
        Look("none", 24, 7, names=CLASS_NAMES, link=_TO_STREAM),
        Query(state_class(CLASSES), "{{stream}}"),
    )


def _streams() -> list[Panel]:
    return [
        lines(
            "Results by stream",
            "Frames with a result, a second.",
            Look("suffix: fps", 12, 8, low=0, link=_TO_STREAM),
            Query(rate(m.FRAMES_DONE, ("stream",)), "{{stream}}"),
        ),
        lines(
            "Age of results, all streams",
            "Time from a picture's arrival, decoded, to its result. The dashed lines are half and all of the budget.",
            Look("s", 12, 8, low=0, steps=_AGE_STEPS, colours=QUANTILE_COLOURS),
            *(Query(quantile(q, m.FRAME_AGE), f"p{q * 100:g}") for q in (0.5, 0.9, 0.99)),
        ),
        lines(
            "Age by stream, p50",
            "Half of a stream's results are younger.",
            Look("s", 12, 8, low=0, link=_TO_STREAM),
            Query(quantile(0.5, m.FRAME_AGE, ("stream",)), "{{stream}}"),
        ),
        lines(
            "Age by stream, p99",
            "99 of 100 of a stream's results are younger. The alert AuflowAgeAboveBudget fires above 1 s.",
            Look("s", 12, 8, low=0, steps=((1.0, "red"),), link=_TO_STREAM),
            Query(quantile(0.99, m.FRAME_AGE, ("stream",)), "{{stream}}"),
        ),
    ]


def _drops() -> Panel:
    return lines(
        "Dropped, by reason",
        "Pictures a second that no stage saw. superseded: a newer one came before there was room; too_old: it would "
        "have been older than max_age_s; paused: nobody wants them.",
        Look("suffix: fps", 12, 8, low=0, colours=REASON_COLOURS),
        Query(rate(m.FRAMES_DROPPED, ("reason",)), "{{reason}}"),
        stacked=True,
    )


def _restarts() -> Panel:
    return lines(
        "Restarts, by group",
        "Groups of workers that were started again, within the interval of one bar. A group is a lane, a detector, or "
        "the bus.",
        Look("none", 12, 8, low=0, decimals=0),
        Query(f"sum by (group) (increase({series(m.RESTARTS)}[$__rate_interval]))", "{{group}}"),
        drawn_as_bars=True,
    )


def _work() -> list[Panel]:
    by = ("stream",)
    looks = rate(m.DETECTIONS, by)
    return [
        lines(
            "Looks for faces, a second",
            "Times that faces were looked for, by stream: the dearest work of all.",
            Look("suffix: /s", 8, 7, low=0, decimals=1, link=_TO_STREAM),
            Query(looks, "{{stream}}"),
        ),
        lines(
            "Looks for faces, a frame",
            "The same for each frame with a result.",
            Look("none", 8, 7, low=0, decimals=2, link=_TO_STREAM),
            Query(f"{looks} / {rate(m.FRAMES_DONE, by)}", "{{stream}}"),
        ),
        lines(
            "Descriptors kept",
            "Share of the faces that kept descriptor and Action Units of an earlier frame, for they had not changed. 0 "
            "without coherent tracking.",
            Look("percentunit", 8, 7, low=0, high=1, decimals=0, link=_TO_STREAM),
            Query(f"{rate(m.DESCRIPTORS_REUSED, by)} / {rate(m.DESCRIPTORS, by)}", "{{stream}}"),
        ),
    ]


def _table() -> Panel:
    by = ("instance", "stream")
    reconnects = f"sum by (instance, stream) (increase({series(m.RECONNECTS)}[1h]))"
    dropped, came = rate(m.FRAMES_DROPPED, by, where=UNWANTED, window="5m"), rate(m.FRAMES, by, window="5m")
    return columns(
        "Streams",
        "The last five minutes of each stream; the drops leave out those of paused streams.",
        Look(
            "none",
            16,
            8,
            link=_TO_ROW,
        ),
        {"stream": "Stream", "instance": "Host"},
        Column("Came", came, "suffix: fps", 1),
        Column("Results", rate(m.FRAMES_DONE, by, window="5m"), "suffix: fps", 1),
        Column("Age p50", quantile(0.5, m.FRAME_AGE, by, window="5m"), "s", 2),
        Column("Age p99", quantile(0.99, m.FRAME_AGE, by, window="5m"), "s", 2, _AGE_STEPS),
        Column("Dropped", f"{dropped} / {came}", "percentunit", 1, _DROP_STEPS),
        Column("Reconnects, 1 h", reconnects, "none", 0, ((3, "orange"),)),
    )


def _builds() -> Panel:
    return columns(
        "Versions",
        "What runs: auflow's version and the digest of its model files, with the number of processes. More than one "
        "line means that hosts differ.",
        Look("none", 8, 8),
        {"version": "auflow", "models": "Models", "instance": "Host"},
        Column("Processes", f"count by (version, models, instance) ({series(m.BUILD_INFO)})", "none", 0),
    )
