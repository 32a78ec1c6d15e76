"""An AU stage gone on from its snapshot, several in one process, online values, streams without an end."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from auflow.errors import StageError
from auflow.stages.au import AuStage, stage
from auflow.stages.au.features import DescriptorMedian
from auflow.stages.au.heads import load_heads
from auflow.stages.au.median import RunningMedian
from auflow.stages.au.offline import finish_intensities
from auflow.stages.au.online import OnlineCorrection
from auflow.stages.records import AuFrame, AuTable, Frame
from auflow.stages.settings import StageSettings
from auflow.stages.state import StateError, unpack_state

LIVE = StageSettings(live=True, hog=True, aligned=True)


@pytest.fixture(scope="module")
def clip(demo_dir, openface_csv, pictures):
    """Pictures of the demo clip, landmarks, and acceptance: with failures at the start and in between."""
    final = openface_csv(demo_dir / "full.csv")
    shown = [picture for picture, _ in zip(pictures(demo_dir / "astronaut.mp4"), range(40), strict=False)]
    good = np.ones(len(shown), bool)
    good[[0, 1, 5, 6, 7, 20]] = False
    return shown, final.landmarks[: len(shown)], good


@pytest.fixture(scope="module")
def step(clip, fit_of):
    """`step(au, number)`: one frame of the clip, by its number from 1."""

    def process(au: AuStage, number: int, place: int | None = None) -> AuFrame:
        pictures, landmarks, good = clip
        at = (number if place is None else place) - 1
        fit = fit_of(number, landmarks[at], success=bool(good[at]))
        return au.process(Frame(number, 0.0, pictures[at]), fit)

    return process


def same(ours: AuFrame | AuTable, theirs: AuFrame | AuTable) -> bool:
    names = [name for name in ours.__slots__ if isinstance(getattr(ours, name), np.ndarray)]
    nothing = [name for name in ours.__slots__ if (getattr(ours, name) is None) != (getattr(theirs, name) is None)]
    return not nothing and all(getattr(ours, name).tobytes() == getattr(theirs, name).tobytes() for name in names)


@pytest.mark.parametrize(
    "settings",
    [
        StageSettings(),
        LIVE,
        StageSettings(au_static=True),
        StageSettings(faces="all"),
        StageSettings(keep_series=False),
    ],
    ids=["dynamic", "live", "static", "all", "no series"],
)
def test_a_fresh_stage_goes_on_after_every_frame(models_dir, step, settings, monkeypatch):
    monkeypatch.setattr(stage, "_REPREDICTED", 12)
    whole = AuStage(models_dir, settings)
    blob = whole.snapshot()
    for number in range(1, 31):
        expected = step(whole, number)
        au = AuStage(models_dir, settings)
        au.restore(blob)
        assert same(step(au, number), expected)
        if settings.keep_series:
            assert same(au.finish(), whole.finish())
        blob = au.snapshot()
        assert blob == whole.snapshot()


def test_two_streams_in_turn_are_as_each_alone(models_dir, step):
    ways = [list(range(1, 26)), list(range(30, 8, -1))]

    def alone(places: list[int]) -> tuple[list[AuFrame], AuTable]:
        au = AuStage(models_dir, LIVE)
        return [step(au, number, place) for number, place in enumerate(places, start=1)], au.finish()

    expected = [alone(places) for places in ways]
    stages = [AuStage(models_dir, LIVE) for _ in ways]
    for number in range(1, 26):
        for au, places, (frames, _) in zip(stages, ways, expected, strict=True):
            if number <= len(places):
                assert same(step(au, number, places[number - 1]), frames[number - 1])
    assert stages[0].heads is stages[1].heads
    assert stages[0]._describer is stages[1]._describer
    for au, (_, table) in zip(stages, expected, strict=True):
        assert same(au.finish(), table)


def test_heads_are_loaded_once_for_each_kind(models_dir):
    assert load_heads(models_dir.resolve(), static=False) is AuStage(models_dir).heads
    assert AuStage(models_dir, StageSettings(au_static=True)).heads is not AuStage(models_dir).heads


def test_online_values_are_the_raw_ones_corrected(models_dir, step, clip):
    live, plain, correction = AuStage(models_dir, LIVE), AuStage(models_dir), OnlineCorrection()
    rows = []
    for number in range(1, 36):
        ours, theirs = step(live, number), step(plain, number)
        assert theirs.online is None
        assert np.array_equal(ours.intensities, theirs.intensities)
        accepted = clip[2][number - 1]
        expected = correction.correct(theirs.intensities) if accepted else np.zeros(17)
        assert np.array_equal(ours.online, expected)
        rows.append(ours.online)
    table, plain_table = live.finish(), plain.finish()
    assert np.array_equal(table.intensities, plain_table.intensities)
    assert plain_table.online_difference is None
    good = clip[2][:35]
    expected = np.abs(np.array(rows) - table.intensities)[good].mean(axis=0)
    assert table.online_difference == pytest.approx(expected, abs=1e-12)
    assert table.online_difference.max() > 0.01


def test_online_values_of_faces_that_stand_for_themselves(models_dir, step):
    au = AuStage(models_dir, StageSettings(faces="all", live=True))
    frame = step(au, 3)
    assert np.array_equal(frame.online, frame.intensities)
    assert not au.finish().online_difference.any()


def test_no_accepted_frame_no_difference(models_dir, step):
    au = AuStage(models_dir, LIVE)
    assert not step(au, 1).online.any()
    assert au.finish().online_difference is None


def test_without_a_series_nothing_grows_and_there_is_no_end(models_dir, fit_of):
    au = AuStage(models_dir, StageSettings(live=True, keep_series=False))
    fit, picture = fit_of(1, np.zeros(136), success=False), np.zeros((9, 9, 3), np.uint8)
    au.process(Frame(1, 0.0, picture), fit)
    size = len(au.snapshot())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5000):
            au.process(Frame(1, 0.0, picture), fit)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert len(au.snapshot()) == size
    with pytest.raises(StageError, match="keep_series=False"):
        au.finish()


def test_the_next_segment_keeps_the_person(models_dir, step, clip):
    """Its rows are its own; medians and corrections go on as if there were no segments."""
    cut, whole = AuStage(models_dir, LIVE), AuStage(models_dir, LIVE)
    for number in range(1, 16):
        step(cut, number)
        step(whole, number)
    assert len(cut.finish().intensities) == 15
    cut.next_segment()
    assert len(cut.finish().intensities) == 0
    frames = []
    for number in range(16, 36):
        frames.append(step(cut, number))
        assert same(frames[-1], step(whole, number))
    assert np.array_equal(cut._persons.person(0, 0)._median.value, whole._persons.person(0, 0)._median.value)
    table, accepted = cut.finish(), clip[2][15:35]
    again = whole._predict_again()[1][15:35]
    assert np.array_equal(table.intensities, finish_intensities(again, accepted, cut.heads.cutoffs))
    assert len(table.presences) == 20
    # In the middle of a segment, too, it can be gone on with.
    other = AuStage(models_dir, LIVE)
    other.restore(cut.snapshot())
    assert same(other.finish(), table)


def test_states_of_others_are_refused_and_leave_the_stage_new(models_dir, step):
    au, live = AuStage(models_dir), AuStage(models_dir, LIVE)
    first = step(AuStage(models_dir), 3)
    for number in range(1, 9):
        step(au, number)
        step(live, number)
    blob = au.snapshot()
    wrong = [
        (blob[:-9], "check sum"),
        (AuStage(models_dir, StageSettings(au_static=True)).snapshot(), "got au.widest.static of version 2"),
    ]
    for damaged, said in wrong:
        step(au, 9)
        with pytest.raises(StateError, match=said):
            au.restore(damaged)
        assert same(step(au, 3), first)
    with pytest.raises(StateError, match="expected an array online"):
        live.restore(blob)
    assert len(live.finish().intensities) == 0


def median_of(rng, samples: int, *, start: int = 0) -> RunningMedian:
    median = RunningMedian(6, bins=50, low=-1.0, high=1.0, floor=0.0)
    median.count = start
    for _ in range(samples):
        median.insert(rng.normal(0, 0.4, 6))
    return median


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 200])
def test_a_median_goes_on_from_its_snapshot(samples):
    rng = np.random.default_rng(samples)
    median = median_of(rng, samples)
    other = RunningMedian(6, bins=50, low=-1.0, high=1.0, floor=0.0)
    other.restore(median.snapshot())
    for _ in range(50):
        values = rng.normal(0.2, 0.4, 6)
        median.insert(values)
        other.insert(values)
        assert np.array_equal(median.value, other.value)


def test_a_median_of_more_samples_than_16_bits_count():
    median = RunningMedian(1, bins=4, low=0.0, high=1.0)
    for value in (0.1, 0.9):
        for _ in range(40_000):
            median.insert(np.array([value]))
    other = RunningMedian(1, bins=4, low=0.0, high=1.0)
    other.restore(median.snapshot())
    for one in (median, other):
        for _ in range(3):
            one.insert(np.array([0.9]))
    assert other.value.tolist() == median.value.tolist() == [0.875]
    assert other._counts.dtype == np.uint32
    assert np.array_equal(other._counts, median._counts)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("count", lambda array: array + 1),
        ("at", lambda array: array + 1000),
        ("at", lambda array: array - 1000),
        ("histograms", lambda array: array[:-2]),
        ("value", lambda array: array[:-1]),
    ],
)
def test_medians_that_cannot_be(name, change):
    rng = np.random.default_rng(0)
    median, other = median_of(rng, 30), median_of(rng, 5)
    arrays = median.snapshot()
    arrays[name] = np.asarray(change(arrays[name]), arrays[name].dtype)
    with pytest.raises(StateError):
        other.restore(arrays)
    assert other.count == 0


def test_the_state_of_a_long_video_is_small(models_dir):
    """Ten minutes at 30 pictures a second: the histograms of every second frame's descriptor."""
    rng = np.random.default_rng(0)
    median = DescriptorMedian()
    middle = rng.uniform(0, 0.3, median.value.size)
    spread = np.abs(middle) * 0.25
    for _ in range(9000):
        median.insert(rng.normal(middle, spread))
    assert sum(array.nbytes for array in median.snapshot().values()) < 2_000_000


def test_what_is_kept_of_a_frame(models_dir, step):
    au = AuStage(models_dir, StageSettings(live=True))
    sizes = []
    for number in (3, 4):
        step(au, number)
        arrays = unpack_state(au.snapshot(), "au.widest.dynamic", 2)
        sizes.append(sum(array.nbytes for name, array in arrays.items() if name.startswith("series/")))
    assert sizes[1] - sizes[0] == 2 * 8 + 1 + 17 * 8 + 18 + 35 * 8 + 8 + 17 * 8
