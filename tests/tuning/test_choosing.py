"""Which candidate is chosen, from tables of made-up measurements."""

from __future__ import annotations

import pytest

from auflow.profiles.profile import Figure
from auflow.stages.settings import StageSettings
from auflow.tuning.candidates import Candidate
from auflow.tuning.choosing import MARGIN, Measured, chosen_of, decide, is_hopeless

MEASURE = "CPU ms a frame"


def measured(
    name: str, *cpu_ms: float, wall_ms: tuple[float, ...] = (), device: bool = False, **more: object
) -> Measured:
    candidate = Candidate("clnf", name, StageSettings(), on_device=device)
    return Measured(candidate, cpu_ms, wall_ms or cpu_ms, **more)  # type: ignore[arg-type]


REFERENCE = measured("numba", 10.0, 10.1, 10.05)


def verdicts(*others: Measured, reference: Measured = REFERENCE, allowed: bool = True) -> dict[str, str]:
    figures = decide(reference, others, measure=MEASURE, allowed=allowed)
    assert sum(figure.chosen for figure in figures) == 1
    return {figure.candidate: f"{figure.verdict}{' *' * figure.chosen}" for figure in figures}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (measured("a", 5.0, 5.1), "faster *"),
        (measured("a", 9.4, 9.4), "faster *"),
        (measured("a", 9.6, 9.6), "within the noise"),
        (measured("a", 10.4), "within the noise"),
        (measured("a", 41.0), "slower"),
        (measured("a", 5.0, missed=("--max-landmark-px 0.3: ...",)), "budget missed"),
        (measured("a", error="no memory"), "failed"),
        (measured("a", 70.0, first_ratio=7.0), "slower"),
    ],
)
def test_what_becomes_of_one(other: Measured, expected: str) -> None:
    found = verdicts(other)
    assert found["a"] == expected
    assert found["numba"] == ("reference" if expected.endswith("*") else "reference *")


def test_rounds_that_are_far_apart_are_noise() -> None:
    noisy = measured("numba", 10.0, 12.0, 13.0)
    assert verdicts(measured("a", 8.5), reference=noisy)["a"] == "within the noise"
    assert verdicts(measured("a", 7.5), reference=noisy)["a"] == "faster *"
    assert verdicts(measured("a", 8.5, 10.5, 10.6))["a"] == "within the noise"
    assert verdicts(measured("a", 8.5, 8.6, 30.0))["a"] == "faster *"  # one disturbed round is not yet noise


def test_after_one_round_more_is_asked_for() -> None:
    once = measured("numba", 10.0)
    assert verdicts(measured("a", 9.2), reference=once)["a"] == "within the noise"
    assert verdicts(measured("a", 8.9), reference=once)["a"] == "faster *"


def test_what_saves_next_to_nothing_of_a_frame_is_not_worth_it() -> None:
    small = measured("numba", 0.2, 0.2, frame_cpu_ms=5.0)
    assert verdicts(measured("a", 0.16, 0.16), reference=small)["a"] == "within the noise"
    assert verdicts(measured("a", 0.14, 0.14), reference=small)["a"] == "faster *"


def test_of_equally_good_ones_the_first_is_chosen() -> None:
    assert verdicts(measured("a", 6.1), measured("b", 6.0)) == {"numba": "reference", "a": "faster *", "b": "faster"}
    assert verdicts(measured("a", 7.0), measured("b", 6.0)) == {"numba": "reference", "a": "faster", "b": "faster *"}
    just_as_good = 5.999 * (1 + MARGIN)
    assert verdicts(measured("a", just_as_good), measured("b", 6.0))["a"] == "faster *"


def test_a_fast_one_beyond_the_budget_does_not_keep_a_good_one_from_it() -> None:
    found = verdicts(measured("a", 1.0, missed=("r",)), measured("b", 6.0))
    assert found == {"numba": "reference", "a": "budget missed", "b": "faster *"}


def test_what_may_not_be_chosen_is_shown() -> None:
    assert verdicts(measured("a", 5.0), allowed=False) == {"numba": "reference *", "a": "not asked for"}


def test_on_a_device_the_clock_on_the_wall_counts() -> None:
    reference = measured("numba", 10.0, wall_ms=(11.0,))
    waits = measured("ort-cuda", 0.5, wall_ms=(20.0,), device=True)
    quick = measured("tensorrt", 12.0, wall_ms=(2.0,), device=True)
    figures = decide(reference, [waits, quick], measure=MEASURE)
    assert [figure.verdict for figure in figures] == ["reference", "slower", "faster"]
    assert figures[1].measure == "ms a frame"
    assert figures[1].ratio == pytest.approx(20 / 11)
    assert chosen_of(figures, [reference, waits, quick]) is quick


def test_figures_hold_what_was_measured() -> None:
    other = measured("a", 5.2, 5.0, frame_cpu_ms=8.0, fps=120.0, landmarks_px=0.02, au_mean_r=0.998)
    figure = decide(REFERENCE, [other], measure=MEASURE)[1]
    assert figure == Figure(
        "clnf", "a", "faster", chosen=True, cost_ms=5.0, measure=MEASURE, ratio=0.5, noise=MARGIN, cpu_ms=8.0,
        fps=120.0, landmarks_px=0.02, au_mean_r=0.998,
    )  # fmt: skip


def test_nobody_is_run_again_in_vain() -> None:
    assert is_hopeless(REFERENCE, measured("a", 16.0))
    assert not is_hopeless(REFERENCE, measured("a", 14.0))
    assert is_hopeless(REFERENCE, measured("a", 5.0, missed=("r",)))
    assert is_hopeless(REFERENCE, measured("a", error="no"))
    assert not is_hopeless(REFERENCE, measured("a", 99.0, device=True))  # it may still warm up
