"""Python, auflow itself, the libraries below it and those of its extras."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import auflow
from auflow.doctor.child import Ask, ask
from auflow.doctor.finding import Finding
from auflow.doctor.packages import Package, fits, installed_version, needed, of_extras
from auflow.doctor.places import Places

__all__ = ["Software", "gather", "judge"]

# Where a package's module is not called as the package is.
MODULES = {
    "opencv-python-headless": "cv2",
    "pyzmq": "zmq",
    "prometheus-client": "prometheus_client",
    "onnxruntime-gpu": "onnxruntime",
}
# They are all written into one folder, cv2.
OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
# What lacks without an extra.
LACKS = {
    "parquet": "`auflow run --format parquet`",
    "plot": "`auflow plot`, and the plots of `auflow report` and `auflow validate --html`",
    "web": "the live page (`auflow serve --web`)",
    "otel": "traces of single frames (`[telemetry] trace_every`)",
    "gpu": "the backends ort-cuda and ort-tensorrt, for an NVIDIA GPU",
    "tensorrt": "the backends tensorrt and ort-tensorrt, for an NVIDIA GPU",
    "coreml": "`auflow models export coreml`, and the backend coreml on a Mac",
}
_FOR_HARDWARE = ("gpu", "tensorrt", "coreml")  # the backends say whether they would help here


@dataclass(frozen=True, slots=True)
class Software:
    """What is installed."""

    python: str
    python_asked: str  # the range that auflow is made for, "" where its metadata is not there
    python_fits: bool
    interpreter: str
    auflow: str  # version of the code that runs
    metadata: str | None  # version that the package's metadata has; None where auflow is not installed
    place: Path
    checkout: bool
    packages: Sequence[Package] = ()
    extras: Mapping[str, Sequence[Package]] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)  # package -> version that its module tells
    broken: Mapping[str, str] = field(default_factory=dict)  # package -> why its module cannot be loaded
    opencvs: Sequence[str] = ()  # packages of OpenCV that are installed


def gather(_: Places, ask: Ask = ask, versions: Callable[[str], str] = installed_version) -> Software:
    """Read the metadata, and load every library in a child process."""
    try:
        own = distribution("auflow")
    except PackageNotFoundError:
        own = None
    requirements = (own.requires or []) if own else []
    packages = needed(requirements, versions)
    modules = {each.name: MODULES.get(each.name, each.name.replace("-", "_")) for each in packages if each.installed}
    answers = ask("import", sorted(set(modules.values()))) if modules else {}
    asked = own.metadata["Requires-Python"] or "" if own else ""
    place = Path(auflow.__file__).resolve().parent
    return Software(
        python=platform.python_version(),
        python_asked=asked,
        python_fits=fits(asked, platform.python_version()),
        interpreter=sys.executable,
        auflow=auflow.__version__,
        metadata=own.version if own else None,
        place=place,
        checkout=(place / "pyproject.toml").is_file(),
        packages=packages,
        extras=of_extras(requirements, own.metadata.get_all("Provides-Extra") or (), versions) if own else {},
        loaded={name: str(answers[module].get("value") or "") for name, module in modules.items()},
        broken={name: answers[module]["error"] for name, module in modules.items() if "error" in answers[module]},
        opencvs=[name for name in OPENCV if versions(name)],
    )


def judge(facts: Software) -> list[Finding]:
    """Findings on them."""
    libraries = [_library(each, facts) for each in facts.packages]
    extras = [_extra(name, packages, facts) for name, packages in facts.extras.items()]
    return [_python(facts), _auflow(facts), *libraries, *_opencv(facts), *extras]


def _python(facts: Software) -> Finding:
    what = f"{facts.python}, {facts.interpreter}"
    if facts.python_fits:
        return Finding("python", "Python", "fine", what)
    mend = "install Python 3.11, 3.12 or 3.13, and auflow into an environment of it"
    return Finding("python", "Python", "broken", f"{what}: auflow is made for {facts.python_asked}", mend)


def _auflow(facts: Software) -> Finding:
    mend = f"pip install -e {facts.place}" if facts.checkout else "pip install --force-reinstall auflow"
    if facts.metadata is None:
        what = f"{facts.auflow} in {facts.place}, but not installed: its libraries' versions cannot be compared"
        return Finding("python", "auflow", "note", what, mend)
    how = "a checkout" if facts.checkout else "installed from a wheel"
    if facts.metadata != facts.auflow:
        what = f"{facts.auflow} in {facts.place}, {how}; what is noted as installed is {facts.metadata}"
        return Finding("python", "auflow", "note", what, mend)
    return Finding("python", "auflow", "fine", f"{facts.auflow}, {how}: {facts.place}")


def _library(package: Package, facts: Software) -> Finding:
    wanted = f"'{package.name}{package.asked}'"
    tells = facts.loaded.get(package.name, "")
    if not package.installed:
        what = f"not installed ({package.asked} is asked for)"
        return Finding("libraries", package.name, "broken", what, _pip(wanted))
    if error := facts.broken.get(package.name):
        what = f"{package.installed} is installed and cannot be loaded: {error}"
        return Finding("libraries", package.name, "broken", what, _pip(f"--force-reinstall {wanted}"))
    if not package.in_range:
        what = f"{package.installed}, but {package.asked} is asked for"
        return Finding("libraries", package.name, "broken", what, _pip(wanted))
    differs = f" (its module says {tells})" if tells and not package.installed.startswith(tells) else ""
    return Finding("libraries", package.name, "fine", f"{package.installed}{differs}")


def _opencv(facts: Software) -> list[Finding]:
    """What of OpenCV really runs: the module tells, whichever of its packages was written last."""
    remedy = [name for name in facts.opencvs if name != OPENCV[0]]
    mend = f"pip uninstall -y {' '.join(remedy)} ; " if remedy else ""
    asked = next((each.asked for each in facts.packages if each.name == OPENCV[0]), "")
    mend += _pip(f"--force-reinstall --no-deps '{OPENCV[0]}{asked}'")
    found = facts.loaded.get(OPENCV[0], "")
    if found.partition(".")[0].isdecimal() and int(found.partition(".")[0]) >= 5:
        what = f"OpenCV {found} runs: from 5 on it resamples differently, which moves Action Units by up to 0.54"
        return [Finding("libraries", "OpenCV", "broken", what, mend)]
    if len(facts.opencvs) > 1:
        what = f"{' and '.join(facts.opencvs)} are all written into one folder; OpenCV {found} is what runs"
        return [Finding("libraries", "OpenCV", "note", what, mend)]
    return []


def _extra(name: str, packages: Sequence[Package], facts: Software) -> Finding:
    lacks = LACKS.get(name, f"what needs {', '.join(each.name for each in packages)}")
    wanted = f"'{facts.place}[{name}]'" if facts.checkout else f"'auflow[{name}]'"
    mend = _pip(f"-e {wanted}" if facts.checkout else wanted)
    if not packages:
        return Finding("extras", name, "fine", "there is nothing in it for this platform")
    missing = [each.name for each in packages if not each.installed]
    outside = [
        f"{each.name} {each.installed} ({each.asked} is asked for)"
        for each in packages
        if each.installed and not each.in_range
    ]
    if outside:
        return Finding("extras", name, "broken", f"{', '.join(outside)}; it is for {lacks}", mend)
    if len(missing) == len(packages) and name in _FOR_HARDWARE:
        return Finding("extras", name, "fine", f"not installed; it is for {lacks}")
    if missing:
        return Finding("extras", name, "note", f"not here: {', '.join(missing)}; lacks without it: {lacks}", mend)
    return Finding("extras", name, "fine", ", ".join(f"{each.name} {each.installed}" for each in packages))


def _pip(what: str) -> str:
    return f"pip install {what}"
