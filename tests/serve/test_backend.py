"""What computes the streams of a service, and that it does not start with something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow.backends import choice
from auflow.cli import main
from auflow.errors import BackendError, UsageError
from auflow.serve.loading import parse_config
from auflow.serve.service import Service

STREAM = {"stream": {"door": {"source": "rtsp://192.0.2.10/1"}}}


def config(backend: object):
    return parse_config({**STREAM, "workers": {"backend": backend}}, Path("/nowhere"), "serve.toml", {})


@pytest.mark.parametrize("backend", ["cuda", "", 3, "decode=ort-cpu", "detect=numba"])
def test_a_backend_that_there_is_not_is_told(backend: object) -> None:
    with pytest.raises(UsageError, match=r"workers\.backend"):
        config(backend)


def test_every_stream_is_computed_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = parse_config(
        {**STREAM, "workers": {"backend": "clnf=ort-cpu"}, "http": {"address": ""}, "bus": {"address": ""},
         "control": {"socket": str(tmp_path / "c.sock")}, "state_dir": str(tmp_path)},
        tmp_path, "serve.toml", {},
    )  # fmt: skip
    with Service(found) as service:
        settings = service._settings(found.streams[0])
        assert (settings.detect_backend, settings.clnf_backend, settings.au_backend) == ("ort-cpu", "ort-cpu", "numba")
        assert settings.coherent


def test_one_that_is_not_here_keeps_the_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise BackendError(f"backend {name}: no card\nbuy one")

    monkeypatch.setattr(choice, "require", refuse)
    path = tmp_path / "serve.toml"
    path.write_text('[workers]\nbackend = "detect=ort-cuda"\n[stream.door]\nsource = "rtsp://192.0.2.10/1"\n')
    assert main(["serve", "--check", str(path)]) == 2
    assert main(["detect", "--backend", "ort-cuda"]) in (2, 4)
    assert "no card\nbuy one" in capsys.readouterr().err
    assert main(["serve", str(path)]) == 2
