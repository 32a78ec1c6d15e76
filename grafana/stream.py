"""The dashboard `Stream`: all about one stream, from its source to the faces in it."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, FieldColorModeId, Panel

from auflow import metrics as m
from auflow.grafana.board import Section, board, label_variable
from auflow.grafana.expressions import RATE, mean, quantile, rate, series, state_class
from auflow.grafana.parts import (
    QUANTILE_COLOURS,
    REASON_COLOURS,
    Look,
    Query,
    bars,
    heat,
    history,
    lines,
    number,
    timeline,
)
from auflow.grafana.states import CLASS_NAMES, CLASSES, STATE_COLOURS

__all__ = ["stream"]

_STREAM = 'stream="$stream"'
_WANTED = f'{_STREAM}, reason!="paused"'
_INTENSE = FieldColorModeId.CONTINUOUS_YL_RD  # as pictures of intensities have it


def stream() -> Dashboard:
    """One stream."""
    about = "Streams as the service's configuration names them."
    variable = label_variable("stream", "Stream", m.STREAM_UP, about, every=False)
    return board(
        "auflow-stream",
        "Stream",
        "All about one stream, from its source to the faces in it.",
        [
            Section("$stream", [*_source_now(), *_results_now()]),
            Section("Source", [_states(), _frames(), _drops(), _bad(), _reconnects()]),
            Section("Age of results", _age()),
            Section("Faces", [_faces(), _confidence()]),
            Section("Action Units", _action_units()),
            Section("Work left out", [_detections(), _reuse()]),
        ],
        [variable],
    )


def _source_now() -> list[Panel]:
    dropped, came = rate(m.FRAMES_DROPPED, where=_WANTED), rate(m.FRAMES, where=_STREAM)
    return [
        number(
            "State",
            "What the stream does now.",
            Look("none", 4, 4, names=CLASS_NAMES, base="text"),
            Query(f"max({state_class(CLASSES, where=_STREAM)})"),
            sparkline=False,
        ),
        number(
            "Last picture",
            "How long ago the last picture was taken that has a result.",
            Look("s", 4, 4, decimals=1, steps=((5, "yellow"), (60, "red"))),
            Query(f"time() - max({series(m.LAST_FRAME, where=_STREAM)})"),
            sparkline=False,
        ),
        number(
            "Dropped",
            "Share of its pictures that no stage saw, without those while it was paused.",
            Look("percentunit", 4, 4, decimals=1, steps=((0.05, "yellow"), (0.2, "red"))),
            Query(f"{dropped} / {came}"),
        ),
    ]


def _results_now() -> list[Panel]:
    return [
        number(
            "Results",
            "Frames with a result, a second.",
            Look("suffix: fps", 4, 4, decimals=1, base="text"),
            Query(rate(m.FRAMES_DONE, where=_STREAM)),
        ),
        number(
            "Age (p99)",
            "Time from a picture's arrival to its result that 99 of 100 stay below.",
            Look("s", 4, 4, decimals=2, steps=((0.5, "yellow"), (1, "red"))),
            Query(quantile(0.99, m.FRAME_AGE, where=_STREAM)),
        ),
        number(
            "Faces",
            "Faces that were tracked in the last frame.",
            Look("none", 4, 4, decimals=0, base="text"),
            Query(f"sum({series(m.FACES_TRACKED, where=_STREAM)})"),
        ),
    ]


def _states() -> Panel:
    return timeline(
        "State",
        "The states that it was in, a row for each. docs/serve.md tells what each means.",
        Look("none", 24, 6, scheme=FieldColorModeId.FIXED, colours=STATE_COLOURS),
        Query(f"max by (state) ({series(m.STREAM_STATE, where=_STREAM)}) > 0", "{{state}}"),
    )


def _frames() -> Panel:
    return lines(
        "Pictures and results",
        "Pictures that the source gave, and frames with a result, a second. What lies between was dropped or failed.",
        Look("suffix: fps", 12, 8, low=0, colours={"came": "blue", "results": "green"}),
        Query(rate(m.FRAMES, where=_STREAM), "came"),
        Query(rate(m.FRAMES_DONE, where=_STREAM), "results"),
    )


def _drops() -> Panel:
    return lines(
        "Dropped, by reason",
        "Pictures a second that no stage saw. superseded: a newer one came before there was room; too_old: it would "
        "have been older than max_age_s; paused: nobody wants them.",
        Look("suffix: fps", 12, 8, low=0, colours=REASON_COLOURS),
        Query(rate(m.FRAMES_DROPPED, ("reason",), where=_STREAM), "{{reason}}"),
        stacked=True,
    )


def _bad() -> Panel:
    return lines(
        "Failed, damaged, lost",
        "failed: lost with a worker; damaged: came with errors in the picture; lost: never arrived, by the gaps "
        "between time stamps.",
        Look("suffix: fps", 12, 7, low=0, colours={"failed": "red", "damaged": "orange", "lost": "yellow"}),
        Query(rate(m.FRAMES_FAILED, where=_STREAM), "failed"),
        Query(rate(m.FRAMES_CORRUPT, where=_STREAM), "damaged"),
        Query(rate(m.FRAMES_LOST, where=_STREAM), "lost"),
    )


def _reconnects() -> Panel:
    return lines(
        "Reconnects",
        "Connections to the source after its first, within the interval of one bar.",
        Look("none", 12, 7, low=0, decimals=0, colours={"reconnects": "orange"}),
        Query(f"sum(increase({series(m.RECONNECTS, where=_STREAM)}[{RATE}]))", "reconnects"),
        drawn_as_bars=True,
    )


def _age() -> list[Panel]:
    return [
        lines(
            "Age",
            "Time from a picture's arrival, decoded, to its result. The dashed lines are half and all of the budget.",
            Look("s", 12, 8, low=0, steps=((0.5, "yellow"), (1, "red")), colours=QUANTILE_COLOURS),
            *(Query(quantile(q, m.FRAME_AGE, where=_STREAM), f"p{q * 100:g}") for q in (0.5, 0.9, 0.99)),
        ),
        heat(
            "Age, distribution",
            "How the ages of single results spread.",
            Look("s", 12, 8),
            f"sum by (le) (increase({series(m.FRAME_AGE, '_bucket', where=_STREAM)}[{RATE}]))",
        ),
    ]


def _faces() -> Panel:
    return lines(
        "Faces",
        "Faces that were tracked in the last frame.",
        Look("none", 12, 7, low=0, decimals=0, colours={"faces": "blue"}),
        Query(f"sum({series(m.FACES_TRACKED, where=_STREAM)})", "faces"),
    )


def _confidence() -> Panel:
    return lines(
        "Confidence",
        "How well the landmarks sit, from 0 to 1, by OpenFace's validator: the mean of all faces.",
        Look("none", 12, 7, low=0, high=1, decimals=2, colours={"confidence": "purple"}),
        Query(mean(m.FACE_CONFIDENCE, where=_STREAM), "confidence"),
    )


def _detections() -> Panel:
    looks = rate(m.DETECTIONS, where=_STREAM)
    return lines(
        "Looks for faces",
        "Times that faces were looked for: in a second, and for each frame with a result. Few while all faces are "
        "followed; one a frame or more where there is nobody, without coherent tracking.",
        Look("none", 12, 7, low=0, decimals=2, colours={"a second": "blue", "a frame": "purple"}),
        Query(looks, "a second"),
        Query(f"{looks} / {rate(m.FRAMES_DONE, where=_STREAM)}", "a frame"),
    )


def _reuse() -> Panel:
    kept, all_faces = rate(m.DESCRIPTORS_REUSED, where=_STREAM), rate(m.DESCRIPTORS, where=_STREAM)
    return lines(
        "Descriptors kept",
        "Share of the faces that kept descriptor and Action Units of an earlier frame, for they had not changed. 0 "
        "without coherent tracking.",
        Look("percentunit", 12, 7, low=0, high=1, decimals=0, colours={"kept": "green"}),
        Query(f"{kept} / {all_faces}", "kept"),
    )


def _action_units() -> list[Panel]:
    activity = mean(m.AU_INTENSITY, ("au",), where=_STREAM)
    return [
        bars(
            "Now",
            "Mean online intensity of each Action Unit, 0 to 5, over all faces of the last interval.",
            Look("none", 8, 14, decimals=1, low=0, high=5, scheme=_INTENSE),
            Query(activity, "{{au}}"),
        ),
        history(
            "Over time",
            "The same over time: the stronger the colour, the stronger the Action Unit, 0 to 5.",
            Look("none", 16, 14, decimals=1, low=0, high=5, scheme=_INTENSE),
            Query(activity, "{{au}}"),
        ),
    ]
