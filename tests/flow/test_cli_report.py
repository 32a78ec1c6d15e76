"""What the user is told while a run goes on and when it ends."""

from __future__ import annotations

import io
import threading
from dataclasses import replace

import pytest

from auflow.report import BarReporter, PlainReporter, StreamSummary, cut_short_warning, describe, make_reporter
from auflow.stages.records import SourceInfo
from auflow.stages.statistics import Coherence, Convergence, StreamStatistics, StreamTally


def info(frame_count: int | None = 100) -> SourceInfo:
    return SourceInfo("in/[b]a.mp4", "video", 64, 48, 25.0, frame_count)


def summary(**changes: object) -> StreamSummary:
    values = {
        "path": "in/[b]a.mp4",
        "output": "out/a.csv",
        "frames": 100,
        "successes": 75,
        "corrupt_frames": 0,
        "seconds": 4.0,
        "interrupted": False,
        "error": None,
    }
    return StreamSummary(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "[b]a.mp4: 100 frames in 4.0 s (25.0 fps), a face in 75 (75.0 %). Written to out/a.csv"),
        (
            {"corrupt_frames": 1, "interrupted": True, "output": "out/a.partial.csv"},
            "[b]a.mp4: 100 frames in 4.0 s (25.0 fps), a face in 75 (75.0 %). 1 corrupt picture (damaged or lost). "
            "Interrupted before its end. Written to out/a.partial.csv",
        ),
        (
            {"frames": 0, "successes": 0, "seconds": 0.0, "interrupted": True, "output": None},
            "[b]a.mp4: 0 frames in 0.0 s, a face in 0. Interrupted before its end. Nothing was written.",
        ),
        (
            {"failed_frames": 1, "restarts": 2},
            "[b]a.mp4: 100 frames in 4.0 s (25.0 fps), a face in 75 (75.0 %). 1 frame failed: no stage could work on "
            "it. Workers were started again 2 times. Written to out/a.csv",
        ),
        (
            {"failed_frames": 3, "restarts": 1},
            "[b]a.mp4: 100 frames in 4.0 s (25.0 fps), a face in 75 (75.0 %). 3 frames failed: no stage could work on "
            "them. Workers were started again 1 time. Written to out/a.csv",
        ),
        ({"output": None, "error": "in/a.mp4: no such file"}, "auflow: error: in/a.mp4: no such file"),
    ],
)
def test_paragraph(changes: dict[str, object], text: str) -> None:
    assert describe(summary(**changes)) == text


def test_second_line_tells_convergence_and_latency() -> None:
    tally = StreamTally(lambda: 8.0)
    for took_s in [0.02] * 97 + [0.05] * 2 + [1.0]:
        tally.written(8.0 - took_s, ())
    statistics = replace(tally.statistics(), convergence=Convergence(100, 3, 1400, 700, 6995))
    lines = describe(summary(statistics=statistics, first_result_s=1.234)).splitlines()
    assert lines[0] == describe(summary())
    assert lines[1:] == [
        "  70.0 iterations a fit, 50.0 % of the optimisations converged; "
        "latency p50 20.0 ms, p95 20.0 ms, p99 49.7 ms; first result after 1.23 s"
    ]


def test_second_line_tells_what_was_left_out() -> None:
    statistics = StreamStatistics(coherence=Coherence(detections=12, faces=80, reused=10))
    told = summary(statistics=statistics)
    assert describe(told).splitlines()[1:] == ["  faces looked for 12 times"]
    assert describe(told, coherent=True).splitlines()[1:] == [
        "  faces looked for 12 times; 12.5 % of the descriptors kept"
    ]
    nobody = summary(statistics=StreamStatistics(coherence=Coherence(detections=100)))
    assert describe(nobody, coherent=True).splitlines()[1:] == ["  faces looked for 100 times"]


@pytest.mark.parametrize("reporter", [PlainReporter, BarReporter])
def test_other_words_for_the_end_of_an_input(reporter: type) -> None:
    written = io.StringIO()
    told = reporter(written, words=lambda ended: "" if ended.error is None else f"no: {ended.error}")
    for each in (summary(), summary(), summary(error="torn")):
        told.stream_finished(each)
    told.close()
    assert [line for line in written.getvalue().splitlines() if line.strip()] == ["no: torn"]  # and no total of one


