"""What is tried, by what there is and what is asked for."""

from __future__ import annotations

import pytest

from auflow.stages.settings import StageSettings
from auflow.tuning.candidates import job_counts, trials

EXACT = StageSettings(precision="full")


def names(**asked: bool) -> dict[str, list[str]]:
    options = {"quick": False, "coherent": False, "ceclm": False} | asked
    usable = ("numba", "ort-cpu", "ort-cuda")
    found = trials(EXACT, usable, **options)  # type: ignore[arg-type]
    return {trial.group: [each.name for each in (trial.reference, *trial.others)] for trial in found}


def test_every_usable_backend_of_every_stage() -> None:
    found = names(quick=True)
    assert found == {
        "detect": [
            "ort-cpu", "ort-cuda", "ort-cpu, batch 8", "ort-cpu, batch 32", "ort-cuda, batch 64",
        ],
        "clnf": ["numba", "ort-cpu", "ort-cuda"],
        "au": ["numba", "ort-cpu", "ort-cuda"],
        "tracking": ["openface", "coherent, every 5, reuse 5 %"],
    }  # fmt: skip


def test_options_bring_candidates() -> None:
    assert names(ceclm=True)["cen"] == ["float32", "int8"]
    assert len(names(coherent=True)["tracking"]) == 5
    shown, free = (trials(EXACT, (), quick=True, coherent=coherent, ceclm=False)[-1] for coherent in (False, True))
    assert (shown.allowed, free.allowed) == (False, True)


def test_references_are_the_exact_run() -> None:
    found = trials(EXACT, ("numba", "ort-cpu"), quick=False, coherent=True, ceclm=True)
    assert all(trial.reference.settings == EXACT for trial in found if trial.group != "cen")
    others = [other.settings for trial in found for other in trial.others]
    assert EXACT not in others
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(
    ("cores", "streams", "quick", "expected"),
    [
        (2, None, False, (2, 1, 3)),
        (4, None, False, (4, 1, 2, 3, 5)),
        (2, 1, False, (1,)),
        (2, 2, False, (2, 1)),
        (8, None, False, (8, 1, 2, 4, 6, 9)),
        (64, None, False, (64, 1, 2, 4, 8, 16, 32, 48, 65)),
        (2, 40, False, (2, 1, 3)),
        (8, None, True, (8, 1)),
        (1, None, True, (1,)),
    ],
)
def test_process_counts(cores: int, streams: int | None, quick: bool, expected: tuple[int, ...]) -> None:
    assert job_counts(cores, streams, quick=quick) == expected
