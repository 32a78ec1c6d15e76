"""Starts a Prometheus with auflow's configuration against a running `auflow serve`, and checks every expression there.

`python -m auflow.grafana.try_live --seconds 60` needs the programme `prometheus` (Debian: apt-get install prometheus),
takes a free port on loopback, keeps its data in a temporary folder, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from auflow.errors import AuflowError, UsageError
from auflow.grafana import check_live

__all__ = ["LocalPrometheus", "configuration", "main"]

CONFIGURATIONS = Path(__file__).resolve().parent / "prometheus"
_START_S = 30.0
_END_S = 10.0
_SECONDS = re.compile(r"(?m)^(\s*(?:scrape|evaluation)_interval|\s*scrape_timeout|\s*refresh_interval):.*$")


def configuration(target: str, interval_s: int) -> str:
    """Our configuration for another target and pace.

    Parameters
    ----------
    target : HOST:PORT of the service, or the path of the file (ends in .json) in which it lists its processes
    interval_s : seconds between two scrapes, and two evaluations of the rules
    """
    if target.endswith(".json"):
        text = (CONFIGURATIONS / "prometheus-file-sd.yml").read_text("utf-8")
        text = re.sub(r"files: \[[^\]]*\]", lambda _: f"files: ['{Path(target).resolve()}']", text)
    else:
        text = (CONFIGURATIONS / "prometheus.yml").read_text("utf-8")
        text = re.sub(r'targets: \["127\.0\.0\.1:8717"\]', lambda _: f"targets: ['{target}']", text)
    text = _SECONDS.sub(rf"\g<1>: {interval_s}s", text)
    return text.replace("- rules/", f"- {CONFIGURATIONS}/rules/")


class LocalPrometheus:
    """A Prometheus of its own on a free loopback port, with our rules; a context manager.

    Parameters
    ----------
    target, interval_s : as of `configuration`

    Raises
    ------
    UsageError
        There is no `prometheus`, or it does not start.
    """

    def __init__(self, target: str, interval_s: int = 1) -> None:
        self._target, self._interval_s = target, interval_s
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> LocalPrometheus:
        program = shutil.which("prometheus")
        if program is None:
            raise UsageError("there is no `prometheus`; install it (Debian: apt-get install prometheus)")
        self._folder = tempfile.TemporaryDirectory(prefix="auflow-prometheus-")
        folder = Path(self._folder.name)
        (folder / "prometheus.yml").write_text(configuration(self._target, self._interval_s), "utf-8")
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip
        try:
            with (folder / "log").open("wb") as log:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._await_start(folder / "log")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    def _await_start(self, log: Path) -> None:
        assert self._process is not None
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1.0):
                    return
            except OSError:
                time.sleep(0.1)
        raise UsageError(f"`prometheus` does not start: {log.read_text('utf-8', 'replace')[-2000:].strip()}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(seconds: float, output: IO[str]) -> None:
    output.write(f"scraping for {seconds:g} s ...\n")
    output.flush()
    time.sleep(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Scrape for a while, then check; the exit code of the check."""
    parser = argparse.ArgumentParser("try_live", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--target", default="127.0.0.1:8717",
        help="HOST:PORT of the service, or the targets.json that it writes (default: 127.0.0.1:8717)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=60.0, help="to scrape for before the check (default: 60)")
    parser.add_argument("--interval", type=int, default=1, help="seconds between two scrapes (default: 1)")
    options, for_check = parser.parse_known_args(arguments)
    try:
        with LocalPrometheus(options.target, options.interval) as prometheus:
            _wait(options.seconds, sys.stdout)
            return check_live.main([prometheus.url, *for_check])
    except AuflowError as error:
        sys.stderr.write(f"try_live: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
