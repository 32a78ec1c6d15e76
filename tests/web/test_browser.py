"""The page in a real browser: it shows what happens, obeys the keyboard, asks nobody else, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from auflow.tests.serve.live_place import Place
from auflow.tests.web.browser import Browser, browser
from auflow.tests.web.tools import free_port

pytestmark = pytest.mark.slow


def test_the_page_in_a_browser(place: Place, tmp_path: Path) -> None:
    large = {"width": 640, "height": 480, "fps": 20}  # the landmarks of the fake fit lie within
    cameras = {
        "a": place.camera("a", **large),
        "b": place.camera("b", **large),
        "away": {"source": "rtsp://127.0.0.1:9/1"},
    }
    port = free_port()
    config = place.config(cameras, workers={"live_lanes": 1}, web={"address": f"127.0.0.1:{port}"})
    with browser(tmp_path) as seen:
        with place.serve(config) as running:
            running.flows("a", "b")
            running.until(lambda: running.status()["state"] == "ready")
            seen.prefer("light")
            seen.driver.get(f"http://127.0.0.1:{port}/")
            it_shows_a_moving_picture_and_figures(seen)
            the_keyboard_switches_and_toggles(seen)
            light_and_dark_differ(seen)
            assert seen.errors() == []
            assert seen.hosts() == {f"127.0.0.1:{port}"}
            pid = running.kill("web-0")
            seen.until(lambda: running.service.crew.pids.get("web-0", pid) != pid)
            it_comes_back(seen)
            assert seen.run("window.same = true; return true")
        seen.until(lambda: "trying again" in seen.text("#banner"))
        assert seen.run("return document.getElementById('banner').checkVisibility()")
        with place.serve(config):
            it_comes_back(seen)
            assert seen.run("return window.same")  # without being loaded again
        assert seen.hosts() == {f"127.0.0.1:{port}"}


def moves(seen: Browser, canvas: str) -> None:
    before = seen.pixels(canvas)
    seen.until(lambda: seen.pixels(canvas) != before, f"{canvas} stands still")


def it_shows_a_moving_picture_and_figures(seen: Browser) -> None:
    seen.until(lambda: seen.text("#title") == "a" and seen.drawn("frame"))
    for canvas in ("frame", "overlay", "series"):
        assert seen.until(lambda canvas=canvas: seen.drawn(canvas))
        moves(seen, canvas)
    names = seen.run("return [...document.querySelectorAll('#streams .name')].map((name) => name.textContent)")
    assert names == ["a", "b", "away"]
    seen.until(lambda: seen.text("#health div:nth-child(2) dd").endswith("ms"))
    assert len(seen.run("return [...document.querySelectorAll('#units tr')]")) == 18
    seen.until(lambda: seen.text("#units td.value") != "–")
    assert seen.run("return document.getElementById('frame').getAttribute('aria-label')").startswith("a: ")


def the_keyboard_switches_and_toggles(seen: Browser) -> None:
    for key, title in (("2", "b"), ("ARROW_LEFT", "a"), ("ARROW_RIGHT", "b"), ("1", "a")):
        seen.press(key)
        seen.until(lambda title=title: seen.text("#title") == title)
    seen.until(lambda: seen.drawn("overlay"))
    for key in "lpg":
        seen.press(key)
    seen.until(lambda: not seen.drawn("overlay"))
    pressed = "return [...document.querySelectorAll('[data-layer]')].map((each) => each.ariaPressed)"
    assert seen.run(pressed) == ["false"] * 4
    seen.press("l")
    seen.until(lambda: seen.drawn("overlay"))
    seen.press(" ")
    seen.until(lambda: "Paused here" in seen.text("#notice"))
    time.sleep(0.3)
    before = seen.pixels("frame")
    time.sleep(0.5)
    assert seen.pixels("frame") == before
    seen.press(" ")
    moves(seen, "frame")
    seen.press("3")
    seen.until(lambda: seen.run("return document.getElementById('notice').checkVisibility()"))
    seen.until(lambda: "refused" in seen.text("#notice-reason"))
    seen.press("1")
    seen.press("TAB")
    assert seen.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


def light_and_dark_differ(seen: Browser) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = seen.run(ground)
    seen.prefer("dark")
    dark = seen.until(lambda: seen.run(ground) != light and seen.run(ground))
    seen.press("t")  # light, whatever the system has
    assert seen.run(ground) == light
    seen.press("t")
    assert seen.run(ground) == dark
    assert seen.text("#theme") == "Theme: dark"


def it_comes_back(seen: Browser) -> None:
    seen.until(lambda: not seen.run("return document.getElementById('banner').checkVisibility()"))
    seen.until(lambda: seen.text("#title") == "a" and seen.drawn("frame"))
    moves(seen, "frame")
