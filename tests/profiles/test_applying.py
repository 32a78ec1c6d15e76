"""What a run takes from a profile, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from auflow.errors import UsageError
from auflow.profiles.applying import apply_profile, backends_for, check_precision, resolve
from auflow.profiles.profile import Choices, Profile, TrackingChoice
from auflow.profiles.store import Loaded
from auflow.stages.settings import StageSettings

PLACE = Path("/home/me/profile.json")


def test_all_that_nobody_has_said_is_the_profiles(profile: Profile) -> None:
    found = resolve(StageSettings(), {}, Loaded(profile, PLACE))
    assert found.settings == StageSettings(
        clnf_backend="ort-cpu", detect_batch=8, tracking="coherent", detect_every=7, reuse_below_percent=2.5
    )
    assert found.jobs == 3
    (note,) = found.notes
    assert note == (
        "profile /home/me/profile.json: clnf by ort-cpu; detection in batches of 8; coherent tracking, as was allowed "
        "when tuning: numbers differ within landmarks 0.3 px; 3 at the same time (--profile none goes without)"
    )


def test_what_the_user_says_stays(profile: Profile) -> None:
    asked = resolve(StageSettings(), {"clnf": "numba"}, Loaded(profile, PLACE), given=("tracking",), jobs=False)
    assert asked.settings == StageSettings(detect_batch=8)
    assert asked.jobs is None
    assert "tracking" not in asked.notes[0]
    assert "clnf" not in asked.notes[0]


def test_without_a_profile_nothing_changes(profile: Profile) -> None:
    assert resolve(StageSettings(), {}, Loaded(None, None)).settings == StageSettings()
    ignored = resolve(StageSettings(), {}, Loaded(None, PLACE, "it is old"))
    assert (ignored.settings, ignored.jobs, ignored.notes[0]) == (StageSettings(), None, "it is old")


def test_a_profile_that_changes_nothing_says_so(profile: Profile) -> None:
    plain = replace(profile, choices=Choices.reference())
    found = resolve(StageSettings(), {}, Loaded(plain, PLACE))
    assert found.settings == StageSettings()
    assert "nothing else than without it" in found.notes[0]


@pytest.mark.parametrize(
    "settings",
    [
        StageSettings(faces="all"),
        StageSettings(faces="all", identities=True),
        StageSettings(faces="pictures"),
        StageSettings(identities=True),
        StageSettings(wild=True),
        StageSettings(model="ceclm"),
    ],
)
def test_tracking_is_for_what_it_was_measured_with(profile: Profile, settings: StageSettings) -> None:
    assert apply_profile(settings, profile).tracking == "openface"


def test_tracking_of_several_faces(profile: Profile) -> None:
    several = replace(profile, faces="all")
    assert apply_profile(StageSettings(faces="all", identities=True), several).coherent
    assert not apply_profile(StageSettings(faces="all"), several).coherent


def test_tracking_needs_to_be_allowed_when_tuning(profile: Profile) -> None:
    for tracking in (None, TrackingChoice("openface")):
        choices = replace(profile.choices, tracking=tracking)
        assert apply_profile(StageSettings(), replace(profile, choices=choices)).tracking == "openface"


def test_batches_are_for_the_backend_they_were_measured_with(profile: Profile) -> None:
    assert apply_profile(StageSettings(detect_backend="ort-cuda"), profile).detect_batch == 0
    assert apply_profile(StageSettings(), profile, given=("detect_batch",)).detect_batch == 0


def test_the_fit_of_another_model_was_not_measured(profile: Profile) -> None:
    assert backends_for(profile, "ceclm") == {"detect": "ort-cpu", "clnf": "numba", "au": "numba"}
    assert apply_profile(StageSettings(model="ceclm"), profile).cen_precision == "int8"
    assert apply_profile(StageSettings(), profile).cen_precision == "float32"
    by_graphs = StageSettings(model="ceclm", clnf_backend="ort-cpu")
    assert apply_profile(by_graphs, profile).cen_precision == "float32"  # which is what they compute in


def test_8_bits_by_graphs_are_refused() -> None:
    both = StageSettings(model="ceclm", clnf_backend="ort-cpu", cen_precision="int8")
    with pytest.raises(UsageError, match="int8 is of CE-CLM's experts by numba; ort-cpu computes them in float32"):
        check_precision(both)
    check_precision(StageSettings(model="ceclm", cen_precision="int8"))
