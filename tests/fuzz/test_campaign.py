"""A short campaign over every reader, and proof that a campaign sees what it is there to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 120
# Forked children want a process of one thread, which pytest's is not sure to be.
CAMPAIGN = [sys.executable, "-m", "auflow.tests.fuzz.campaign"]
MODELS = (
    "pdm", "triangulation", "early termination", "ccnf (eyes)", "ccnf (face)", "cen", "validator", "au head", "au list",
    "manifest.csv", "ceclm.json", "wheel", "mtcnn PNet", "mtcnn RNet", "mtcnn ONet", "menu main_clnf_general.txt",
    "menu clnf_general.txt", "menu main_clnf_synth_left.txt", "menu clnf_left_synth.txt",
)  # fmt: skip

FAULTY = """
import os, sys
from pathlib import Path
import numpy as np
from auflow.errors import ModelError
from auflow.tests.fuzz import campaign
from auflow.tests.fuzz.targets import Target

folder = Path(sys.argv[1])
(folder / "good").write_bytes(bytes(range(256)))
campaign.LIMIT_S = 2

def says(path): raise ModelError("something is wrong")
def stumbles(path): {}[path]
def loops(path):
    while True: pass
def takes(path): np.ones(2_000_000)
def takes_all(path): np.ones(1 << 40)
def aborts(path): os.abort()
def leaves(path): os._exit(3)
def warns(path): np.float32(1e38) * np.float32(1e38)
def passes(path): pass
def refuses(path): raise ModelError(f"{path}: no")

for read in (says, stumbles, loops, takes, takes_all, aborts, leaves, warns, passes, refuses):
    target = Target(read.__name__, (folder / "good",), read)
    counts, faults = campaign.run_batch(target, folder / "work", 1, range(2))
    print(dict(counts), *faults, sep="|")
"""


def test_a_campaign_sees_faults_of_every_kind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, str(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert [len(faults) for _, *faults in lines] == [2, 2, 2, 1, 2, 1, 1, 2, 0, 0]
    wanted = ("does not name good", "KeyError", "not done after 2 s", "bytes for a file", "MemoryError", "signal 6")
    for said, (_, *faults) in zip((*wanted, "exit code 3", "overflow"), lines, strict=False):
        assert said in faults[-1]  # of the second input, whose memory is not measured, where there are two
    assert [counts for counts, *_ in lines[-2:]] == ["{'accepted': 2}", "{'refused': 2}"]


def test_the_same_seed_gives_the_same_damage() -> None:
    import random

    from auflow.tests.fuzz.mutations import mutate_binary, mutate_text

    data = bytes(range(256)) * 20
    for mutate in (mutate_binary, mutate_text):
        first, again = ([mutate(data, random.Random(n), [b"another file"]) for n in range(200)] for _ in range(2))
        assert first == again
        assert len(set(first)) > 150


@pytest.fixture(scope="module")
def report(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, int], list[str]]]:
    """What the campaign found: counts and faults by target."""
    path = tmp_path_factory.mktemp("campaign") / "report.json"
    subprocess.run([*CAMPAIGN, "--count", str(COUNT), "--json", str(path)], check=False, timeout=110)
    found: dict[str, tuple[dict[str, int], list[str]]] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("target", [*MODELS, "pictures", "clips", "boxes"])
def test_damaged_files_are_refused_or_make_sense(report: dict, target: str) -> None:
    if target == "early termination" and target not in report:
        pytest.skip("no CE-CLM menus in the model store: they come with `auflow models fetch --with-ceclm`")
    counts, faults = report[target]
    assert faults == []
    assert counts["refused"] > 0
    assert sum(counts.values()) >= 10
