"""What OpenFace does to a whole video's AU values at its end: neutral offsets, clamping, smoothing. Pure NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError

__all__ = ["clamp", "finish_intensities", "finish_presences", "moving_mean", "neutral_offsets"]

F64 = NDArray[np.float64]

_HIGHEST = 5.0
_INTENSITY_WINDOW = 3
_PRESENCE_WINDOW = 7
_MAJORITY = 0.5
_NO_BREAKS: NDArray[np.intp] = np.zeros(0, np.intp)


def _check(values: F64, success: NDArray[np.bool_]) -> None:
    if values.ndim != 2 or success.shape != values.shape[:1]:
        raise ShapeError(
            f"values and success: expected (n, k) and (n,), got {values.shape} and {success.shape}; one row a frame"
        )


def clamp(values: F64) -> F64:
    """Intensities within their scale, 0 to 5."""
    return np.clip(values, 0.0, _HIGHEST)


def neutral_offsets(values: F64, success: NDArray[np.bool_], cutoffs: F64) -> F64:
    """Each AU's value on the frame that counts as the person's neutral face.

    Parameters
    ----------
    values : (n, k) float64
    success : (n,) bool, the frames that take part
    cutoffs : (k,) float64 share of the frames, sorted by value, that lie below; NaN where the AU has no offset

    Returns
    -------
    (k,) float64: of m sorted values the one at int(m * cutoff); 0 without a cut-off or without frames

    Raises
    ------
    ShapeError
    """
    _check(values, success)
    if cutoffs.shape != values.shape[1:]:
        raise ShapeError(f"cutoffs: expected {values.shape[1:]}, got {cutoffs.shape}; one a column of values")
    offsets = np.zeros(values.shape[1])
    columns = np.flatnonzero(np.isfinite(cutoffs))
    ordered = np.sort(values[success][:, columns], axis=0)
    if len(ordered):
        offsets[columns] = ordered[(len(ordered) * cutoffs[columns]).astype(int), np.arange(columns.size)]
    return offsets


def moving_mean(values: F64, window: int) -> F64:
    """Centred mean over an odd number of rows; the first and last window // 2 rows stay as they are.

    Parameters
    ----------
    values : (n, k) float64
    window : rows, odd

    Returns
    -------
    (n, k) float64, a new array
    """
    smoothed = values.copy()
    inner = len(values) - window + 1
    if inner > 0:
        total = np.zeros((inner, values.shape[1]))
        for start in range(window):
            total += values[start : start + inner]
        half = window // 2
        smoothed[half : half + inner] = total / window
    return smoothed


def _smoothed(values: F64, window: int, breaks: NDArray[np.intp]) -> F64:
    """`moving_mean` of each stretch by itself; a new one begins at each of the rows `breaks`."""
    if not breaks.size:
        return moving_mean(values, window)
    return np.concatenate([moving_mean(stretch, window) for stretch in np.split(values, breaks)])


def finish_intensities(
    values: F64, success: NDArray[np.bool_], cutoffs: F64, breaks: NDArray[np.intp] = _NO_BREAKS
) -> F64:
    """The final intensities of a person in a video.

    The neutral offset is taken off, then values are clamped to 0 to 5, failed frames set to 0, and a mean over
    three frames smooths them; the zeros of failed frames take part in it.

    Parameters
    ----------
    values : (n, k) float64, raw predictions, with the video's final median on the frames that were predicted again
    success : (n,) bool
    cutoffs : (k,) float64, NaN where the AU has no offset
    breaks : (b,) rows, rising, before which the person was not there: no mean runs over them

    Returns
    -------
    (n, k) float64, 0 to 5

    Raises
    ------
    ShapeError

    References
    ----------
    OpenFace 2.2, FaceAnalyser, ExtractAllPredictionsOfflineReg.
    """
    final = clamp(values - neutral_offsets(values, success, cutoffs))
    final[~success] = 0.0
    return _smoothed(final, _INTENSITY_WINDOW, breaks)


def finish_presences(labels: F64, success: NDArray[np.bool_], breaks: NDArray[np.intp] = _NO_BREAKS) -> F64:
    """The final presences of a person in a video: failed frames set to 0, then the majority of seven frames.

    Parameters
    ----------
    labels : (n, k) float64, 0 or 1
    success : (n,) bool
    breaks : as in `finish_intensities`

    Returns
    -------
    (n, k) float64, 0 or 1; of each stretch the first and last three frames keep their labels

    Raises
    ------
    ShapeError

    References
    ----------
    OpenFace 2.2, FaceAnalyser, ExtractAllPredictionsOfflineClass.
    """
    _check(labels, success)
    final = labels.copy()
    final[~success] = 0.0
    return (_smoothed(final, _PRESENCE_WINDOW, breaks) >= _MAJORITY).astype(np.float64)
