"""OpenFace's menu files: lines of a key, a file below the menu's folder, and what else the key takes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from auflow.models.text import damaged, read_text

__all__ = ["MenuLine", "menu_target", "read_menu"]


class MenuLine(NamedTuple):
    """One line of a menu."""

    key: str
    target: Path  # the file that it names
    words: tuple[str, ...]  # all words after the key, the file's name too


def read_menu(path: Path, *, once: Collection[str], many: Collection[str] = ()) -> list[MenuLine]:
    """The lines of a menu in its order: keys of `once` up to one time each, those of `many` any number of times.

    Raises
    ------
    ModelError
        the menu cannot be read, or has another line or one too many
    """
    lines: list[MenuLine] = []
    for key, *words in filter(None, (line.split() for line in read_text(path).splitlines())):
        if key not in once and key not in many:
            raise damaged(path, f"expected {', '.join((*once, *many))}, got {key}")
        if key in once and any(line.key == key for line in lines):
            raise damaged(path, f"expected one {key} line, got another")
        lines.append(MenuLine(key, menu_target(path, key, words), tuple(words)))
    return lines


def menu_target(menu: Path, what: str, words: Collection[str]) -> Path:
    """The file that the first of these words names, below the menu's folder; `what` tells the line in errors.

    Raises
    ------
    ModelError
    """
    if not words:
        raise damaged(menu, f"{what}: expected a file name after it, got the end of the line")
    name = next(iter(words))
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not name.isprintable():
        raise damaged(menu, f"{what}: expected a file below the menu's folder, got {name!r}")
    return menu.parent.joinpath(*relative.parts)
