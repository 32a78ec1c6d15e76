"""How close two CSVs are: `python benchmarks/parity.py REFERENCE.csv OURS.csv [--floor FLOOR.json]`.

Both are OpenFace's format with six decimals (`auflow run --precision full`). `success` is compared on all rows, values
on the rows where the reference has a face. FLOOR.json holds the same figures for the reference program against itself,
compiled with other flags: no port can be asked for less.

    python benchmarks/parity.py demo/full.csv out/astronaut.csv --floor demo/floor.json
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]

AUS = ["01", "02", "04", "05", "06", "07", "09", "10", "12", "14", "15", "17", "20", "23", "25", "26", "28", "45"]
POINT_GROUPS = {
    "landmarks2d_px": ("x_", "y_"),
    "landmarks3d_mm": ("X_", "Y_", "Z_"),
    "eye_landmarks2d_px": ("eye_lmk_x_", "eye_lmk_y_"),
}
VALUE_GROUPS = {
    "pose_mm": ("pose_Tx", "pose_Ty", "pose_Tz"),
    "pose_rad": ("pose_Rx", "pose_Ry", "pose_Rz"),
    "gaze_angle_rad": ("gaze_angle_x", "gaze_angle_y"),
}
PERCENTILES = (50, 90, 99)


def read(path: Path) -> dict[str, F64]:
    """The columns of a CSV by name, in the order of its frames.

    Raises
    ------
    ValueError
        Not a CSV of numbers with a column `frame`.
    """
    with path.open(newline="") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        values = np.array([[float(value) for value in row] for row in rows], np.float64).reshape(-1, len(names))
    if "frame" not in names:
        raise ValueError(f"{path}: expected a CSV with a column `frame`, got {names[:5]}")
    values = values[np.argsort(values[:, names.index("frame")], kind="stable")]
    return dict(zip(names, values.T, strict=True))


def compare(reference: dict[str, F64], ours: dict[str, F64]) -> dict[str, Any]:
    """The figures, under the names that FLOOR.json has.

    Raises
    ------
    ValueError
        The files have other frames or columns than each other.
    """
    if not np.array_equal(reference["frame"], ours["frame"]):
        raise ValueError(f"expected the {len(reference['frame'])} frames of the reference, got {len(ours['frame'])}")
    if missing := [name for name in reference if name not in ours]:
        raise ValueError(f"expected every column of the reference, {len(missing)} are missing: {missing[:5]}")
    found = reference["success"] == 1
    figures: dict[str, Any] = {"success_agreement": float(np.mean(reference["success"] == ours["success"]))}
    if not found.any():
        return figures
    away = {name: (ours[name] - values)[found] for name, values in reference.items()}
    for label, stems in POINT_GROUPS.items():
        axes = [np.stack([away[name] for name in reference if _is_point(name, stem)]) for stem in stems]
        figures[label] = _percentiles(np.sqrt(np.sum(np.square(axes), axis=0)))
    for label, names in VALUE_GROUPS.items():
        figures[label] = _percentiles(np.abs([away[name] for name in names]))
    intensities = [f"AU{au}_r" for au in AUS if f"AU{au}_r" in reference]
    correlations = [_correlation(reference[name][found], ours[name][found]) for name in intensities]
    figures["au_r_mean_r"] = float(np.mean(correlations))
    figures["au_r_mae"] = float(np.mean(np.abs([away[name] for name in intensities])))
    figures["au_c_agreement"] = float(np.mean(np.stack([away[f"AU{au}_c"] for au in AUS]) == 0))
    return figures


def _is_point(name: str, stem: str) -> bool:
    return name.startswith(stem) and name[len(stem) :].isdecimal()


def _percentiles(errors: F64) -> dict[str, float]:
    return {f"p{share}": float(np.percentile(errors, share)) for share in PERCENTILES} | {"max": float(errors.max())}


def _correlation(a: F64, b: F64) -> float:
    spans = bool(np.ptp(a) < 1e-9), bool(np.ptp(b) < 1e-9)
    # An AU that never moves in either correlates with itself; one that moves in one file only does not.
    return float(all(spans)) if any(spans) else float(np.corrcoef(a, b)[0, 1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures beside those of the floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("ours", type=Path)
    parser.add_argument("--floor", metavar="FLOOR.json", type=Path)
    options = parser.parse_args(arguments)
    try:
        figures = compare(read(options.reference), read(options.ours))
    except (OSError, ValueError) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 1
    floor = json.loads(options.floor.read_text()) if options.floor else {}
    print(f"{'':26} {'ours':>9} {'floor':>9}")
    for label, figure in figures.items():
        parts = figure.items() if isinstance(figure, dict) else [("", figure)]
        for part, value in parts:
            beside = floor.get(label, {}).get(part) if part else floor.get(label)
            print(f"{label} {part}".ljust(26), f"{value:9.5f}", f"{beside:9.5f}" if beside is not None else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
