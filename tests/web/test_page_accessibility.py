"""The page has no violation that axe-core finds, in all of its looks."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.web.page_driver import BALL, SQUARE, click_object, open_cam, rows
from tests.web.test_page_view import PHONE

pytestmark = pytest.mark.chromium

LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
    "dark phone": {**PHONE, "color_scheme": "dark"},
}


def violations(page):
    results = Axe().run(page)
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]]) for violation in results.response["violations"]
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_no_violations(web, control, open_page, look):
    page, eyes = open_cam(open_page, web.url, **LOOKS[look])
    assert violations(page) == []
    if "phone" in look:
        control.add_prompt("cam", points=[(0.5, 0.5)])
        expect(rows(page)).to_have_count(1)
    else:
        click_object(page, eyes, BALL)
        click_object(page, eyes, SQUARE)
    page.keyboard.press("u")
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert violations(page) == []
    for button, dialog in (("#help-button", "#help"), ("#share-button", "#share"), ("#add-camera", "#camera")):
        page.locator(button).click()
        expect(page.locator(dialog)).to_be_visible()
        assert violations(page) == []
        page.keyboard.press("Escape")
    page.locator("#settings-button").click()
    expect(page.locator("#settings-fields")).to_be_visible()
    assert violations(page) == []
    page.select_option("#grid", "2x2")
    expect(page.locator("#frame")).to_be_hidden()
    assert violations(page) == []


def test_the_login_page(start, open_page):
    page = open_page(start(token="correct-horse-battery").url)
    expect(page.get_by_label("Token")).to_be_visible()
    assert violations(page) == []
