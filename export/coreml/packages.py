"""Writes the packages: each is saved, read back, compared with the model files and with the exact path, and only then
given its name, with the errors in its metadata."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import auflow
from auflow.errors import ModelError, OutputError
from auflow.export.coreml import heads, networks
from auflow.export.coreml.plan import Exported, Plan
from auflow.export.coreml.samples import Samples, take_samples
from auflow.export.coreml.weights import check_weights
from auflow.models.coreml.choices import precision_of, sides_of
from auflow.models.coreml.package import Package, read_package, tell
from auflow.models.coreml.tools import coremltools
from auflow.models.coreml.translate import TARGET, write_package
from auflow.models.license import LICENSE_URL

__all__ = ["export_coreml", "export_plans"]

DEMO = Path(auflow.__file__).parent / "demo" / "astronaut.mp4"  # in a checkout, not in the wheel
_LICENSE = (
    "The weights are OpenFace's, under OpenFace's licence: academic or non-profit research only, not to be passed on. "
    + LICENSE_URL
)


def export_coreml(
    folder: Path, models_root: Path, progress: Callable[[str], None], *, clip: Path | None = None
) -> list[Exported]:
    """Write MTCNN's three networks and the AU heads as .mlpackage files; packages of the same names are replaced.

    Nothing gets its name before all are checked: their weights with the model files, bit for bit after rounding, and
    what a NumPy interpreter computes from the saved programs with ONNX Runtime (MTCNN) and the float64 heads.

    Parameters
    ----------
    folder : where to; made if it is not there
    models_root : the model store
    progress : told what goes on, a line at a time
    clip : real pictures for the check, with a face; None takes the demo clip where there is one, else only made-up
        numbers are compared, and the metadata say so

    Raises
    ------
    BackendError
        coremltools is not installed.
    ModelError
        A model file is missing or damaged, or a package does not compute what it should.
    InputError
        The clip cannot be read, or has no face.
    OutputError
        `folder` cannot be written.
    """
    coremltools()
    plans = [*networks.plans(models_root), *heads.plans(models_root)]
    clip = clip or (DEMO if DEMO.is_file() else None)
    progress(f"real pictures and descriptors for the check: {clip.name if clip else 'none, there is no clip'}")
    return export_plans(folder, plans, models_root, take_samples(clip, models_root), progress)


def export_plans(
    folder: Path, plans: list[Plan], models_root: Path, samples: Samples, progress: Callable[[str], None]
) -> list[Exported]:
    """`export_coreml` of some packages, checked on some samples."""
    for plan in plans:
        _refuse_other(folder / plan.file_name)
    with _unchecked(folder) as unchecked:
        packages, roundings = {}, {}
        for plan in plans:
            progress(f"{plan.file_name}: written, its weights compared")
            path = unchecked / plan.file_name
            write_package(plan.model, path, sides=sides_of(plan.model), precision=precision_of(plan.model))
            packages[plan.model.name] = package = read_package(path)
            roundings[plan.model.name] = check_weights(package, plan.weights, precision_of(plan.model))
        progress("computed and compared with the exact path")
        errors = {
            **networks.evaluate(packages, models_root, samples),
            **heads.evaluate(packages, models_root, samples),
        }
        for plan in plans:
            name = plan.model.name
            tell(packages[name].path, _metadata(plan, roundings[name], errors[name], samples))
            if read_package(packages[name].path).program_sha256 != packages[name].program_sha256:
                raise ModelError(f"{plan.file_name}: is not what was checked: export it again")
        return [_put(plan, packages[plan.model.name], folder, roundings, errors) for plan in plans]


@contextmanager
def _unchecked(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder` for what has no name yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hidden = tempfile.TemporaryDirectory(prefix=".auflow-", dir=folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    with hidden as path:
        try:
            yield Path(path)
        except OSError as error:  # also of coremltools, which copies whole folders and has no word of its own for it
            reason = error.strerror or "not all of it could be written; is the disk full?"
            raise OutputError(f"{folder}: cannot be written: {reason}") from None


def _metadata(plan: Plan, rounding: float, errors: Mapping[str, float], samples: Samples) -> dict[str, str]:
    real = f"{len(samples.pictures)} pictures, {len(samples.descriptors)} descriptors of {samples.clip}"
    return {
        "author": "auflow, from the model files of OpenFace 2.2.0",
        "license": _LICENSE,
        "version": auflow.__version__,
        "short_description": plan.description,
        "auflow.graph_sha256": plan.model.sha256,
        "auflow.precision": precision_of(plan.model),
        "auflow.minimum_deployment_target": TARGET,
        "auflow.checked_on": f"{f'{real}, and made-up numbers' if samples.clip else 'made-up numbers only'}",
        "auflow.checked_by": "NumPy, from the saved program; it was not run by Core ML",
        "auflow.error.weights": f"{rounding:.3g}",
        **{f"auflow.error.{what}": f"{error:.3g}" for what, error in errors.items()},
        **{f"auflow.{key}": text for key, text in plan.model.metadata.items()},
    }


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _refuse_other(place: Path) -> None:
    """What has a package's name already is replaced only where it is a package."""
    if place.exists() and not (place / "Manifest.json").is_file():
        raise OutputError(f"{place}: is there and no .mlpackage: remove it or choose another folder")


def _put(
    plan: Plan,
    package: Package,
    folder: Path,
    roundings: Mapping[str, float],
    errors: Mapping[str, Mapping[str, float]],
) -> Exported:
    """Give a checked package its name."""
    place, name = folder / plan.file_name, plan.model.name
    try:
        if place.exists():
            shutil.rmtree(place)
        package.path.rename(place)
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror}") from None
    return Exported(place, _size(place), package.kinds, roundings[name], errors[name])
