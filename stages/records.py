"""What passes from stage to stage: plain frozen records of numbers and arrays.

Layouts are OpenFace's: landmarks planar (all x, then all y, then all z), `params_global` is
[scale, rx, ry, rz, tx, ty] with the rotation as Euler angles in radians and the translation in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

AU_INTENSITIES: tuple[str, ...] = tuple(
    f"AU{n}"
    for n in ["01", "02", "04", "05", "06", "07", "09", "10", "12", "14", "15", "17", "20", "23", "25", "26", "45"]
)
AU_PRESENCES: tuple[str, ...] = tuple(
    f"AU{n}"
    for n in [
        "01",
        "02",
        "04",
        "05",
        "06",
        "07",
        "09",
        "10",
        "12",
        "14",
        "15",
        "17",
        "20",
        "23",
        "25",
        "26",
        "28",
        "45",
    ]
)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of an input before its first frame."""

    path: str
    kind: str  # "video" or "images"
    width_px: int  # of the frames that come out, rotation applied
    height_px: int
    fps: float
    frame_count: int | None  # as the container declares it; may be wrong or unknown
    rotation_deg: int = 0  # clockwise turn that was applied to the stored picture


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture. `bgr` may be a read-only view of a ring slot: valid only during `process`."""

    index: int  # 1-based, as in OpenFace's CSV
    timestamp_s: float
    bgr: NDArray[np.uint8]  # (h, w, 3), C-contiguous


@dataclass(frozen=True, slots=True)
class FaceFit:
    """One face of one frame as the CLNF stage leaves it."""

    index: int
    timestamp_s: float
    face_id: int  # of the tracker that follows it; from the AU stage on that of the person, where there are identities
    success: bool  # what the CSV says
    accepted: bool  # the validator's verdict: AUs are taken only here (the first fit of a face succeeds without it)
    confidence: float  # the validator's, 0 to 1
    params_global: NDArray[np.float32]  # (6,)
    params_local: NDArray[np.float32]  # (34,)
    landmarks_px: NDArray[np.float32]  # (136,) planar
    landmarks_mm: NDArray[np.float32]  # (204,) planar, camera frame
    pose: NDArray[np.float64]  # (6,) Tx Ty Tz [mm] Rx Ry Rz [rad], camera frame
    # Left eye (of the picture) first; zeros where no face was found, gaze also where the fit failed.
    gaze: NDArray[np.float64] = field(default_factory=lambda: np.zeros(8))  # two unit vectors, then angles x, y [rad]
    eyes_px: NDArray[np.float32] = field(default_factory=lambda: np.zeros(112, np.float32))  # 56 points, planar
    eyes_mm: NDArray[np.float32] = field(default_factory=lambda: np.zeros(168, np.float32))  # planar, camera frame
    # Which of the 68 landmarks the camera sees (1), by the model's view; the others (0) are guessed from them.
    visible: NDArray[np.uint8] = field(default_factory=lambda: np.ones(68, np.uint8))
    # The optimisations of the fit, main model and parts together: two per scale. Zeros where nothing was fitted.
    optimisations: int = 0
    converged: int = 0  # of them ended by the criterion, before the limit of iterations
    iterations: int = 0  # of all of them


@dataclass(frozen=True, slots=True)
class AuFrame:
    """The online (running-median) AU values of one face of one frame."""

    index: int
    face_id: int
    intensities: NDArray[np.float64]  # (17,) in the order of AU_INTENSITIES
    presences: NDArray[np.float64]  # (18,) in the order of AU_PRESENCES, 0 or 1
    hog: NDArray[np.float32] | None = None  # (4464,) FHOG of the aligned face, when the settings ask for it
    aligned: NDArray[np.uint8] | None = None  # (112, 112, 3) BGR aligned face, when the settings ask for it
    online: NDArray[np.float64] | None = None  # (17,) intensities corrected as they come, 0 to 5; of live streams
    reused: bool = False  # descriptor and values are those of an earlier frame, which the face has not changed since


@dataclass(frozen=True, slots=True)
class AuTable:
    """The values of a whole stream after the offline pass, one row per processed frame, in order."""

    intensities: NDArray[np.float64]  # (n, 17)
    presences: NDArray[np.float64]  # (n, 18)
    # (17,) mean absolute difference between the online intensities and these, over accepted frames; of live streams.
    online_difference: NDArray[np.float64] | None = None


def blank_fit(index: int, timestamp_s: float) -> FaceFit:
    """The fit of a frame that was not looked at: no face."""
    return FaceFit(
        index=index,
        timestamp_s=timestamp_s,
        face_id=0,
        success=False,
        accepted=False,
        confidence=0.0,
        params_global=np.zeros(6, np.float32),
        params_local=np.zeros(34, np.float32),
        landmarks_px=np.zeros(136, np.float32),
        landmarks_mm=np.zeros(204, np.float32),
        pose=np.zeros(6),
    )
