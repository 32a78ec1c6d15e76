"""Builds the source distribution and the wheel, looks at what is in them, and runs the demo from the wheel.

The wheel is built from the source distribution, and its files are compared with those of the checkout, byte for byte.
Then it is installed into an empty environment outside the checkout, and the CSV of the demo must be that of the
checkout, byte for byte. Without a package index it cannot be installed, and without model files nothing can be run:
those parts are skipped with the reason; the build and what is in it are looked at all the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).resolve().parent.parent
# Folders of the checkout that are no packages. Whatever else has Python in it belongs into the wheel.
NOT_IN_WHEEL = (".ci", "demo", "deploy", "docs", "examples", "tests")
NO_DATA = ("benchmarks/results/",)
IN_SDIST = ("pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md", "Makefile", "docs/pypi.md")


class Wrong(Exception):
    """What was built is not what it should be."""


def main() -> int:
    """Do it all; the exit code."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="auflow-wheel-") as name:
        scratch = Path(name)
        try:
            index = _why_no_index(scratch)
            with ThreadPoolExecutor(1) as beside:
                # Takes as long as the build. What only the wheel asks for is installed with it.
                python = beside.submit(_environment, scratch / "venv") if index is None else None
                wheel, sdist = _build(scratch / "dist", isolated=index is None)
                _look_at_files(wheel, sdist)
                _look_at_metadata(wheel)
                print(
                    f"built and looked at: {wheel.name}, {sdist.name} ({time.monotonic() - began_s:.0f} s)", flush=True
                )
                if python is None:
                    print(f"skipped: installing the wheel: {index}")
                    return 0
                _run_from(python.result(), wheel, scratch)
        except Wrong as wrong:
            print(f"wrong: {wrong}", file=sys.stderr)
            return 1
    print(f"the wheel is right ({time.monotonic() - began_s:.0f} s)")
    return 0


def _run(words: Sequence[str | Path], **options: object) -> str:
    """The output of a program that must end well."""
    found = subprocess.run(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    if found.returncode:
        raise Wrong(f"{' '.join(map(str, words))} ended with {found.returncode}:\n{found.stdout[-4000:]}")
    return found.stdout


def _why_no_index(scratch: Path) -> str | None:
    """Why no package index can be reached, None where one can."""
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "15"]
    asked += ["--no-cache-dir", "--dest", str(scratch / "asked"), "mdurl"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return None
    said = [line for line in found.stderr.splitlines() if line.strip()]
    return f"no package index can be reached: {said[-1] if said else 'pip says nothing'}"


def _build(folder: Path, *, isolated: bool) -> tuple[Path, Path]:
    """The wheel, built from the source distribution, and that."""
    how = [] if isolated else ["--no-isolation"]
    said = _run([sys.executable, "-m", "build", "--outdir", folder, *how, ROOT])
    if warnings := [line for line in said.splitlines() if "Warning: File" in line or "cannot be found" in line]:
        raise Wrong("\n".join(warnings))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def _tracked() -> list[str]:
    """The files of the checkout, those that git does not know yet too; of a source distribution, all that are there."""
    if (ROOT / ".git").exists():
        asked = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
        return sorted(name for name in _run(asked).splitlines() if (ROOT / name).is_file())
    names = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file())
    return sorted(name for name in names if not re.search(r"(^|/)(\.venv|build|dist|__pycache__|[^/]*egg-info)/", name))


def expected(names: Sequence[str]) -> set[str]:
    """Which files of the checkout belong into the wheel: Python beside `__init__.py`, and what lies in such folders."""
    inside = [name for name in names if name.partition("/")[0] not in NOT_IN_WHEEL]
    code = {name for name in inside if name.endswith(".py")}
    packages = {name.rpartition("/")[0] for name in code if name.endswith("/__init__.py")}
    data = {
        name
        for name in inside
        if name not in code
        and not name.startswith(NO_DATA)
        and any(name.startswith(f"{package}/") for package in packages)
    }
    return code | data | {"py.typed"}


