"""The dashboard `Stage latency`: where a frame's time goes, and which stage has no more to give."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from auflow import metrics as m
from auflow.grafana.board import Section, board, label_variable
from auflow.grafana.expressions import RATE, mean, quantile, rate, series
from auflow.grafana.parts import QUANTILE_COLOURS, STAGE_COLOURS, Look, Query, heat, lines

__all__ = ["stage_latency"]

_STAGE = 'stage=~"$stage"'


def stage_latency() -> Dashboard:
    """Time of every stage."""
    stage = label_variable("stage", "Stage", m.STAGE_DURATION, "Stages of the pipeline.", every=True, suffix="_count")
    return board(
        "auflow-stages",
        "Stage latency",
        "Where a frame's time goes, and which stage has no more to give.",
        [
            Section("Where the time goes", [*_time_of_a_frame(), _busy(), _throughput()]),
            Section("Work and wait of each stage", _quantiles()),
            Section("Work, distribution", [_heat("work", m.STAGE_DURATION)]),
            Section("Wait, distribution", [_heat("wait", m.QUEUE_WAIT)]),
            Section("Landmark fit", _fit()),
        ],
        [stage],
    )


def _time_of_a_frame() -> list[Panel]:
    done = rate(m.FRAMES_DONE)
    return [
        lines(
            f"{title} of a frame, by stage",
            f"{about} Together with the other panel this is about the age of a result.",
            Look("s", 12, 8, low=0, colours=STAGE_COLOURS),
            Query(f"{rate(metric, ('stage',), '_sum', where=_STAGE)} / scalar({done})", "{{stage}}"),
            stacked=True,
        )
        for title, metric, about in (
            ("Work", m.STAGE_DURATION, "Time that stages work for one frame with a result."),
            ("Wait", m.QUEUE_WAIT, "Time that one frame with a result has waited for stages."),
        )
    ]


def _busy() -> Panel:
    return lines(
        "Saturation, by worker",
        "Share of the time that a worker works on frames. At 100 % it can take no more: live streams then drop "
        "pictures, recordings just take as long as they take.",
        Look("percentunit", 12, 8, low=0, high=1, steps=((0.9, "red"),), colours=STAGE_COLOURS),
        Query(rate(m.STAGE_DURATION, ("worker", "stage"), "_sum", where=_STAGE), "{{stage}} ({{worker}})"),
    )


def _throughput() -> Panel:
    return lines(
        "Frames, by stage",
        "Frames a second that each stage has worked on. Detection is asked only where a face has to be looked for.",
        Look("suffix: fps", 12, 8, low=0, colours=STAGE_COLOURS),
        Query(rate(m.STAGE_DURATION, ("stage",), "_count", where=_STAGE), "{{stage}}"),
    )


def _quantiles() -> list[Panel]:
    return [
        lines(
            f"{title}, p{q * 100:g}",
            f"{about} {q * 100:g} of 100 frames stay below.",
            Look("s", 12, 8, low=0, colours=STAGE_COLOURS),
            Query(quantile(q, metric, ("stage",), where=_STAGE), "{{stage}}"),
        )
        for title, metric, about in (
            ("Work", m.STAGE_DURATION, "Time that a stage works on one frame."),
            ("Wait", m.QUEUE_WAIT, "Time that a frame waits for a stage, from the stage before."),
        )
        for q in (0.5, 0.99)
    ]


def _heat(title: str, metric: m.Metric) -> Panel:
    buckets = f"sum by (le) (increase({series(metric, '_bucket', where=_STAGE)}[{RATE}]))"
    panel = heat(
        f"$stage, {title}",
        f"How the times of single frames spread ({title}). A second band means that some frames go another way.",
        Look("s", 8, 7),
        buckets,
    )
    panel.repeat, panel.repeat_direction, panel.max_per_row = "stage", "h", 3
    return panel


def _fit() -> list[Panel]:
    converged, ended = rate(m.CLNF_CONVERGED), rate(m.CLNF_OPTIMISATIONS)
    return [
        lines(
            "Iterations of a fit",
            "Iterations of all optimisations of one landmark fit. More of them cost the CLNF stage its time.",
            Look("none", 12, 8, low=0, colours=QUANTILE_COLOURS | {"mean": "blue"}),
            Query(mean(m.CLNF_ITERATIONS), "mean"),
            *(Query(quantile(q, m.CLNF_ITERATIONS), f"p{q * 100:g}") for q in (0.5, 0.99)),
        ),
        lines(
            "Optimisations that converged",
            "Share that ended by their criterion, before their limit of iterations. It is low by design, as in the C++ "
            "program: look for changes.",
            Look("percentunit", 12, 8, low=0, colours={"converged": "blue"}),
            Query(f"{converged} / {ended}", "converged"),
        ),
    ]
