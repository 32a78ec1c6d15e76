"""`auflow run --timeline FILE`: what each process did when, as a trace, and how well the stages overlapped.

Workers append their records to files in a hidden folder beside FILE; at the end this process makes FILE of them. After
a run that was killed as a whole, `python -m auflow.run_timeline FILE` makes it of what there is.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import auflow
from auflow.errors import AuflowError, OutputError, UsageError

if TYPE_CHECKING:
    from auflow.report import Reporter
    from auflow.telemetry.overlap import Overlap, Spans
    from auflow.telemetry.tracks import Track

__all__ = ["MOST_RECORDS", "RunTimeline", "folder_of"]

MOST_RECORDS = 500_000  # of a run: 20 MB of records, about 75 MB of JSON
_COUNTER_POINTS = 2000
_LOCK, _ABOUT = "lock", "about.json"


def folder_of(path: Path) -> Path:
    """Where the records of the timeline `path` lie while the run lasts."""
    return path.with_name(f".{path.name}.records")


class RunTimeline:
    """The timeline of one run.

    Parameters
    ----------
    path : FILE; one that is there is removed, for it is of another run
    began_s : of the run, monotonic
    inputs : names of the streams
    left : records of a run that was killed are there, and kept

    Raises
    ------
    UsageError
        Another run writes it now.
    OutputError
        Nothing can be written there.
    """

    def __init__(self, path: Path, began_s: float, inputs: Sequence[str], *, left: bool = False) -> None:
        self.path = path.resolve()
        self.folder = folder_of(self.path)
        self.figures: dict[str, Any] | None = None  # for the summary, once the run is over
        self._began_s = began_s
        self._inputs = inputs
        self._most = MOST_RECORDS
        self._lock = -1
        try:
            self._make_folder()
            if not left:
                self._begin()
        except OSError as error:
            self.close()
            raise OutputError(
                f"{path}: cannot be written: {error.strerror}; choose another place with --timeline"
            ) from error

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise UsageError(
                f"{self.path}: another run writes this timeline; give it another name with --timeline"
            ) from None

    def _begin(self) -> None:
        for left in self.folder.iterdir():  # by a run that was killed
            if left.name != _LOCK:
                left.unlink()
        (self.folder / _ABOUT).write_text(json.dumps([self._began_s, list(self._inputs)]), encoding="utf-8")
        self.path.unlink(missing_ok=True)

    def share(self, workers: int) -> int:
        """Records that each of so many workers may write."""
        self._most = MOST_RECORDS // workers
        return self._most

    def finish(self, reporter: Reporter) -> None:
        """Make the file of what the workers, which are gone, have written, and tell. A full disk is a warning."""
        try:
            self._finish(reporter)
        except OSError as error:
            reporter.warning(f"--timeline: {self.path} cannot be written: {error.strerror}; the results are complete")
        finally:
            self.close()

    def _finish(self, reporter: Reporter) -> None:
        from auflow.telemetry.tracks import read_tracks

        tracks = read_tracks(self.folder, self._began_s, time.monotonic(), self._most)
        damaged = sum(track.damaged for track in tracks)
        if damaged:
            reporter.warning(f"--timeline: {damaged} damaged records were left out")
        self._write(tracks, reporter)

    def _write(self, tracks: Sequence[Track], reporter: Reporter) -> None:
        import numpy as np

        from auflow.telemetry.chrome import lines
        from auflow.telemetry.overlap import busy_at_once, overlap

        spans = {track.worker: _busy(track) for track in tracks}
        window, cut = _window(tracks, spans)
        found = overlap(spans, window)
        figures = _figures(tracks, found) | {"cut_short": cut}
        edges = np.linspace(*window, 1 + _COUNTER_POINTS) if found.seconds else np.empty(0)
        busy = busy_at_once(list(spans.values()), edges) if found.seconds else np.empty(0)
        counter = (edges, busy) if found.seconds else (np.zeros(1), np.empty(0))
        told = {"program": f"auflow {auflow.__version__}", **figures}
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.writelines(lines(tracks, self._inputs, self._began_s, counter, told))
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.figures = {"file": str(self.path), **figures}
        reporter.note(_words(self.path, found, figures))

    def close(self) -> None:
        """Remove the records; may be called again."""
        if self._lock < 0:
            return
        with suppress(OSError):
            shutil.rmtree(self.folder)
        os.close(self._lock)
        self._lock = -1


def _busy(track: Track) -> Spans:
    import numpy as np

    from auflow.telemetry.overlap import busy_spans

    work = [track.of(kind) for kind in ("frame", "checkpoint", "end")]
    pieces, waits = (
        np.concatenate([np.column_stack((each["began"], each["ended"])) for each in records])
        for records in (work, [track.of("wait")])
    )
    return busy_spans(pieces, waits)


def _window(tracks: Sequence[Track], spans: dict[str, Spans]) -> tuple[tuple[float, float], bool]:
    """From the first work on a frame to the last, or to where the first process ceased to note; whether it did."""
    some = [each for each in spans.values() if len(each)]
    if not some:
        return (0.0, 0.0), False
    end_s = max(float(each[-1, 1]) for each in some)
    cut_s = min(track.cut_s for track in tracks)
    return (min(float(each[0, 0]) for each in some), min(end_s, cut_s)), cut_s < end_s


def _figures(tracks: Sequence[Track], found: Overlap) -> dict[str, Any]:
    by_role = _by_role(tracks, found)
    return {
        "seconds": round(found.seconds, 6),
        "busy_at_once": round(found.mean, 4),
        "at_once_share": [round(share, 4) for share in found.at_once],
        "bottleneck": max(by_role, key=lambda role: by_role[role]) if found.mean else None,
        "processes": {track.worker: _of_process(track, found.busy[track.worker]) for track in tracks},
    }


def _of_process(track: Track, busy: float) -> dict[str, Any]:
    import numpy as np

    frames, waits = track.of("frame"), track.of("wait")
    took_s = float((frames["ended"] - frames["began"]).sum() - (waits["ended"] - waits["began"]).sum())
    return {
        "busy": round(busy, 4),
        "frames": len(frames),
        "calls": round(float(np.sum(1.0 / frames["batch"]))),
        "ms_per_frame": round(1e3 * took_s / len(frames), 4) if len(frames) else None,
        "starts": len(track.of("load")),
    }


def _by_role(tracks: Sequence[Track], found: Overlap) -> dict[str, float]:
    """How busy the processes of each role were, on average."""
    shares: dict[str, list[float]] = {}
    for track in tracks:
        shares.setdefault(track.role, []).append(found.busy[track.worker])
    return {role: sum(each) / len(each) for role, each in shares.items()}


def _words(path: Path, found: Overlap, figures: dict[str, Any]) -> str:
    if not found.mean:
        return f"timeline: no work was noted. Written to {path}"
    roles: dict[str, list[float]] = {}
    for worker, share in found.busy.items():
        roles.setdefault(worker.rpartition("-")[0], []).append(share)
    busy = ", ".join(
        f"{role} {100 * sum(each) / len(each):.0f} %{f' (of {len(each)})' if len(each) > 1 else ''}"
        for role, each in sorted(roles.items(), key=lambda item: -sum(item[1]) / len(item[1]))
    )
    start = "the first " if figures["cut_short"] else ""
    return (
        f"timeline of {start}{found.seconds:.1f} s: {found.mean:.2f} processes busy at once, two or more "
        f"{100 * found.two_or_more:.0f} % of the time; {busy}; bottleneck: {figures['bottleneck']}. "
        f"Written to {path}, for ui.perfetto.dev"
    )


def main(argv: list[str] | None = None) -> int:
    """Make the timeline of a run that was killed; the exit code is that of the error, if there is one."""
    from auflow.report import PlainReporter

    parser = argparse.ArgumentParser(description="Makes the timeline of a run that was killed, of what it left.")
    parser.add_argument("timeline", metavar="FILE", type=Path, help="as it was given to --timeline")
    path = parser.parse_args(argv).timeline
    reporter = PlainReporter(sys.stderr)
    try:
        try:
            began_s, inputs = json.loads((folder_of(path.resolve()) / _ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: no killed run has left records for it: {error}") from error
        RunTimeline(path, began_s, inputs, left=True).finish(reporter)
    except AuflowError as error:
        reporter.warning(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
