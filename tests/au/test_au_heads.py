"""Readers of the AU heads: strictness on made-up files, and the real heads against the traces."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from auflow.errors import ModelError
from auflow.models import au_heads
from auflow.models.au_heads import FEATURES, load_au_heads, read_au_head, read_au_list
from auflow.stages.au.heads import Heads, Predictor
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES


def matrix(rows: int, columns: int, value: float, kind: int = 6) -> bytes:
    dtype = {5: "<f4", 6: "<f8"}[kind]
    return struct.pack("<3i", rows, columns, kind) + np.full(rows * columns, value, dtype).tobytes()


def head(kind: int, *, cutoff: float = 0.5, labels: tuple[float, float] = (1.0, 0.0), means: bytes | None = None):
    parts = [struct.pack("<i", kind)]
    if kind == 1:
        parts.append(struct.pack("<d", cutoff))
    parts.append(matrix(1, FEATURES, 0.25) if means is None else means)
    parts.append(matrix(FEATURES, 1, -2.0) + struct.pack("<d", 0.125))
    if kind in (4, 5):
        parts.append(struct.pack("<2d", *labels))
    return b"".join(parts)


@pytest.mark.parametrize(
    ("number", "kind", "dynamic", "cutoff"),
    [
        (0, "intensity", False, None),
        (1, "intensity", True, 0.5),
        (4, "presence", False, None),
        (5, "presence", True, None),
    ],
)
def test_reads_each_type(tmp_path, number, kind, dynamic, cutoff):
    path = tmp_path / "head.dat"
    path.write_bytes(head(number, labels=(0.0, 1.0)))
    found = read_au_head(path, "AU99")
    assert (found.name, found.kind, found.dynamic, found.cutoff) == ("AU99", kind, dynamic, cutoff)
    assert found.means.shape == found.weights.shape == (FEATURES,)
    assert found.means.dtype == found.weights.dtype == np.float64
    assert (found.means[0], found.weights[-1], found.bias) == (0.25, -2.0, 0.125)
    assert (found.positive, found.negative) == ((0.0, 1.0) if kind == "presence" else (0.0, 0.0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (head(0)[:-3], "end of the file"),
        (head(0) + b"\0", "1 more bytes"),
        (head(2), "type of the head: expected one of"),
        (head(1, cutoff=1.5), "cut-off: expected 0 to 1, got 1.5"),
        (head(1, cutoff=float("nan")), "finite"),
        (head(4, labels=(1.0, 1.0)), "labels: expected 0 and 1"),
        (head(0, means=matrix(1, 4701, 0.0)), "expected 4702 columns, got 4701"),
        (head(0, means=matrix(1, FEATURES, 0.0, kind=5)), "float64"),
    ],
)
def test_refuses_a_damaged_file(tmp_path, content, message):
    path = tmp_path / "head.dat"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        read_au_head(path, "AU01")
    assert "head.dat" in str(error.value)


def test_a_list_names_file_and_au(tmp_path):
    (tmp_path / "a.dat").write_bytes(head(0))
    listing = tmp_path / "list.txt"
    listing.write_text("a.dat AU01\r\n\na.dat AU02")
    assert [found.name for found in read_au_list(listing)] == ["AU01", "AU02"]
    listing.write_text("a.dat AU01 more\n")
    with pytest.raises(ModelError, match="line 1: expected a file and a name"):
        read_au_list(listing)
    listing.write_text("b.dat AU01\n")
    with pytest.raises(ModelError, match=r"b\.dat: cannot be read"):
        read_au_list(listing)


def test_a_list_with_an_au_twice_is_refused(tmp_path):
    folder = tmp_path / "2.2.0" / "originals" / au_heads.PREDICTORS
    folder.mkdir(parents=True)
    (folder / "a.dat").write_bytes(head(0))
    (folder / "AU_all_best.txt").write_text("a.dat AU01\na.dat AU01\n")
    with pytest.raises(ModelError, match="expected one intensity head for each AU"):
        load_au_heads(tmp_path)


def test_the_real_heads_are_openfaces_choice(models_dir):
    heads = load_au_heads(models_dir)
    assert heads.intensities.names == AU_INTENSITIES
    assert heads.presences.names == AU_PRESENCES
    cutoffs = dict(zip(AU_INTENSITIES, heads.intensities.cutoffs, strict=True))
    expected = dict.fromkeys(AU_INTENSITIES, np.nan) | {
        "AU01": 0.55, "AU02": 0.75, "AU05": 0.8, "AU09": 0.7, "AU15": 0.55, "AU17": 0.2, "AU20": 0.65,
        "AU23": 0.65, "AU25": 0.3, "AU26": 0.3, "AU45": 0.6,
    }  # fmt: skip
    assert cutoffs == pytest.approx(expected, nan_ok=True)
    assert np.array_equal(heads.intensities.dynamic, np.isfinite(heads.intensities.cutoffs))
    assert not heads.intensities.weights.flags.writeable


def test_the_static_heads_know_no_median(models_dir):
    heads = load_au_heads(models_dir, static=True)
    assert heads.intensities.names == AU_INTENSITIES
    assert heads.presences.names == AU_PRESENCES
    assert not heads.intensities.dynamic.any()
    assert not heads.presences.dynamic.any()
    assert np.isnan(heads.intensities.cutoffs).all()


@pytest.mark.golden
def test_predict_what_the_trace_says(golden, models_dir, trace):
    """From the C++ program's own descriptors and medians: online, and with the final median."""
    heads = load_au_heads(models_dir)
    all_heads = Heads(heads)
    predictor = Predictor(all_heads)
    for clip in ("default", "changeLighting", "2015-10-15-15-14"):
        events, folder = trace(clip), golden / clip / "trace"
        load = lambda name, folder=folder: np.load(next(folder.glob(name))).reshape(-1)  # noqa: E731
        final = np.concatenate([load("*FINAL_hog_median.npy"), load("*FINAL_geom_median.npy")])
        labels = {event["au"]: event["v"] for event in events["post_class"]}
        again = {event["au"]: event["v"] for event in events["post_reg"]}
        for path in sorted(folder.glob("*_geom.npy")):
            name, frame = path.name.split("_")[0], int(path.name[1:7]) - 1
            features = np.concatenate([load(f"{name}_hog.npy"), load(f"{name}_geom.npy")])
            online = np.concatenate([load(f"{name}_hog_median.npy"), load(f"{name}_geom_median.npy")])
            products = all_heads.products(features)
            raw = events["au"][frame]
            # 1e-8: the trace has 9 digits.
            for median, reg, cls in (
                (online, raw["reg"], raw["class"]),
                (final, {au: v[frame] for au, v in again.items()}, {au: v[frame] for au, v in labels.items()}),
            ):
                predictor.set_median(median)
                intensities, presences = predictor.predict(products)
                assert np.abs(intensities - [reg[au] for au in AU_INTENSITIES]).max() < 2e-8
                assert presences.tolist() == [cls[au] for au in AU_PRESENCES]