def test_bars_that_no_thread_draws() -> None:
    words = io.StringIO()
    words.isatty = lambda: True  # type: ignore[method-assign]
    before = threading.active_count()
    reporter = make_reporter(quiet=False, stream=words, threaded=False)
    reporter.stream_started(info())
    assert threading.active_count() == before
    reporter.advanced("in/[b]a.mp4", 7)  # draws by itself
    assert "7/" in words.getvalue()
    drawn = len(words.getvalue())
    reporter.advanced("in/[b]a.mp4", 8)  # so soon after the last time it does not
    assert len(words.getvalue()) == drawn
    reporter.stream_finished(summary())
    reporter.close()


def test_no_second_line_without_frames_or_a_result() -> None:
    assert len(describe(summary(frames=0, successes=0)).splitlines()) == 1
    error = summary(output=None, error="in/a.mp4: broken", statistics=StreamStatistics(Convergence(5, 1, 70, 3, 350)))
    assert describe(error) == "auflow: error: in/a.mp4: broken"


class Clock:
    """Seconds that pass when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_plain_lines_are_rare_and_know_the_time_left() -> None:
    clock, words = Clock(), io.StringIO()
    reporter = PlainReporter(words, clock=clock)
    reporter.stream_started(info())
    for frame in range(1, 101):
        clock.now_s += 0.125  # exact in binary
        reporter.advanced("in/[b]a.mp4", frame)
    reporter.stream_finished(summary())
    reporter.close()
    assert words.getvalue().splitlines() == [
        "[b]a.mp4: 40 of 100 frames, 8.0 fps, 8 s left",
        "[b]a.mp4: 80 of 100 frames, 8.0 fps, 2 s left",
        describe(summary()),
    ]


def test_quiet_tells_errors_and_warnings_only() -> None:
    clock, words = Clock(), io.StringIO()
    reporter = PlainReporter(words, quiet=True, clock=clock)
    reporter.stream_started(info())
    clock.now_s += 60
    reporter.advanced("in/[b]a.mp4", 5)
    reporter.stream_finished(summary())
    reporter.stream_finished(summary(error="in/b.mp4: broken", output=None))
    reporter.warning("look out")
    reporter.close()
    assert words.getvalue().splitlines() == ["auflow: error: in/b.mp4: broken", "auflow: warning: look out"]


def test_total_of_several_inputs() -> None:
    clock, words = Clock(), io.StringIO()
    reporter = PlainReporter(words, clock=clock)
    reporter.stream_finished(summary())
    reporter.stream_finished(summary(corrupt_frames=3))
    clock.now_s += 5
    reporter.close()
    assert words.getvalue().splitlines()[-1] == (
        "Total: 2 inputs; 200 frames in 5.0 s (40.0 fps), a face in 150 (75.0 %); 3 corrupt pictures (damaged or lost)."
    )


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("frame_count", [100, 10, None])
def test_bar_on_a_terminal(frame_count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    words = Terminal()
    reporter = make_reporter(quiet=False, stream=words)
    assert isinstance(reporter, BarReporter)
    reporter.stream_started(info(frame_count))
    for frame in range(1, 51):
        reporter.advanced("in/[b]a.mp4", frame)
    reporter.advanced("in/unknown.mp4", 3)
    reporter.warning("look out")
    reporter.stream_finished(summary())
    reporter.close()
    assert "[b]a.mp4" in words.getvalue()
    assert "auflow: warning: look out" in words.getvalue()
    assert describe(summary()) in words.getvalue()  # neither wrapped nor coloured
    assert "Total" not in words.getvalue()


@pytest.mark.parametrize(("quiet", "stream"), [(True, Terminal()), (False, io.StringIO())])
def test_no_bar_when_quiet_or_piped(quiet: bool, stream: io.StringIO) -> None:
    assert isinstance(make_reporter(quiet=quiet, stream=stream), PlainReporter)


@pytest.mark.parametrize(
    ("declared", "frames", "told"), [(100, 90, False), (100, 89, True), (None, 1, False), (100, 100, False)]
)
def test_cut_short(declared: int | None, frames: int, told: bool) -> None:
    text = cut_short_warning(info(declared), frames)
    assert (text is not None) == told
    assert text is None or f"ended after {frames} pictures of the 100" in text
