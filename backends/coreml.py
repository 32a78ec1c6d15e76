"""Core ML as a backend, on the units that it chooses: CPU, GPU, Neural Engine.

A graph becomes a package (`auflow.models.coreml.translate`), which Core ML compiles for this machine; what it compiled
is kept. Only the two calls of `AppleRuntime` need macOS.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.backends.availability import require
from auflow.errors import BackendError
from auflow.models.coreml.choices import precision_of, sides_of
from auflow.models.coreml.tools import coremltools
from auflow.models.coreml.translate import TARGET, write_package
from auflow.models.onnx.graph import OnnxModel

__all__ = ["AppleRuntime", "CoremlBackend", "Predict", "Runtime", "default_folder"]

Predict: TypeAlias = Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

_FORM = 1  # version of what is kept
_BATCH = 64  # not measured: nobody has run this on a Mac yet


class Runtime(Protocol):
    """What compiles packages and computes with them."""

    @property
    def version(self) -> str:
        """All that a compiled program depends on beside the package."""

    def compile(self, package: Path, place: Path) -> None:
        """Write the compiled program of an .mlpackage to `place`, a folder NAME.mlmodelc that is not there yet."""

    def load(self, place: Path) -> Predict:
        """Make a compiled program ready; RuntimeError where it cannot be."""


class AppleRuntime:
    """Core ML itself, by coremltools. macOS only."""

    @property
    def version(self) -> str:
        """As `Runtime.version`."""
        return f"macOS {platform.mac_ver()[0]}, {platform.machine()}"

    def compile(self, package: Path, place: Path) -> None:
        """As `Runtime.compile`."""
        from coremltools.models.utils import compile_model

        compile_model(str(package), str(place))

    def load(self, place: Path) -> Predict:
        """As `Runtime.load`."""
        from coremltools.models import CompiledMLModel

        predict: Predict = CompiledMLModel(str(place), compute_units=coremltools().ComputeUnit.ALL).predict
        return predict


class CoremlBackend:
    """Core ML.

    Parameters
    ----------
    runtime : what compiles and computes; None is Core ML itself
    folder : where compiled programs are kept; None is the user's cache folder

    Raises
    ------
    BackendError
        This is no Mac, or coremltools is not installed; the message says what to do.
    """

    name = "coreml"
    batch = _BATCH
    shares_maps = True

    def __init__(self, runtime: Runtime | None = None, folder: Path | None = None) -> None:
        if runtime is None:
            require("coreml")
        self._runtime: Runtime = runtime or AppleRuntime()
        self._folder = folder or default_folder()

    def load(self, model: OnnxModel) -> _CoremlNetwork:
        """The graph's program, compiled for this machine now or earlier.

        Raises
        ------
        BackendError
            It has an operator that cannot be translated, or Core ML does not take it.
        """
        place = self._folder / f"{model.name}-{self._digest(model)}.mlmodelc"
        try:
            if place.is_dir():
                try:
                    return _CoremlNetwork(self._runtime.load(place), model)
                except RuntimeError:  # cut short or damaged: compiled anew
                    shutil.rmtree(place, ignore_errors=True)
            return self._compiled(model, place)
        except (RuntimeError, OSError) as error:
            raise BackendError(f"backend coreml: {model.name} cannot be made ready by Core ML: {error}") from error

    def _compiled(self, model: OnnxModel, place: Path) -> _CoremlNetwork:
        with ExitStack() as stack:
            folder = self._unfinished()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            package, program = folder / f"{model.name}.mlpackage", folder / f"{model.name}.mlmodelc"
            write_package(model, package, sides=sides_of(model), precision=precision_of(model))
            self._runtime.compile(package, program)
            try:
                program.rename(place)  # whole or not at all
            except OSError:  # another process was first, or nothing can be kept
                if not place.is_dir():
                    network = _CoremlNetwork(self._runtime.load(program), model)
                    stack.pop_all()
                    weakref.finalize(network, shutil.rmtree, folder, ignore_errors=True)
                    return network
            return _CoremlNetwork(self._runtime.load(place), model)

    def _unfinished(self) -> Path:
        """A folder of our own beside the place, or where nothing can be kept."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=".", dir=self._folder))
        except OSError:
            return Path(tempfile.mkdtemp(prefix="auflow-coreml-"))

    def _digest(self, model: OnnxModel) -> str:
        told = [
            _FORM, model.sha256, sorted(sides_of(model).items()), precision_of(model), TARGET,
            coremltools().__version__, self._runtime.version,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


class _CoremlNetwork:
    def __init__(self, predict: Predict, model: OnnxModel) -> None:
        self._predict = predict
        self._model = model
        self._sides = sides_of(model)

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """As `Network.run`; BackendError where an input has another size than the program is for."""
        given = {}
        for value, array in zip(self._model.inputs, inputs, strict=True):
            for side, size in zip(value.shape, array.shape, strict=True):
                limits = self._sides[side] if isinstance(side, str) else side
                least, _, most = (limits, limits, limits) if isinstance(limits, int) else limits
                if not least <= size <= most:
                    raise BackendError(
                        f"backend coreml: {self._model.name}: {value.name}: expected {least} to {most} for the side "
                        f"{side}, got {size}; compute this with another backend"
                    )
            # Core ML's arrays know no other integers than int32.
            given[value.name] = np.ascontiguousarray(array, np.float32 if array.dtype == np.float32 else np.int32)
        found = self._predict(given)
        return tuple(np.ascontiguousarray(found[value.name], value.dtype) for value in self._model.outputs)


def default_folder() -> Path:
    """Below the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(user_cache_path("auflow", appauthor=False)) / "coreml"
