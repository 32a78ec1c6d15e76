"""CE-CLM's early termination: which of several starts is taken, and how many are tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models.ceclm import CECLM_MENU, EarlyTermination, read_early_termination
from auflow.models.store import originals
from auflow.stages.clnf.ceclm import CoarseFit, search
from auflow.stages.clnf.face_model import FaceState

RULE = EarlyTermination(np.array([1.0, 2.0]), np.array([0.0, 0.5]), np.array([-0.2, -0.1]))


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def fits(*outcomes: tuple[float, int]) -> list[CoarseFit]:
    """Coarse fits of the given (likelihood, view); tx tells which is which."""
    return [
        CoarseFit(f32([1, 0, 0, 0, k, 0]), f32([0]), likelihood, view) for k, (likelihood, view) in enumerate(outcomes)
    ]


class Fine:
    """Stands for the fine fit: gives each start the likelihood said, and records the order."""

    def __init__(self, likelihoods: dict[int, float] | None = None) -> None:
        self.likelihoods = likelihoods or {}
        self.asked: list[int] = []

    def __call__(self, fit: CoarseFit) -> FaceState:
        number = int(fit.params_global[4])
        self.asked.append(number)
        return FaceState(params_global=fit.params_global, likelihood=self.likelihoods.get(number, 0.0))


def winner(state: FaceState) -> int:
    return int(state.params_global[4])


@pytest.mark.parametrize(
    ("likelihood", "view", "score", "passes"),
    [
        (-0.1, 0, -0.1, True),
        (-0.2, 0, -0.2, False),  # at the cut-off is not above it
        (-0.25, 1, 0.0, True),
        (-0.35, 1, -0.2, False),
    ],
)
def test_the_score_of_a_view_against_its_cutoff(likelihood, view, score, passes):
    assert RULE.score(likelihood, view) == pytest.approx(score)
    assert RULE.passes(RULE.score(likelihood, view), view) is passes


def test_the_first_that_passes_ends_the_search():
    tried = []

    def starts():
        for fit in fits((-1.0, 0), (-0.3, 0), (-0.15, 0), (-0.01, 0)):
            tried.append(fit)
            yield fit

    fine = Fine()
    assert winner(search(starts(), fine, RULE)) == 2
    assert fine.asked == [2]
    assert len(tried) == 3


def test_the_three_of_the_highest_scores_go_on_and_the_likeliest_fine_fit_wins():
    # scores -0.5, -0.9, -0.4 (view 1), -0.3, -0.7: the likelihood alone would rank them otherwise
    coarse = fits((-0.5, 0), (-0.9, 0), (-0.45, 1), (-0.3, 0), (-0.6, 1))
    fine = Fine({3: -0.4, 2: -0.2, 0: -0.3, 1: 5.0, 4: 5.0})
    assert winner(search(coarse, fine, RULE)) == 2
    assert fine.asked == [3, 2, 0]


def test_of_equals_the_earlier_one_wins():
    fine = Fine()
    assert winner(search(fits(*[(-0.5, 0)] * 5), fine, RULE)) == 0
    assert fine.asked == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_starts_all_go_on(count):
    fine = Fine({0: -1.0, 1: -0.5})
    assert winner(search(fits(*[(-0.5, 0)] * count), fine, RULE)) == count - 1


def test_the_real_rule_of_seven_views(ceclm_dir, reference):
    rule = read_early_termination((originals(ceclm_dir) / CECLM_MENU).with_name("early_term_cen_of.txt"))
    assert rule.weights.tolist() == [1.0, 1.005, 1.054, 0.976, 0.976, 1.054, 1.005]
    assert rule.biases.tolist() == [0.0, 0.049, 0.121, -0.37, -0.37, 0.121, 0.049]
    assert rule.cutoffs.tolist() == [-0.23, -0.2, -0.14, 0.26, 0.26, -0.14, -0.2]
    for values in (rule.weights, rule.biases, rule.cutoffs):  # a view and its mirror image are judged alike
        assert np.array_equal(values, values[list(reference("cen_files").MIRROR_VIEWS)])


@pytest.mark.parametrize(
    ("text", "says"), [("1 2 3 4", "got 4"), ("", "got 0"), ("1 2 x", "expected numbers"), ("1 nan 2", "finite")]
)
def test_a_rule_that_cannot_be_right_is_refused(tmp_path, text, says):
    (tmp_path / "rule.txt").write_text(text)
    with pytest.raises(ModelError, match=rf"rule\.txt: .*{says}"):
        read_early_termination(tmp_path / "rule.txt")
