"""The real stages on the demo's clip: a worker that is killed in the middle changes nothing in the results."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from auflow.options import RunOptions
from auflow.orchestrator import run
from auflow.report import PlainReporter

from .conftest import Place, until

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


def test_the_demo_with_two_kills(
    place: Place, demo_dir: Path, models_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = demo_dir / "astronaut.mp4"

    def results(folder: str) -> bytes:
        (place.out / folder).mkdir()
        options = RunOptions((clip,), place.out / folder, models_dir, checkpoint_s=0.02)
        (summary,) = run(options, PlainReporter(sys.stderr, quiet=True))
        assert summary.error is None
        return (place.out / folder / "astronaut.csv").read_bytes()

    def kill(role: str) -> None:
        until((place.out / role / ".astronaut.auflow" / "checkpoint").exists, 60)
        os.kill(place.workers()[role], signal.SIGKILL)

    undisturbed = results("undisturbed")
    for role in ("clnf-0", "au-0"):
        killer = threading.Thread(target=kill, args=(role,))
        killer.start()
        assert results(role) == undisturbed, role
        killer.join()
        told = capfd.readouterr().err
        assert f"{role} was ended by signal 9 at frame " in told
        assert "goes on after frame " in told
    assert place.left_behind() == []
