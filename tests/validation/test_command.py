"""`auflow validate` from the command line: what it prints and writes, its budgets and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auflow import cli

from .conftest import POINTS, Columns


@pytest.fixture
def files(columns: Columns, write) -> tuple[str, str]:
    """Landmarks 0.5 px apart, AU12 shifted and noisy, AU28 wrong in a quarter of the rows, success in one of 40."""
    noise = np.where(np.arange(40) % 2, 0.5, -0.5)
    ours = columns | {name: columns[name] + 0.5 for name in POINTS if name[0] == "x"}
    ours["AU12_r"] = columns["AU12_r"] + noise
    ours["AU28_c"] = np.where(np.arange(40) < 10, 1 - columns["AU28_c"], columns["AU28_c"])
    ours["success"] = np.where(np.arange(40) == 5, 0.0, 1.0)
    return str(write("reference.csv", columns)), str(write("ours.csv", ours))


def run(*arguments: str) -> int:
    return cli.main(["validate", *arguments])


def test_tables_are_aligned_text_in_a_pipe(files, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*files) == 0
    out = capsys.readouterr().out
    assert "40 of 40 rows found, success agrees on 97.50%" in out
    assert re.search(r"2-D landmarks \[px\] +100\.0% +0\.5 +0\.5 +0\.5 +0\.5 +0\.5\n", out)
    assert re.search(r"\nAU28( +-){6} +0\.7500 +0\.\d{4}\n", out)
    table = out.split("\n\n")[2].strip().splitlines()
    assert len({len(line) for line in table}) == 1
    assert len(table[0]) < 80
    assert "\x1b" not in out


def test_terminal_gets_a_rich_table(files, columns: Columns, write, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ours = columns | {"AU09_r": columns["AU09_r"] + 0.000624, "pose_Tx": columns["pose_Tx"] + 1e-5}
    assert run(files[0], str(write("near.csv", ours))) == 0
    out = capsys.readouterr().out
    assert "─" in out
    assert "0.000624" in out
    assert "AU28" in out
    assert "…" not in out  # nothing is cut at 80 columns


def test_narrow_terminal_cuts_no_figure(files, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(*files) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert "─" not in out  # nor lines that would wrap


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--max-landmark-px", "0.49"],
            r"missed  --max-landmark-px 0.49: the 2-D landmarks are 0.5 px away on average",
        ),
        (["--min-au-r", "0.95"], r"missed  --min-au-r 0.95: AU12_r correlates with 0\.\d{4}"),
        (
            ["--min-au-mean-r", "0.9999"],
            r"missed  --min-au-mean-r 0.9999: AU intensities correlate with 0\.9\d{3} on average",
        ),
        (["--min-presence", "0.8"], r"missed  --min-presence 0.8: AU28_c agrees in 0.7500 of the rows"),
        (["--min-success", "0.98"], r"missed  --min-success 0.98: success agrees in 0.9750 of rows"),
    ],
)
def test_each_missed_budget_is_a_line(files, options: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*files, *options) == 1
    (found,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("missed"))
    assert re.fullmatch(line, found)


def test_met_budgets_and_several_missed(files, capsys: pytest.CaptureFixture[str]) -> None:
    loose = ["--max-landmark-px", "0.51", "--min-au-r", "0.5", "--min-presence", "0.75", "--min-success", "0.975"]
    loose += ["--min-au-mean-r", "0.9"]
    assert run(*files, *loose) == 0
    assert "everything asked for is met" in capsys.readouterr().out
    assert run(*files, "--max-landmark-px", "0.1", "--min-presence", "0.8", "--min-success", "0.9") == 1
    assert capsys.readouterr().out.count("missed  ") == 2


@pytest.mark.parametrize("kept", ["frames", "columns"])
def test_missing_values_meet_no_budget(columns: Columns, write, kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    reference = str(write("a.csv", columns))
    if kept == "frames":
        ours = {name: values[:39] for name, values in columns.items()}
    else:
        ours = {name: values for name, values in columns.items() if name not in ("y_67", "AU45_r", "AU45_c")}
    path = str(write("b.csv", ours))
    assert run(reference, path, "--max-landmark-px", "100") == 1
    assert run(reference, path, "--min-au-r", "-1") == 1
    assert run(reference, path, "--min-presence", "0.98") == 1
    assert "of its values are missing" in capsys.readouterr().out


def test_budget_without_anything_to_hold_it_against(columns: Columns, write, capsys) -> None:
    failed = str(write("a.csv", columns | {"success": np.zeros(40)}))
    assert run(failed, failed, "--max-landmark-px", "1") == 2
    assert "no row of the reference has success 1" in capsys.readouterr().err
    assert run(failed, failed, "--min-success", "1") == 0
    few = str(write("b.csv", {name: columns[name] for name in ("frame", "success", "confidence")}))
    assert run(few, few, "--min-au-r", "0.9") == 2
    assert "the reference has no AU intensities" in capsys.readouterr().err


def test_floor_holds_and_falls_short(files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    floor = tmp_path / "floor.json"
    assert run(*files, "--json", str(floor)) == 0
    capsys.readouterr()
    # Our own distance as the floor: at factor 1 just held, thanks to the slack; at 0 it is the slack alone.
    assert run(*files, "--floor", str(floor), "--factor", "1") == 0
    assert "figures hold at 1 times the noise floor" in capsys.readouterr().out
    assert run(*files, "--floor", str(floor), "--factor", "0") == 1
    out = capsys.readouterr().out
    assert "short   landmarks2d_px p50: 0.5, allowed 0.01" in out
    assert "short   AU28_c agreement: 0.75, allowed 0.99" in out
    assert run(files[0], files[0], "--floor", str(floor)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("frame, success", "not a JSON file"),
        ("[]", "expected a number at success_agreement"),
        ("{}", "expected a number at success_agreement"),
        ('{"success_agreement": 1, "pose_mm": {"p50": null}}', "expected a number at pose_mm.p50"),
        ('{"success_agreement": 1, "au_r": {"AU01_r": {"r": 1}}}', "expected a number at au_r.AU01_r.mae"),
        ('{"success_agreement": 1, "au_c": [1]}', "expected a table of AUs at au_c"),
    ],
)
def test_what_is_no_floor_is_named(files, tmp_path: Path, text: str | None, message: str, capsys) -> None:
    floor = tmp_path / "floor.json"
    if text is not None:
        floor.write_text(text)
    assert run(*files, "--floor", str(floor)) == 2
    assert message in capsys.readouterr().err


def test_json_on_standard_output_is_nothing_else(files, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*files, "--json", "-", "--max-landmark-px", "0.1", "--skip", "20") == 1
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert figures["rows_reference"] == 20
    assert figures["landmarks2d_px"]["mean"] == pytest.approx(0.5)
    assert figures["met"] is False
    assert len(figures["missed"]) == 1
    assert err.startswith("missed  --max-landmark-px")


def test_json_has_no_infinity(columns: Columns, write, tmp_path: Path) -> None:
    reference, out = str(write("a.csv", columns)), tmp_path / "out.json"
    assert run(reference, reference, "--json", str(tmp_path / "floor.json")) == 0
    ours = str(write("b.csv", {name: columns[name] for name in ("frame", "success", "confidence")}))
    assert run(reference, ours, "--floor", str(tmp_path / "floor.json"), "--json", str(out)) == 1
    held = {row["what"]: row for row in json.loads(out.read_text())["held"]}
    assert held["landmarks2d_px p50"] == {"what": "landmarks2d_px p50", "ours": None, "allowed": 0.01, "holds": False}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--video", "clip.mp4"], 2, "also give --html"),
        (["--json", "gone/out.json"], 3, "cannot be written"),
        (["--skip", "40"], 2, "leaves nothing to compare"),
    ],
)
def test_what_cannot_be_done_is_said(files, options: list[str], code: int, message: str, capsys) -> None:
    assert run(*files, *options) == code
    assert message in capsys.readouterr().err


def test_inputs_are_not_written_over(files, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(files[1]).read_bytes()
    assert run(*files, "--json", files[1]) == 2
    assert run(*files, "--json", "out", "--html", "out") == 2
    assert "would be written over" in capsys.readouterr().err
    assert Path(files[1]).read_bytes() == before


@pytest.mark.parametrize(
    "options", [["--min-au-r", "1.1"], ["--max-landmark-px", "-1"], ["--skip", "x"], ["--factor", "nan"]]
)
def test_values_out_of_range(files, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(*files, *options)
    assert exit_.value.code == 2
    assert "expected a" in capsys.readouterr().err


def test_unreadable_file_is_exit_code_2(files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files[0], str(tmp_path / "gone.csv")) == 2
    assert "gone.csv: cannot be read: No such file" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    out = capsys.readouterr().out
    for word in ("examples:", "--max-landmark-px 5", "--floor floor.json", "exit codes: 0", "mean distance"):
        assert word in out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from auflow import cli\n"
        "try: cli.main(['validate', '--help'])\n"
        "except SystemExit: pass\n"
        "print(*(m for m in ('numpy', 'numba', 'cv2', 'onnxruntime', 'matplotlib', 'av', 'rich') if m in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == ""


def test_reader_that_has_seen_enough(files) -> None:
    command = f"{sys.executable} -m auflow validate {files[0]} {files[1]} --min-success 0.99 | head -n 0"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
