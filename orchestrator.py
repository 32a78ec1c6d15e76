"""Works through inputs in separate processes: `auflow run` without --inline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.flow.crew import Crew, Plan
from auflow.flow.job import StreamJob
from auflow.flow.nursery import Nursery
from auflow.flow.supervision import Limits, Supervisor
from auflow.flow.topology import plan
from auflow.options import STDIN, RunOptions, output_path
from auflow.report import Reporter, StreamSummary
from auflow.stages.decode.pipe import is_pipe
from auflow.stages.sink.provenance import models_digest
from auflow.telemetry.probe import MODEL_DIGITS, Telemetry

if TYPE_CHECKING:
    from auflow.run_timeline import RunTimeline

__all__ = ["run"]


def run(
    options: RunOptions,
    reporter: Reporter,
    *,
    kit: str = "auflow.flow.stagekit",
    nursery: Nursery | None = None,
    limits: Limits | None = None,
    timeline: RunTimeline | None = None,
) -> list[StreamSummary]:
    """Work through the inputs of `options` in separate processes.

    An input that fails ends with its error in its summary and the others go on. A worker that dies is replaced, and
    its inputs go on from their last checkpoints. The first Ctrl-C (or SIGTERM) ends decoding; what is under way is
    finished and written as NAME.partial.csv, within 5 s. A second one ends all at once.

    Parameters
    ----------
    options : checked
    reporter : told of progress from this thread
    kit : name of the module that makes the stages in the workers (see `auflow.flow.stagekit`)
    nursery : one that has been started already, and is ended here
    limits : of patience and of restarts
    timeline : made of what the workers note, whatever comes of the run

    Returns
    -------
    one summary per input that was begun, in order

    Raises
    ------
    StageError
        Workers died more often than their budget of restarts allows; the inputs that were finished are kept.
    AuflowError
        What a worker could not do without: models (`ModelError`), for instance.
    KeyboardInterrupt
        Ctrl-C came when no input was under way.
    """
    with ExitStack() as stack:
        nursery = stack.enter_context(nursery or Nursery(stdin=STDIN in options.inputs))
        if not options.inputs:
            return []
        topology = plan(options)
        asked, reporter = _telemetry(options, reporter, stack, lambda: crew.metrics_ports)
        if timeline is not None:
            stack.callback(timeline.finish, reporter)  # when the workers are gone
            most = timeline.share(sum(map(len, topology.groups().values())))
            asked = replace(asked, timeline=str(timeline.folder), timeline_records=most)
        supervisor = Supervisor(topology, [_job(options, path) for path in options.inputs], options.began_s, limits)
        what = Plan(topology, options.models_root, options.settings, kit, telemetry=asked)
        crew = Crew(what, supervisor, reporter, nursery, stack)
        crew.until_done()
    if supervisor.error is not None:
        raise supervisor.error
    summaries = supervisor.summaries
    if supervisor.interrupted and not any(summary.interrupted for summary in summaries):
        raise KeyboardInterrupt
    return summaries


def _telemetry(
    options: RunOptions, reporter: Reporter, stack: ExitStack, ports: Callable[[], Mapping[str, int]]
) -> tuple[Telemetry, Reporter]:
    """What the workers are asked to measure, and who hears of it."""
    if options.metrics is None:
        return Telemetry(), reporter
    from auflow.run_metrics import RunMetrics

    asked = Telemetry(metrics=True, models=models_digest(options.settings.model)[:MODEL_DIGITS])
    told = RunMetrics(options.metrics, asked.models, reporter, ports)
    stack.callback(told.close)
    told.note(f"metrics at http://{told.address}/metrics")
    return asked, told


def _job(options: RunOptions, path: Path) -> StreamJob:
    output = str(output_path(options, path))
    return StreamJob(
        name=str(path),
        source=str(path),
        output=output,
        state=output,
        settings=options.settings,
        models_root=str(options.models_root),
        checkpoint_s=options.checkpoint_s,
        once=is_pipe(path),
        resume=options.resume,
    )
