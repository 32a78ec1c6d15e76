"""The documentation, the example, the unit and the code say the same about every key."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from auflow.serve.config import ServiceConfig, StreamConfig
from auflow.serve.keys import KeySpec, keys_of
from auflow.serve.loading import SECTIONS, load_config, parse_config

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "serve.md").read_text()
EXAMPLE = ROOT / "deploy" / "serve.toml"
UNIT = ROOT / "deploy" / "auflow.service"
PARTS: dict[str, type] = {"": ServiceConfig, **SECTIONS, "stream.NAME": StreamConfig}
KEYS = {
    f"{part}.{name}".lstrip("."): spec for part, section in PARTS.items() for name, spec in keys_of(section).items()
}
ROWS = {
    row[0]: row[1:] for row in re.findall(r"^\| `([a-zA-Z_.]+)` \| (.*?) \| (.*) \|$", DOCUMENT, flags=re.MULTILINE)
}


@pytest.mark.parametrize(("path", "spec"), KEYS.items(), ids=list(KEYS))
def test_every_key_has_a_row(path: str, spec: KeySpec) -> None:
    default, meaning = ROWS[path]
    assert default in (f"`{spec.default}`", spec.default)
    only = f" ({', '.join(spec.only)} only)" if spec.only else ""
    assert meaning == spec.meaning + only


def test_every_row_is_a_key() -> None:
    documented = {path for path in ROWS if "." in path or path.endswith("_dir")}
    assert documented == set(KEYS)


def test_the_first_example_of_the_documentation() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    config = parse_config(tomllib.loads(text), Path("/x"), "t", {"DOOR_PASSWORD": "x"})
    assert [stream.name for stream in config.streams] == ["door", "archive"]


def test_the_example_is_right_and_has_every_key() -> None:
    load_config(EXAMPLE)
    found: dict[str, set[str]] = {}
    part = ""
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"\[([\w.]+)\]", line):
            part = "stream.NAME" if header[1].startswith("stream.") else header[1]
        elif pair := re.match(r"(?:# )?([a-z_]+) = (.+)", line):
            found.setdefault(part, set()).add(pair[1])
    assert found == {part: set(keys_of(section)) for part, section in PARTS.items()}


def test_every_commented_default_of_the_example_is_the_default() -> None:
    # Put to use they change nothing; left out are those that only show what a key may look like.
    shown = {"state_dir", "models_dir", "socket", "keys_dir", "live_lanes", "file_lanes", "detectors", "jsonl"}
    shown |= {"targets", "trace_endpoint", "identity_model"}
    shown |= {"detectors_at", "username", "password_env", "token_env", "camera", "clnf_iterations", "clnf_tolerance_px"}
    text = re.sub(
        r"^# ([a-z_]+) = ",
        lambda found: found[0] if found[1] in shown else found[0].removeprefix("# "),
        EXAMPLE.read_text(),
        flags=re.MULTILINE,
    )
    assert text != EXAMPLE.read_text()
    plain, written_out = (
        parse_config(tomllib.loads(each), EXAMPLE.parent, "t") for each in (EXAMPLE.read_text(), text)
    )
    assert written_out == plain


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/auflow", sys.executable))
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_does_not_forbid_what_auflow_needs() -> None:
    lines = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"\w+=", line))
    assert lines["Type"] == "notify"
    assert "MemoryDenyWriteExecute" not in lines  # the kernels are compiled
    assert "PrivateDevices" not in lines  # cameras
    assert "AF_UNIX" in lines["RestrictAddressFamilies"]
    assert lines["RuntimeDirectory"] == "auflow"  # where root's `auflow ctl` looks
    assert lines["RuntimeDirectoryMode"] == "0700"