def _look_at_files(wheel: Path, sdist: Path) -> None:
    tracked = _tracked()
    with zipfile.ZipFile(wheel) as archive:
        there = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    _compare("the wheel", {name.removeprefix("auflow/"): data for name, data in there.items()}, expected(tracked))
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"}
    wanted = expected(tracked) | set(IN_SDIST) | {name for name in tracked if name.startswith("tests/")}
    if missing := wanted - names:
        raise Wrong(f"not in the source distribution: {', '.join(sorted(missing))}")
    if extra := {name for name in names - set(tracked) - made if not name.startswith("auflow.egg-info/")}:
        raise Wrong(f"in the source distribution, but not in the checkout: {', '.join(sorted(extra))}")


def _compare(what: str, there: Mapping[str, bytes], wanted: set[str]) -> None:
    if missing := wanted - set(there):
        raise Wrong(f"not in {what}: {', '.join(sorted(missing))} (packages and package-data in pyproject.toml)")
    if extra := set(there) - wanted:
        raise Wrong(f"in {what}, but does not belong there: {', '.join(sorted(extra))}")
    if other := [name for name, data in there.items() if (ROOT / name).read_bytes() != data]:
        raise Wrong(f"in {what} with another content than in the checkout: {', '.join(sorted(other))}")


def _look_at_metadata(wheel: Path) -> None:
    """As an index does before it takes an upload."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(archive.read(name), validate=True)
    description = metadata.description or ""
    if metadata.description_content_type != "text/markdown" or len(description) < 500:
        raise Wrong("the wheel has no description, or not as Markdown")
    if local := [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("https://")]:
        raise Wrong(f"the description has links that lead nowhere on an index: {', '.join(local)}")


def _environment(folder: Path) -> Path:
    """The Python of an environment with what auflow needs, and without auflow."""
    _run([sys.executable, "-m", "venv", folder])
    python = folder / "bin" / "python"
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    # Bytecode of what is imported is made then; of all it would take 10 s.
    _run([python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", *needed])
    return python


def _run_from(python: Path, wheel: Path, scratch: Path) -> None:
    """Install the wheel as a user does, and do what a user does first."""
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel])
    auflow = python.with_name("auflow")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    away = {"cwd": scratch, "env": environment | {"NUMBA_CACHE_DIR": str(scratch / "kernels")}}
    where = _run([python, "-c", "import auflow; print(auflow.__file__)"], **away).strip()
    if not Path(where).is_relative_to(scratch):
        raise Wrong(f"auflow was imported from {where}")
    version = _run([auflow, "--version"], **away).split()[-1]
    if version != wheel.name.split("-")[1]:
        raise Wrong(f"{wheel.name} says that it is {version}")
    _run([python, "-m", "pip", "check"], **away)
    models = subprocess.run(
        [str(auflow), "models", "list"], capture_output=True, text=True, check=False, cwd=scratch, env=environment
    )
    if models.returncode == 4:
        print(f"skipped: running the demo: {models.stdout.strip().splitlines()[-1]}")
        return
    if models.returncode:
        raise Wrong(f"auflow models list ended with {models.returncode}: {models.stderr}")
    clip = ROOT / "demo" / "astronaut.mp4"
    with ThreadPoolExecutor(1) as beside:
        ours = beside.submit(_run, [sys.executable, "-m", "auflow", "run", clip, "-o", scratch / "checkout", "--quiet"])
        _run([auflow, "run", clip, "-o", scratch / "wheel", "--quiet"], **away)
        ours.result()
    first, second = ((scratch / name / "astronaut.csv").read_bytes() for name in ("wheel", "checkout"))
    if first != second or first.count(b"\n") < 100:
        raise Wrong("the demo's CSV is not that of the checkout")
    print(f"{version} installed into an empty environment: the demo's CSV is that of the checkout, {len(first)} bytes")


if __name__ == "__main__":
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # what an earlier build has left gets into a wheel
    sys.exit(main())
