"""Pages that need nothing but themselves: no outside host, one script of ours, and a policy that forbids all else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from auflow.plots.data import island
from auflow.plots.series import Series

__all__ = ["page", "plots_section"]

_ASSETS = files("auflow.plots") / "assets"
_SCRIPTS = ("values.js", "plots.js")  # one script, so that one digest permits it
_BUTTONS = (("in", "Zoom in"), ("out", "Zoom out"), ("all", "Whole video"))


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page with the script for `plots_section`; `parts` are HTML, `title` is text."""
    script = "".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    style = (_ASSETS / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The script sets the height of canvases and the colour of legends through the DOM, which needs no exception.
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(filter(None, parts))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def plots_section(series: Series, what: Sequence[str]) -> str:
    """The plots of one face, drawn by the page's script."""
    buttons = "".join(f'<button type="button" data-do="{act}">{text}</button>' for act, text in _BUTTONS)
    return (
        '<section class="plots" tabindex="0" aria-label="Plots over time. Left and right move the cursor, plus and '
        'minus zoom, 0 shows all.">\n'
        f'<script type="application/json">{island(series, what)}</script>\n'
        f'<div class="bar"><span class="readout faint" role="status"></span>{buttons}</div>\n'
        "<noscript><p>The plots are drawn by a script of this page, which is switched off.</p></noscript>\n"
        "</section>"
    )
