"""What the stages are asked to do: one frozen record, made by the command line, the same in every process of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auflow.backends.names import REFERENCE, BackendName

__all__ = [
    "COLUMN_CHOICES",
    "FORMATS",
    "CenChoice",
    "CenPrecision",
    "Columns",
    "Faces",
    "Format",
    "Model",
    "Precision",
    "StageSettings",
    "Tracking",
]

Precision = Literal["openface", "full"]
Model = Literal["clnf", "ceclm"]
Faces = Literal["widest", "all", "pictures"]
Tracking = Literal["openface", "coherent"]
CenPrecision = Literal["float32", "int8"]
CenChoice = Literal["auto", "float32", "int8"]  # as a user says it
Columns = Literal["gaze", "pose", "landmarks2d", "landmarks3d", "shape", "aus"]
Format = Literal["csv", "parquet", "jsonl"]
COLUMN_CHOICES: tuple[Columns, ...] = ("gaze", "pose", "landmarks2d", "landmarks3d", "shape", "aus")
FORMATS: tuple[Format, ...] = ("csv", "parquet", "jsonl")


@dataclass(frozen=True, slots=True)
class StageSettings:
    """The settings of all stages of a run."""

    model: Model = "clnf"  # landmark model: CLNF, or CE-CLM, whose files come separately
    faces: Faces = "widest"  # follow the widest face, follow up to four, or take every face of each picture by itself
    tracking: Tracking = "openface"  # OpenFace's logic to the letter, or only the work that says something new
    detect_every: int = 5  # coherent: least frames from one look for faces that is not urgent to the next, from 1
    reuse_below_percent: float = 5.0  # coherent: a face that has changed less keeps its descriptor and AUs; 0: never
    identities: bool = False  # number faces by the person and keep each person's medians; else by OpenFace's logic
    identity_model: str = ""  # path of an ONNX network that tells persons apart; "": by our own descriptor
    wild: bool = False  # search wider and longer for a face
    detect_backend: BackendName = REFERENCE["detect"]  # what computes MTCNN's networks ...
    detect_batch: int = 0  # RNet's patches to a call; 0: what suits the backend
    clnf_backend: BackendName = REFERENCE["clnf"]  # ... the response maps ...
    au_backend: BackendName = REFERENCE["au"]  # ... and the AU heads
    cen_precision: CenPrecision = "float32"  # of the dense layers of CE-CLM's experts on the CPU
    clnf_iterations: int | None = None  # limit of an optimisation, from 1; None is the C++ program's: 5, with wild 10
    clnf_tolerance_px: float | None = None  # converged when all landmarks together moved less; None: its 0.01 px
    camera: tuple[float, float, float, float] | None = None  # fx, fy, cx, cy in pixels; None is a guess by the size
    boxes_dir: str | None = None  # pictures only: NAME.txt with the boxes of NAME.jpg, instead of detection
    au_static: bool = False  # AU models that know no running median
    live: bool = False  # intensities also as corrected online, for whoever cannot wait for the end of the stream
    keep_series: bool = True  # keep what the offline pass needs; without it nothing grows with the stream's length
    precision: Precision = "openface"  # decimals of the CSV: OpenFace's own, or six everywhere
    columns: tuple[Columns, ...] = COLUMN_CHOICES  # groups that the table has beside frame, face and success
    formats: tuple[Format, ...] = ("csv",)  # of the table, at least one, in the order of FORMATS; each is a file
    overlay: bool = False  # also write NAME.overlay.mp4
    overlay_encoders: tuple[str, ...] = ("libx264", "mpeg4")  # of it: the first that takes the video
    hog: bool = False  # also write NAME.hog, the FHOG descriptors
    aligned: bool = False  # also write the aligned faces into NAME_aligned/

    @property
    def independent(self) -> bool:
        """Whether each fit stands for itself, without a median and an offline pass."""
        return self.faces == "pictures" or (self.faces == "all" and not self.identities)

    @property
    def coherent(self) -> bool:
        """Whether work is left out where the picture says nothing new."""
        return self.tracking == "coherent"
