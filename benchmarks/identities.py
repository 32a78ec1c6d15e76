"""How well faces keep their numbers: on a composed clip whose truth is known, and on OpenFace's clip of three persons.

    python -m auflow.benchmarks.identities --media FOLDER [--out FOLDER] [--tracking openface|coherent|both]

Compares the numbers of trackers with those of persons, each with OpenFace's tracking and the coherent one; then, on the
composed clip, each person's Action Units with what the exact single-face program gives of that person's clip alone.
FOLDER holds OpenFace's sample videos and LivePortrait's (docs/identities.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.benchmarks import composed
from auflow.benchmarks.ids_picture import draw_ids
from auflow.benchmarks.mot import Marked, MotFigures, Shown, evaluate
from auflow.models import store
from auflow.stages.au import AuStage
from auflow.stages.clnf import ClnfStage
from auflow.stages.decode import open_source
from auflow.stages.detect import MtcnnDetector
from auflow.stages.faces import box_around, overlap
from auflow.stages.identity.keeper import IdentityKeeper, SeenFace
from auflow.stages.records import AuTable, Frame, SourceInfo
from auflow.stages.settings import StageSettings, Tracking
from auflow.threads import pin_threads

_MULTI_FACE = "multi_face.avi"
_FRONT, _RIGHT, _LEFT = range(3)  # its persons
_NAMES = {
    "composed": ("d9", "2015-10-15", "s20", "default", "astronaut"),
    _MULTI_FACE: ("in front", "right, tall", "left, with the mug"),
}


class TrackerNumbers(IdentityKeeper):
    """In place of the persons' numbers those of the trackers: what there is without identities."""

    def assign(self, index: int, faces: Sequence[SeenFace]) -> list[int]:
        """The tracker's own number of each face."""
        return [face.track for face in faces]


@dataclass(slots=True)
class Seen:
    """What the stages made of a clip."""

    faces: list[list[Shown]]  # by frame, those with success
    rows: list[tuple[int, int]]  # frame, from 0, and number of each row of the table
    table: AuTable
    looks: int


def observe(
    pictures: Iterable[NDArray[np.uint8]], tracking: Tracking, detector: MtcnnDetector, root: Path, *, persons: bool
) -> Seen:
    """Run the stages over pictures (h, w, 3): numbers are those of persons, or of trackers."""
    settings = StageSettings(faces="all", tracking=tracking, identities=True)
    clnf = ClnfStage(root, settings)
    au = AuStage(root, settings, None if persons else TrackerNumbers())
    seen = Seen([], [], au.finish(), 0)

    for index, bgr in enumerate(pictures, start=1):

        def detect(bgr: NDArray[np.uint8] = bgr) -> NDArray[np.float32]:
            seen.looks += 1
            return detector.detect(bgr)

        frame = Frame(index, index / 30, bgr)
        fits, _ = au.process_faces(frame, clnf.process(frame, detect))
        seen.faces.append(
            [Shown(fit.face_id, box_around(fit.landmarks_px.astype(np.float64))) for fit in fits if fit.success]
        )
        seen.rows += [(index - 1, fit.face_id) for fit in fits]
    seen.table = au.finish()
    return seen


def pictures_of(clip: Path) -> list[NDArray[np.uint8]]:
    """All pictures of a clip."""
    with open_source(clip) as source:
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        pictures = []
        while source.read_into(bgr) is not None:
            pictures.append(bgr.copy())
    return pictures


def three_persons(pictures: Iterable[NDArray[np.uint8]], detector: MtcnnDetector) -> list[list[Marked]]:
    """Who is where in OpenFace's clip of three persons: faces that MTCNN finds, named by what was seen by eye.

    The man in front has by far the largest face; of the two behind him the tall one is to the right of the one with
    the mug in every frame. Where only one of them is found, it is whoever was nearer to that place before.
    """
    truth: list[list[Marked]] = []
    last: dict[int, NDArray[np.float64]] = {}
    for bgr in pictures:
        boxes = sorted((box[:4].astype(np.float64) for box in detector.detect(bgr)), key=lambda box: -box[2])
        named = {_FRONT: boxes[0]} if boxes else {}
        behind = sorted(boxes[1:3], key=lambda box: box[0])
        if len(behind) == 2:
            named |= {_LEFT: behind[0], _RIGHT: behind[1]}
        elif behind and {_LEFT, _RIGHT} <= last.keys():
            away = {who: float(np.hypot(*(last[who][:2] - behind[0][:2]))) for who in (_LEFT, _RIGHT)}
            named[min(away, key=lambda who: away[who])] = behind[0]
        last |= named
        truth.append([Marked(who, box) for who, box in sorted(named.items())])
    return truth


def compose(media: Path, detector: MtcnnDetector, root: Path) -> tuple[list[composed.Scene], list[composed.Cutout]]:
    """The composed clip, and the faces that it is made of."""
    stage = ClnfStage(root)
    cutouts = []
    for actor in composed.ACTORS:
        clip = media / actor.clip
        if not clip.exists():
            clip = Path(__file__).parents[1] / "demo" / actor.clip
        cutouts.append(
            composed.cut_out(
                clip, lambda frame: stage.process(frame, partial(detector.detect, frame.bgr))[0], stage.reset
            )
        )
    return list(composed.scenes(cutouts)), cutouts


