"""What int8 changes in CE-CLM, and what it saves: a table as in docs/ceclm.md.

    python -m auflow.benchmarks.int8 CLIP [CLIP ...] [--teach CLIP ...] [--steps N] [--json FILE]

Faces are found in the clips by CLNF, and int8 is compared with float32 on every tenth frame. With --teach the experts
are taught from faces of those clips; without it they are OpenFace's (`auflow models fetch --with-ceclm`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.threads import pin_threads

if TYPE_CHECKING:
    from auflow.models.ceclm import CeclmModels
    from auflow.stages.clnf.cen_accuracy import Int8Error, KnownFace
    from auflow.stages.records import FaceFit, Frame

__all__ = ["faces_of", "main"]

HEAD: tuple[str, ...] = ("clip", "faces", "maps max", "maps rms", "landmarks p50, px", "p99, px", "max, px")
HEAD += ("floor p50, px", "floor p99, px")
HEAD += ("tracking fit float32, ms", "int8, ms", "within budget")
_EVERY = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a Markdown table, a row for each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="CLIP", nargs="+", type=Path)
    parser.add_argument("--teach", metavar="CLIP", nargs="+", type=Path, default=[], help="clips to teach experts from")
    parser.add_argument("--steps", metavar="N", type=int, default=300, help="of teaching (default: 300)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to FILE")
    options = parser.parse_args(arguments)
    pin_threads()  # before NumPy is imported
    from auflow.stages.clnf.cen_accuracy import measure_int8

    models = _models(options.teach, options.steps)
    found = {clip.name: measure_int8(models, faces_of(clip)) for clip in options.clips}
    for cells in (HEAD, ("---",) * len(HEAD), *(_row(name, error) for name, error in found.items())):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    if options.json:
        options.json.write_text(json.dumps({name: asdict(error) for name, error in found.items()}, indent=1) + "\n")
    return 0


def _models(clips: Sequence[Path], steps: int) -> CeclmModels:
    from auflow.benchmarks.taught_cen import teach
    from auflow.models import store
    from auflow.models.ceclm import load_ceclm_models
    from auflow.models.clnf import load_clnf_models

    root = store.default_root()
    if not clips:
        store.require_ceclm(root)
        return load_ceclm_models(root)
    return teach(load_clnf_models(root), [face for clip in clips for face in faces_of(clip)], steps=steps)


def faces_of(clip: Path) -> list[KnownFace]:
    """The widest face of every tenth frame, where CLNF finds it."""
    from auflow.stages.clnf.cen_accuracy import known_faces

    return known_faces(_fits(clip))


def _fits(clip: Path) -> Iterator[tuple[Frame, FaceFit]]:
    import numpy as np

    from auflow.models import store
    from auflow.stages.clnf import ClnfStage
    from auflow.stages.decode import open_source
    from auflow.stages.detect import MtcnnDetector
    from auflow.stages.records import Frame

    root = store.default_root()
    detector, stage = MtcnnDetector(root), ClnfStage(root)
    with open_source(clip) as source:
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while read := source.read_into(bgr):
            frame = Frame(*read, bgr)
            for fit in stage.process(frame, lambda: detector.detect(bgr)):
                if frame.index % _EVERY == 1:
                    yield frame, fit


def _row(clip: str, error: Int8Error) -> tuple[str, ...]:
    return (
        clip,
        str(error.faces),
        f"{error.maps_max:.4f}",
        f"{error.maps_rms:.5f}",
        f"{error.landmarks_p50_px:.4f}",
        f"{error.landmarks_p99_px:.4f}",
        f"{error.landmarks_max_px:.3f}",
        f"{error.floor_p50_px:.4f}",
        f"{error.floor_p99_px:.4f}",
        f"{error.float32_ms:.1f}",
        f"{error.int8_ms:.1f}",
        "yes" if error.passes else "no",
    )


if __name__ == "__main__":
    sys.exit(main())
