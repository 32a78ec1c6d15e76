"""What the offline pass needs of every frame of a stream, in arrays that grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES
from auflow.stages.state import StateError, field

__all__ = ["Series"]

F64 = NDArray[np.float64]

_FIRST_ROWS = 256


class _Rows:
    """Rows of one width; room is made for twice as many when it is used up."""

    def __init__(self, width: int, dtype: DTypeLike) -> None:
        self._data: NDArray[Any] = np.empty((_FIRST_ROWS, width), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: ArrayLike) -> None:
        if self._count == len(self._data):
            self._data = np.concatenate([self._data, np.empty_like(self._data)])
        self._data[self._count] = row
        self._count += 1

    @property
    def values(self) -> NDArray[Any]:
        return self._data[: self._count]

    def restore(self, values: NDArray[Any]) -> None:
        self._count = len(values)
        self._data = np.empty((max(_FIRST_ROWS, 2 * len(values)), values.shape[1]), values.dtype)
        self._data[: len(values)] = values


class Series:
    """A few dozen numbers of each frame, no descriptors.

    The heads are linear, so the final median's correction needs only a frame's products with the weights.

    Parameters
    ----------
    heads : how many products a frame has
    online : whether the frames have online intensities
    """

    def __init__(self, heads: int, *, online: bool) -> None:
        self._columns = {
            "accepted": _Rows(1, np.bool_),
            "origin": _Rows(2, np.int64),  # number of the frame, that of the person
            "intensities": _Rows(len(AU_INTENSITIES), np.float64),
            "presences": _Rows(len(AU_PRESENCES), np.uint8),
            "products": _Rows(heads, np.float64),  # of the first accepted frames of each person
            "predicted": _Rows(1, np.int64),  # rows that these are of
        }
        self._products: dict[int, int] = {}  # of each person
        if online:
            self._columns["online"] = _Rows(len(AU_INTENSITIES), np.float64)

    def add(
        self, frame: int, person: int, accepted: bool, intensities: F64, presences: F64, online: F64 | None
    ) -> None:
        """The values of a person in one more frame as predicted, and `online` where the series has them."""
        self._columns["origin"].append((frame, person))
        self._columns["accepted"].append(accepted)
        self._columns["intensities"].append(intensities)
        self._columns["presences"].append(presences)
        if online is not None:
            self._columns["online"].append(online)

    def add_products(self, person: int, products: F64) -> None:
        """The products of one more of the first accepted frames of a person: before the values are added."""
        self._columns["products"].append(products)
        self._columns["predicted"].append(len(self._columns["accepted"]))
        self._products[person] = self._products.get(person, 0) + 1

    def product_count(self, person: int) -> int:
        """Frames of the person whose products are known."""
        return self._products.get(person, 0)

    @property
    def frames(self) -> NDArray[np.int64]:
        """(n,) number of each row's frame."""
        return self._columns["origin"].values[:, 0]

    @property
    def people(self) -> NDArray[np.int64]:
        """(n,) number of each row's person."""
        return self._columns["origin"].values[:, 1]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(m,) the rows of `products`."""
        return self._columns["predicted"].values[:, 0]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(n,)"""
        return self._columns["accepted"].values[:, 0]

    @property
    def intensities(self) -> F64:
        """(n, 17) raw; valid until the next `add`, as the others."""
        return self._columns["intensities"].values

    @property
    def presences(self) -> NDArray[np.uint8]:
        """(n, 18)"""
        return self._columns["presences"].values

    @property
    def products(self) -> F64:
        """(m, heads)"""
        return self._columns["products"].values

    @property
    def online(self) -> F64 | None:
        """(n, 17), where the series has them."""
        return self._columns["online"].values if "online" in self._columns else None

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All of it."""
        return {name: rows.values for name, rows in self._columns.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        frames = len(field(arrays, "accepted", np.bool_, (None, 1)))
        products = len(field(arrays, "predicted", np.int64, (None, 1)))
        for name, rows in self._columns.items():
            old = rows.values
            count = products if name in ("products", "predicted") else frames
            rows.restore(field(arrays, name, old.dtype, (count, old.shape[1])))
        if products and not 0 <= self.predicted.min() <= self.predicted.max() < frames:
            raise StateError(f"state: expected products of {frames} rows, got others; start from the first frame")
        people, counts = np.unique(self.people[self.predicted], return_counts=True)
        self._products = dict(zip(people.tolist(), counts.tolist(), strict=True))
