"""The page in four sizes, light and dark: axe-core finds no violation, nothing is cut off, and pictures to look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.web.page_driver import BALL, SQUARE, click_object, open_cam, rows
from tests.web.web_daemon import STREAMS

pytestmark = pytest.mark.chromium

TOUCH = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SIZES = {
    "phone": {"viewport": {"width": 390, "height": 844}, **TOUCH},
    "phone-landscape": {"viewport": {"width": 844, "height": 390}, **TOUCH},
    "laptop": {"viewport": {"width": 1366, "height": 768}},
    "large": {"viewport": {"width": 2560, "height": 1440}},
}
CUT_OFF = """() => [...document.querySelectorAll("button, select, h2, #hint, #connection")]
    .filter((each) => each.checkVisibility() && getComputedStyle(each).position !== "absolute")
    .filter((each) => { const box = each.getBoundingClientRect(); return box.right > innerWidth + 1 || box.left < -1; })
    .map((each) => each.outerHTML.slice(0, 80))"""


def violations(page):
    results = Axe().run(page)
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]]) for violation in results.response["violations"]
    ]


@pytest.fixture
def look():
    """Check a page in light and dark. Set STREAMSEG_PICTURES to a folder for pictures to look at."""
    folder = os.environ.get("STREAMSEG_PICTURES")

    def look(page, name, checked):
        assert page.evaluate(CUT_OFF) == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if folder is not None:
                page.screenshot(path=Path(folder) / f"{name}-{scheme}.png")
            if scheme in checked:  # axe-core takes a second: each layout once in each scheme
                assert violations(page) == [], scheme

    return look


@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_accessible_in_every_layout_and_scheme(web, control, open_page, look, size):
    page, eyes = open_cam(open_page, web.url, reuse=False, **SIZES[size])
    if "phone" in size:
        control.add_prompt("cam", points=[(0.5, 0.5)])
        expect(rows(page)).to_have_count(1)
    else:
        click_object(page, eyes, BALL)
        click_object(page, eyes, SQUARE)
        page.keyboard.press("u")
    look(page, size, {"phone": ("light", "dark"), "laptop": ("light", "dark")}.get(size, ()))
    if size == "phone-landscape":
        return
    if size == "laptop":
        for button, dialog in (("#help-button", "#help"), ("#share-button", "#share"), ("#add-camera", "#camera")):
            page.locator(button).click()
            expect(page.locator(dialog)).to_be_visible()
            assert violations(page) == []
            page.keyboard.press("Escape")
    page.locator("#settings-button").click()
    expect(page.locator("#settings-fields")).to_be_visible()
    look(page, f"{size}-settings", {"phone": ("light",), "laptop": ("dark",)}.get(size, ()))
    page.select_option("#grid", "2x2")
    expect(page.locator("#frame")).to_be_hidden()
    look(page, f"{size}-grid", {"phone": ("dark",), "laptop": ("light",)}.get(size, ()))


CAMERAS = {"old": (320, 240), "tall": (180, 320), "wide": (420, 180), "usual": (320, 180), "square": (200, 200)}


@pytest.mark.slow
def test_cameras_of_all_shapes_fit_the_window(start, open_page, look):
    streams = {name: {"source": f"scene:simple?size={w}x{h}&fps=5"} for name, (w, h) in CAMERAS.items()}
    laptop = SIZES["laptop"]["viewport"]
    page = open_page(f"{start(streams).url}#stream=old", reuse=False, viewport=laptop)
    for name in ("old", "tall", "wide"):
        page.evaluate("name => { location.hash = `stream=${name}`; }", name)
        page.wait_for_selector(f"#picture[data-stream={name}][data-frame]")
        box = page.locator("#overlay").bounding_box()
        width, height = CAMERAS[name]
        assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)
        assert box["y"] + box["height"] <= laptop["height"]
        look(page, f"camera-{name}", ())
    for name, size in (("window-2560", "large"), ("window-phone", "phone")):
        page.set_viewport_size(SIZES[size]["viewport"])
        look(page, f"camera-{name}", ())
    page.set_viewport_size(SIZES["large"]["viewport"])
    page.select_option("#grid", "2x2")
    expect(page.locator("#tiles .tile:visible")).to_have_count(1)  # the page of the fifth camera
    page.locator("#turn").click()
    expect(page.locator("#tiles .tile:visible")).to_have_count(4)
    for tile in page.locator("#tiles .tile:visible small").all():
        expect(tile).to_contain_text("objects")
    look(page, "camera-grid", ())
    page.reload()
    expect(page.locator("#tiles .tile:visible")).to_have_count(4)


def test_a_token_is_asked_for_and_remembered(start, open_page):
    token = "correct-horse-battery"
    daemon = start({"cam": STREAMS["cam"]}, token=token)
    page = open_page(daemon.url)
    expect(page.get_by_label("Token")).to_be_visible()
    assert violations(page) == []
    page.get_by_label("Token").fill("wrong-horse-battery")
    page.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token").fill(token)
    page.get_by_role("button").click()
    page.wait_for_selector("#picture[data-frame]")
    page.reload()
    page.wait_for_selector("#picture[data-frame]")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert token not in cookie["value"]
    assert token not in daemon.log


def test_every_control_has_a_name(web, open_page):
    page, eyes = open_cam(open_page, web.url, reuse=False)
    click_object(page, eyes, BALL)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        named = page.locator("button:visible, input:visible, canvas[tabindex], meter, svg").evaluate_all("""found =>
            found.map((e) => [e.outerHTML,
                e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent || e.title])""")
        assert len(named) > 20
        assert [element for element, name in named if not name] == []
