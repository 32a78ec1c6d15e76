"""The page with the plots in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("selenium")

from auflow.cli import main
from auflow.tests.plots.kit import write_table
from auflow.tests.web.browser import Browser, browser

ROWS = 9000  # more than the page has points: each is of three frames


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    ramp = np.repeat(np.arange(ROWS // 3) / (ROWS // 3) * 5, 3)
    path = write_table(folder / "t.csv", AU01_r=ramp, AU12_r=5 - ramp, AU01_c=ramp > 2.5)
    assert main(["plot", str(path), "-o", str(folder / "t.html")]) == 0
    with browser(folder / "profile") as found:
        found.driver.get((folder / "t.html").as_uri())
        yield found


def point_at(opened: Browser, share: float, event: str = "pointermove") -> None:
    """Point at a share of the heat map's width, of the time that it shows."""
    opened.run(
        "const c = document.querySelectorAll('canvas')[1], box = c.getBoundingClientRect();"
        f"const x = box.left + LEFT + {share} * (box.width - LEFT - RIGHT);"
        "c.setPointerCapture = () => 0;"
        f"c.dispatchEvent(new PointerEvent('{event}', {{ clientX: x, clientY: box.top }}))"
    )


def pixels(opened: Browser) -> Any:
    return opened.run("return [...document.querySelectorAll('canvas')].map((c) => c.toDataURL())")


def test_pointing_tells_the_values_and_moves_a_cursor_over_all_panels(opened: Browser) -> None:
    point_at(opened, 0.75)
    before = pixels(opened)
    assert len(before) == 3
    assert "269.88 s, frame 6748 and the 2 after it, averaged" in opened.text(".readout")
    assert "AU01 3.75" in opened.text("section")
    assert "AU12 1.25" in opened.text("section")
    assert "present: AU01" in opened.text("section")
    point_at(opened, 0.25)
    assert "none present" in opened.text("section")
    assert all(old != new for old, new in zip(before, pixels(opened), strict=True))


def test_the_cursor_leaves_nothing_behind(opened: Browser) -> None:
    point_at(opened, 0.5)
    point_at(opened, 0.5, "pointerleave")
    clean = pixels(opened)
    for share in (0.1, 0.4, 0.8):
        point_at(opened, share)
    point_at(opened, 0.5, "pointerleave")
    assert pixels(opened) == clean


def test_dragging_looks_closer_and_a_double_click_shows_all(opened: Browser) -> None:
    for share, event in ((0.25, "pointerdown"), (0.5, "pointermove"), (0.5, "pointerup")):
        point_at(opened, share, event)
    point_at(opened, 0.5)
    assert opened.text(".readout").startswith("135.")  # three eighths of 360 s
    point_at(opened, 0.5, "dblclick")
    point_at(opened, 0.5)
    assert opened.text(".readout").startswith(("179.", "180."))


def test_by_keyboard(opened: Browser) -> None:
    opened.run("document.querySelector('section.plots').focus()")
    point_at(opened, 0.0)
    assert opened.text(".readout").startswith("0.00 s")
    for key in ("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT"):
        opened.press(key)
    assert opened.text(".readout").startswith("0.12 s, frame 4 ")


def test_paper_is_light(opened: Browser) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    point_at(opened, 0.5, "pointerleave")
    light = pixels(opened)
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    opened.until(lambda: all(old != new for old, new in zip(light, pixels(opened), strict=True)), "still light")
    ink = "return getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
    assert opened.run(ink) == "#e4e8ee"
    on_screen = pixels(opened)
    opened.run("dispatchEvent(new Event('beforeprint'))")
    assert opened.run(ink) == "#1c232d"
    assert pixels(opened) == light
    opened.run("dispatchEvent(new Event('afterprint'))")
    assert pixels(opened) == on_screen
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_nothing_is_asked_of_anybody_and_nothing_is_refused(opened: Browser) -> None:
    assert opened.run("return performance.getEntriesByType('resource').length") == 0
    assert [line["message"] for line in opened.driver.get_log("browser") if line["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]
