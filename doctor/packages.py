"""What the package's own metadata asks for, and what of it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Package", "asked_of", "fits", "installed_version", "needed", "of_extras"]

Versions = Callable[[str], str]
# Packages that bring the same module: where one is not there, another may be.
_SUBSTITUTES = {"onnxruntime": ("onnxruntime-gpu",)}
# Of developers; nothing that a user's run lacks.
_NOT_FOR_USERS = ("dev", "grafana")


@dataclass(frozen=True, slots=True)
class Package:
    """One package that is asked for."""

    name: str  # that is installed, or asked for
    asked: str  # the range: "<19,>=17"
    installed: str  # its version, "" where it is not installed
    in_range: bool


def installed_version(name: str) -> str:
    """Of a package; "" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def needed(requirements: Iterable[str], versions: Versions = installed_version) -> list[Package]:
    """What auflow cannot do without, of `importlib.metadata.requires`."""
    return [_package(each, versions) for each in _parsed(requirements) if _applies(each, "")]


def asked_of(name: str) -> str:
    """What auflow asks of one of its packages, for a command: "av<19,>=17"."""
    try:
        requirements = requires("auflow") or []
    except PackageNotFoundError:
        requirements = []
    return next((f"{each.name}{each.specifier}" for each in _parsed(requirements) if each.name == name), name)


def of_extras(
    requirements: Sequence[str], extras: Iterable[str], versions: Versions = installed_version
) -> dict[str, list[Package]]:
    """What each extra asks for on this platform, without those for developers."""
    base = {str(each) for each in _parsed(requirements) if _applies(each, "")}
    return {
        extra: [
            _package(each, versions)
            for each in _parsed(requirements)
            if _applies(each, extra) and str(each) not in base and each.name != "auflow"
        ]
        for extra in extras
        if extra not in _NOT_FOR_USERS
    }


def fits(asked: str, found: str) -> bool:
    """Whether a version lies in a range such as "<3.14,>=3.11"; of one that is no version, no."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(asked).contains(Version(found), prereleases=True)
    except InvalidVersion:
        return False


def _parsed(requirements: Iterable[str]) -> list[Requirement]:
    from packaging.requirements import Requirement  # here, so that the doctor can tell where it is missing

    return [Requirement(text) for text in requirements]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _package(requirement: Requirement, versions: Versions) -> Package:
    names = (requirement.name, *_SUBSTITUTES.get(requirement.name, ()))
    name = next((name for name in names if versions(name)), requirement.name)
    found = versions(name)
    return Package(name, str(requirement.specifier), found, bool(found) and fits(str(requirement.specifier), found))
