"""What a run meets outside of itself: libraries that talk, read-only folders, odd names, closed streams."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auflow.errors import UsageError
from auflow.options import RunOptions, check_outputs, output_path
from auflow.report import PlainReporter, make_reporter
from auflow.stages.decode import open_source
from auflow.stages.records import SourceInfo
from auflow.transport import messages as m
from auflow.transport.codec import decode, encode


def run_auflow(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "auflow", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100
    )


def test_onnx_runtime_is_told_not_to_report(tmp_path: Path, models_dir: Path) -> None:
    """It keeps an identity and a store of events in the home and temporary folders unless it is told not to."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    code = "import sys; from pathlib import Path; from auflow.stages.detect import MtcnnDetector; "
    code += "MtcnnDetector(Path(sys.argv[1]))"
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-P", "-c", code, str(models_dir)], env=environment, check=True, timeout=60)
    assert [*home.rglob("*"), *temporary.rglob("*")] == []


def test_a_link_gives_its_own_name(tmp_path: Path) -> None:
    target = tmp_path / "8f3a"
    target.write_bytes(b"x")
    links = [tmp_path / "first.mp4", tmp_path / "second.mp4"]
    for link in links:
        link.symlink_to(target)
    options = RunOptions(tuple(links), tmp_path / "out", tmp_path)
    check_outputs(options)
    assert [output_path(options, link).name for link in links] == ["first.csv", "second.csv"]


def test_an_output_that_is_a_folder_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UsageError, match=r"a\.csv is a folder"):
        check_outputs(RunOptions((Path("a.mp4"),), tmp_path, tmp_path))


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, demo_dir: Path) -> None:
    path = tmp_path / "12:30:01.mp4"
    shutil.copyfile(demo_dir / "astronaut.mp4", path)
    with open_source(path) as source:
        assert (source.info.width_px, source.info.path) == (320, str(path))


def test_names_that_are_not_utf8_travel() -> None:
    name = os.fsdecode(b"b\xff d.mp4")
    start = m.StreamStart(0, SourceInfo(name, "video", 2, 2, 25.0, None), name, 0, None)
    assert decode(encode(start)) == start


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_is_gone_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = PlainReporter(Broken())
    reporter.warning("nobody hears it")
    reporter.close()
    monkeypatch.setattr(sys, "stderr", None)
    make_reporter(quiet=False).warning("nor this")


@pytest.mark.parametrize("inline", [[], ["--inline"]])
def test_closed_standard_streams(tmp_path: Path, inline: list[str]) -> None:
    """No standard error, no output, no input: the exit code still tells, and nothing is written into other files."""
    command = [sys.executable, "-P", "-m", "auflow", "run", "nothing.mp4", *inline]
    shell = " ".join([*command, "<&-", ">&-", "2>&-"])
    code = subprocess.run(["/bin/sh", "-c", shell], cwd=tmp_path, timeout=60).returncode
    assert code in (2, 4)  # no such input; without model files they are missed first
    assert list(tmp_path.iterdir()) == []


def test_version_needs_no_model_and_no_library(tmp_path: Path) -> None:
    done = run_auflow("--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
