"""Opens the page and uses it like a person."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import wait_for
from tests.web.page_eyes import Eyes
from tests.web.web_daemon import SCENE

BALL, SQUARE = 1, 2
GOOD = 0.85


def rows(page: Page):
    return page.locator("#objects .object")


def open_cam(open_page, url, **options) -> tuple[Page, Eyes]:
    page = open_page(url, **options)
    return page, Eyes(page, Scene(SCENE)).wait_for_picture()


def wait_for_mask(eyes, obj_id, truth_id):
    wait_for(lambda: eyes.iou(obj_id, truth_id) > GOOD, 10, f"object {obj_id} painted on {truth_id}")


def click_object(page, eyes, truth_id):
    """Click an object of the scene to track it; return its id."""
    before = rows(page).count()
    page.keyboard.press("n")
    page.mouse.click(*eyes.place_of(truth_id))
    expect(rows(page)).to_have_count(before + 1)
    return int(rows(page).nth(before).get_attribute("data-id"))