def alone(actor: int, cutouts: Sequence[composed.Cutout], detector: MtcnnDetector, root: Path) -> dict[int, Any]:
    """Intensities (17,) of a person by frame: the exact single-face stages on the person's own pictures."""
    clnf, au = ClnfStage(root), AuStage(root)
    path = composed.ACTORS[actor].path
    frames = range(path[0][0], path[-1][0] + 1)
    clnf.reset(SourceInfo("", "video", 1, 1, 30.0, None))
    good = []
    for number, index in enumerate(frames, start=1):
        bgr, _ = cutouts[actor].at(index)
        frame = Frame(number, number / 30, bgr)
        fit = clnf.process(frame, partial(detector.detect, bgr))[0]
        au.process(frame, fit)
        good.append(fit.success)
    table = au.finish()
    return {index: table.intensities[row] for row, index in enumerate(frames) if good[row]}


def agreement(seen: Seen, truth: Sequence[Sequence[Marked]], reference: Sequence[dict[int, Any]]) -> list[float]:
    """Mean correlation over the Action Units of each person with what the person's own clip gives."""
    pairs: list[list[tuple[Any, Any]]] = [[] for _ in reference]
    boxes = {(frame, face.number): face.box for frame, faces in enumerate(seen.faces) for face in faces}
    for row, (frame, number) in enumerate(seen.rows):
        box = boxes.get((frame, number))
        if box is None:
            continue
        for person in truth[frame]:
            expected = reference[person.person].get(frame)
            if person.counts and expected is not None and overlap(person.box, box) >= 0.5:
                pairs[person.person].append((seen.table.intensities[row], expected))
    return [_mean_r(np.array(own)) for own in pairs]


def _mean_r(pairs: NDArray[np.float64]) -> float:
    """pairs (n, 2, 17): the mean over the AUs that are not the same all the time in either."""
    varied = (np.ptp(pairs, axis=0) > 1e-9).all(axis=0)
    return float(np.mean([np.corrcoef(pairs[:, 0, k], pairs[:, 1, k])[0, 1] for k in np.flatnonzero(varied)]))


def _row(clip: str, tracking: str, what: str, seen: Seen, figures: MotFigures) -> dict[str, Any]:
    return {
        "clip": clip, "tracking": tracking, "numbers": what, "looks": seen.looks, "truth": figures.truth,
        "missed": figures.missed, "false": figures.false, "switches": figures.switches,
        "distinct": len({face.number for faces in seen.faces for face in faces}),
        "mota": round(figures.mota, 4), "idf1": round(figures.idf1, 4),
    }  # fmt: skip


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(str(row[head]) for head in heads) + " |" for row in rows])


@dataclass(slots=True)
class Found:
    """All that is measured."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    au_r: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[tuple[str, Tracking], list[MotFigures]] = field(default_factory=dict)


def measure(media: Path, trackings: Sequence[Tracking], root: Path) -> Found:
    """Run everything."""
    detector, found = MtcnnDetector(root), Found()
    three = pictures_of(media / _MULTI_FACE)
    clip, cutouts = compose(media, detector, root)
    clips = {
        "composed": ([scene.bgr for scene in clip], [list(scene.truth) for scene in clip]),
        _MULTI_FACE: (three, three_persons(three, detector)),
    }
    reference = [alone(actor, cutouts, detector, root) for actor in range(len(cutouts))]
    for name, (pictures, truth) in clips.items():
        for tracking in trackings:
            for what in ("trackers", "persons"):
                seen = observe(pictures, tracking, detector, root, persons=what == "persons")
                figures = evaluate(truth, seen.faces)
                found.rows.append(_row(name, tracking, what, seen, figures))
                found.figures.setdefault((name, tracking), []).append(figures)
                if name == "composed":
                    shares = agreement(seen, truth, reference)
                    own = {who: round(r, 4) for who, r in zip(_NAMES[name], shares, strict=True)}
                    mean = round(float(np.mean(shares)), 4)
                    found.au_r.append({"tracking": tracking, "medians of": what, **own, "mean": mean})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, metavar="FOLDER", help="of the clips")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="pictures of the numbers over time, figures as JSON")
    parser.add_argument("--tracking", choices=("openface", "coherent", "both"), default="both")
    args = parser.parse_args(arguments)
    pin_threads()
    root = store.default_root()
    store.require(root)
    found = measure(args.media, ("openface", "coherent") if args.tracking == "both" else (args.tracking,), root)
    sys.stdout.write(f"{_markdown(found.rows)}\n\nAU intensities, mean r against each person's own clip:\n\n")
    sys.stdout.write(f"{_markdown(found.au_r)}\n")
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"identities": found.rows, "au_r": found.au_r}, indent=1)
        (args.out / "identities.json").write_text(f"{text}\n")
        for (name, tracking), figures in found.figures.items():
            path = args.out / f"ids_{Path(name).stem}_{tracking}.png"
            draw_ids(path, f"{name}, {tracking} tracking", figures, _NAMES[name])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
