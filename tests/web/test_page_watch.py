"""The page of those who may only watch: they look closely, and change nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from streamseg.sources.scene.source import Scene
from streamseg.web.app import _CHANGES, _FOR_WATCHERS, _RECORD_TITLE, STATIC
from tests.web.page_driver import BALL, rows
from tests.web.page_eyes import Eyes
from tests.web.web_daemon import SCENE

READING = {"GET", "HEAD"}
AS_WATCHER = """new MutationObserver((_, observer) => {
    if (!document.body) return;
    observer.disconnect();
    document.body.dataset.watch = "";
    const style = document.createElement("link");
    Object.assign(style, { rel: "stylesheet", href: "static/watch.css" });
    document.head.append(style);
}).observe(document, { childList: true, subtree: true })"""
"""What the daemon changes in the page, where this daemon asks for no token. Another one would take ten seconds."""


def test_what_differs_in_the_page_is_found_there():
    page = (STATIC / "index.html").read_text()
    for found in (*_FOR_WATCHERS, *_CHANGES, _RECORD_TITLE):
        assert page.count(found) == 1, found


@pytest.mark.chromium
def test_a_watcher_selects_and_zooms_and_sends_nothing(web, control, open_page):
    page = open_page("about:blank", reuse=False)
    page.add_init_script(AS_WATCHER)
    asked = []
    page.on("request", lambda request: asked.append(request.method))
    page.goto(web.url)
    eyes = Eyes(page, Scene(SCENE)).wait_for_picture()
    x, y = Scene(SCENE).click_point(eyes.frame(), BALL)
    control.add_prompt("cam", points=[(x, y, 1)], label="ball", coords="pixels")
    expect(rows(page)).to_have_count(1)
    row = rows(page).first
    for changes in ("#toolbar", "#add-camera", "#settings-button", "#hint", "[data-toggle=preview]"):
        expect(page.locator(changes)).to_be_hidden()
    expect(row.locator("input")).to_have_attribute("readonly", "")
    expect(row.locator(".object-head button:visible")).to_have_count(1)
    row.locator(".object-head button").first.click()
    expect(row).to_have_attribute("data-selected", "")
    for key in ("Delete", "Backspace", "u", "y", "Control+z", "r", "r", "p", "m", "c", "e"):
        page.keyboard.press(key)
    expect(row).to_have_attribute("data-selected", "")
    page.mouse.click(*eyes.place(5, 5), button="right")
    page.mouse.move(*eyes.place(5, 5))
    page.mouse.down()
    page.mouse.move(*eyes.place(90, 90), steps=4)
    page.mouse.up()
    page.mouse.click(*eyes.place(5, 5))
    expect(row).not_to_have_attribute("data-selected", "")
    page.mouse.click(*eyes.place_of(BALL))
    expect(row).to_have_attribute("data-selected", "")
    page.mouse.wheel(0, -300)
    expect(page.locator("#zoom")).to_be_visible()
    assert set(asked) <= READING
    expect(page.locator("#notifications")).to_be_empty()
