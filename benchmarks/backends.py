"""What each backend takes for the work of a stage, against the reference, in turns: CPU and wall time, and the error.

By hand: python -m auflow.benchmarks.backends [CLIP] [--backends ort-cpu,ort-cuda] [--batches 1,4,16] [--repeat 10]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.backends.availability import look
from auflow.backends.base import GraphBackend
from auflow.backends.load import load_backend
from auflow.backends.names import BACKENDS, BackendName
from auflow.benchmarks.detect_together import pictures
from auflow.export.checks import picture
from auflow.models import store
from auflow.models.clnf import load_clnf_models
from auflow.stages.au.heads import Heads, load_heads
from auflow.stages.clnf.areas import cut_areas
from auflow.stages.clnf.face_model import windows_of
from auflow.stages.clnf.map_fitter import GraphPatchExperts
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.detect.mtcnn import MtcnnDetector
from auflow.threads import pin_threads

__all__ = ["Timed", "main", "measure"]

_TURN = np.array([[1.1, 0.15], [-0.15, 1.1]], np.float32)
_SIZE = (640, 480)
Work = Callable[[], NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Timed:
    """One piece of work by one backend."""

    work: str
    batch: int
    backend: str
    cpu_ms: float  # of one item
    wall_ms: float
    error: float  # largest difference from the reference


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clip", nargs="?", type=Path, default=Path("demo/astronaut.mp4"))
    parser.add_argument("--backends", metavar="NAME[,NAME]", help="default: all graph backends that are here")
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--repeat", type=int, default=10)
    given = parser.parse_args(argv)
    pin_threads()
    here = [name for name in BACKENDS if name != "numba" and look(name).usable]
    names = here if given.backends is None else [n for n in BACKENDS if n in given.backends.split(",")]
    for name in sorted(set(BACKENDS) - {"numba", *names}, key=BACKENDS.index):
        sys.stdout.write(f"{name}: not measured: {look(name).what}\n")
    sys.stdout.write("| work | batch | by | CPU ms each | wall ms each | largest error |\n|---|---|---|---|---|---|\n")
    batches = [int(word) for word in given.batches.split(",")]
    for row in measure(given.clip, store.default_root(), names, batches, given.repeat):
        sys.stdout.write(
            f"| {row.work} | {row.batch} | {row.backend} | {row.cpu_ms:.3f} | {row.wall_ms:.3f} | {row.error:.1e} |\n"
        )
        sys.stdout.flush()
    return 0


def measure(
    clip: Path, models_root: Path, names: Sequence[BackendName], batches: Sequence[int], repeat: int
) -> Iterator[Timed]:
    """All work by the reference and by each backend, in batches of several sizes."""
    backends = {name: load_backend(name) for name in names}
    for batch in batches:
        yield from _detection(clip, models_root, backends, batch, repeat)
        yield from _response_maps(models_root, backends, batch, repeat)
        yield from _heads(models_root, backends, batch, repeat)


def _detection(
    clip: Path, models_root: Path, backends: dict[BackendName, GraphBackend], batch: int, repeat: int
) -> Iterator[Timed]:
    shown = pictures([clip], _SIZE)
    chosen = [shown[k % len(shown)] for k in range(batch)]

    def by(detector: MtcnnDetector) -> Work:
        return lambda: np.concatenate([boxes[:, :4] for boxes in detector.detect_many(chosen)])

    ours = {name: by(MtcnnDetector(models_root, backend)) for name, backend in backends.items()}
    yield from _timed("detection 640x480", batch, "ort-cpu", by(MtcnnDetector(models_root)), ours, repeat)


def _response_maps(
    models_root: Path, backends: dict[BackendName, GraphBackend], batch: int, repeat: int
) -> Iterator[Timed]:
    """The two scales of a face that is followed, and the patches cut for them."""
    model = load_clnf_models(models_root).main
    image, windows, view = picture(_SIZE[1], _SIZE[0], 5), windows_of(None), 0
    rng = np.random.default_rng(1)
    places = [rng.uniform(100, 400, 136).astype(np.float32) for _ in range(batch)]
    scales = list(zip(model.patches, windows, strict=True))[1:]
    exact = [(PatchExperts(patches), window) for patches, window in scales]

    def reference() -> NDArray[np.floating]:
        maps = [[e.response_maps(image, where, _TURN, view, window) for where in places] for e, window in exact]
        return np.concatenate([np.stack(of_scale).reshape(-1) for of_scale in maps])

    def by(backend: GraphBackend) -> Work:
        experts = [(GraphPatchExperts(patches, backend), window) for patches, window in scales]
        views = np.full(batch, view, np.int64)

        def work() -> NDArray[np.floating]:
            found = []
            for e, window in experts:
                areas = np.stack([cut_areas(image, where, _TURN, e.visible[view], window) for where in places])
                found.append(e.maps_of(areas, views, window).reshape(-1).copy())
            return np.concatenate(found)

        return work

    ours = {name: by(backend) for name, backend in backends.items()}
    yield from _timed("response maps, followed face", batch, "numba", reference, ours, repeat)


def _heads(models_root: Path, backends: dict[BackendName, GraphBackend], batch: int, repeat: int) -> Iterator[Timed]:
    features = np.random.default_rng(2).uniform(0, 0.1, (batch, 4702))

    def by(heads: Heads) -> Work:
        return lambda: heads.products_of(features)

    exact = by(load_heads(models_root.resolve(), static=False))
    ours = {n: by(load_heads(models_root.resolve(), static=False, backend=n)) for n in backends}
    yield from _timed("AU heads", batch, "numba", exact, ours, 20 * repeat)


def _timed(
    work: str, batch: int, reference_name: str, reference: Work, ours: dict[BackendName, Work], repeat: int
) -> Iterator[Timed]:
    """The least time of each, taken in turns, so that what else the machine does meets all."""
    expected = reference()
    called: dict[str, Work] = {reference_name: reference}
    called |= {name: one for name, one in ours.items() if name != reference_name}
    # The first call of each also loads what is loaded late.
    errors = {name: float(np.abs(one() - expected).max()) for name, one in called.items()}
    best = dict.fromkeys(called, (np.inf, np.inf))
    for _ in range(repeat):
        for name, one in called.items():
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            one()
            spent = time.process_time() - cpu_s, time.perf_counter() - wall_s
            best[name] = min(best[name][0], spent[0]), min(best[name][1], spent[1])
    for name, (cpu_s, wall_s) in best.items():
        yield Timed(work, batch, name, 1e3 * cpu_s / batch, 1e3 * wall_s / batch, errors[name])


if __name__ == "__main__":
    sys.exit(main())
