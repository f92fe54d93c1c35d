"""How the picture is shown: zoom, effects, address, and saving it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import wait_for
from tests.web.page_driver import BALL, SQUARE, click_object, open_cam, rows, wait_for_mask
from tests.web.web_daemon import SCENE

pytestmark = pytest.mark.chromium

ROOT = Path(__file__).parents[2]

ZOOM = "import('/static/store.js').then(({ store }) => store.zoom)"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def zoom(page):
    return page.evaluate(ZOOM)


class Fingers:
    """Touches the screen through the browser's input pipeline."""

    def __init__(self, page):
        self._session = page.context.new_cdp_session(page)

    def _send(self, kind, points):
        touches = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def down(self, *points):
        self._send("touchStart", points)

    def move(self, *points):
        self._send("touchMove", points)

    def up(self):
        self._send("touchEnd", ())


def test_the_wheel_zooms_at_the_mouse_and_clicks_land_there(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    x, y = eyes.place_of(SQUARE)
    page.mouse.move(x, y)
    for _ in range(6):
        page.mouse.wheel(0, -100)
    wait_for(lambda: zoom(page)["scale"] > 2, 10, "a larger picture")
    expect(page.locator("#zoom")).to_be_visible()
    view = zoom(page)
    box = page.locator("#overlay").bounding_box()
    # The square has moved a little: look where it is in the zoomed picture now.
    px, py = Scene(SCENE).click_point(eyes.frame(), SQUARE)
    place = (
        box["x"] + (px / 640 - view["x"]) * view["scale"] * box["width"],
        box["y"] + (py / 360 - view["y"]) * view["scale"] * box["height"],
    )
    page.mouse.click(*place)
    expect(rows(page)).to_have_count(1)
    wait_for_mask(eyes, int(rows(page).first.get_attribute("data-id")), SQUARE)
    page.keyboard.press("0")
    expect(page.locator("#zoom")).to_be_hidden()
    assert zoom(page) == {"x": 0, "y": 0, "scale": 1}


def test_the_zoomed_picture_can_be_moved_but_not_out_of_sight(web, open_page):
    page, _ = open_cam(open_page, web.url)
    page.keyboard.press("+")
    before = zoom(page)
    box = page.locator("#overlay").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 150)
    page.mouse.down(button="middle")
    page.mouse.move(box["x"] + 150, box["y"] + 120, steps=3)
    moved = zoom(page)
    assert moved["x"] > before["x"]
    assert moved["y"] > before["y"]
    page.mouse.move(box["x"] - 3000, box["y"] - 3000, steps=3)
    page.mouse.up(button="middle")
    end = zoom(page)
    assert end["x"] == pytest.approx(1 - 1 / end["scale"])
    assert end["y"] == pytest.approx(1 - 1 / end["scale"])
    assert web.objects() == []


def test_the_page_scrolls_where_there_is_nothing_to_zoom_out_of(web, open_page):
    page, _ = open_cam(open_page, web.url, viewport={"width": 900, "height": 500})
    page.locator("#overlay").hover()
    page.mouse.wheel(0, 200)
    wait_for(lambda: page.evaluate("scrollY") > 0, 10, "the page to scroll")
    assert zoom(page)["scale"] == 1


def test_a_long_press_is_negative(web, open_page):
    page, eyes = open_cam(open_page, web.url, **PHONE)
    page.touchscreen.tap(*eyes.place_of(BALL))
    expect(rows(page)).to_have_count(1)
    fingers = Fingers(page)
    fingers.down(eyes.place_of(SQUARE))
    wait_for(lambda: web.objects()[0]["prompts"] == 2, 10, "the negative point")
    fingers.up()


def test_a_swipe_scrolls_and_makes_nothing(web, open_page):
    page, _ = open_cam(open_page, web.url, **PHONE)
    box = page.locator("#overlay").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9
    fingers = Fingers(page)
    fingers.down((x, y))
    for step in range(1, 12):
        fingers.move((x, y - 12 * step))
    fingers.up()
    wait_for(lambda: page.evaluate("scrollY") > 20, 10, "the page to scroll")
    assert web.objects() == []
    expect(rows(page)).to_have_count(0)
    first = page.locator("#picture").get_attribute("data-frame")
    wait_for(lambda: page.locator("#picture").get_attribute("data-frame") != first, 10, "the picture to go on")


def test_two_fingers_zoom_and_one_moves(web, open_page):
    page, _ = open_cam(open_page, web.url, **PHONE)
    box = page.locator("#overlay").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = Fingers(page)
    fingers.down((x - 20, y), (x + 20, y))
    for step in range(1, 9):
        fingers.move((x - 20 - 8 * step, y), (x + 20 + 8 * step, y))
    fingers.up()
    scale = zoom(page)["scale"]
    assert 2.5 < scale < 6
    before = zoom(page)["x"]
    fingers.down((x, y))
    for step in range(1, 9):
        fingers.move((x - 10 * step, y))
    fingers.up()
    assert zoom(page)["x"] > before
    assert zoom(page)["scale"] == scale
    assert web.objects() == []


def test_the_phone_speaks_of_taps(web, open_page):
    page, _ = open_cam(open_page, web.url, **PHONE)
    expect(page.locator("#hint")).to_contain_text("Tap an object")


# How the picture looks inside and outside the mask.
EFFECTS = {
    "outline": ("same", "same"),
    "spotlight": ("same", "dark"),
    "gray": ("same", "gray"),
    "blur": ("same", "near"),
    "cutout": ("same", "transparent"),
    "pixelate": ("near", "same"),
    "none": ("same", "same"),
}


def check_look(shown, bare, expected):
    """Check pixels, ``[N, 4]``, against those of the scene."""
    shown, alpha = shown[:, :3].astype(int), shown[:, 3]
    off = np.abs(shown - bare).max(axis=1)
    if expected == "transparent":
        assert np.median(alpha) == 0
        return
    assert np.median(alpha) == 255
    if expected == "same":
        assert np.median(off) < 12
    elif expected == "near":
        assert np.median(off) < 40
    elif expected == "dark":
        assert np.median(shown) < 0.45 * np.median(bare)
    else:
        assert np.percentile(np.ptp(shown, axis=1), 95) < 8


def test_effects_change_what_they_say(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    scene = Scene(SCENE)
    for effect, expected in EFFECTS.items():
        page.select_option("#effect", effect)
        if effect == "cutout":
            wait_for(lambda: eyes.rgba()[300, 500, 3] == 0, 10, "a transparent background")
        page.evaluate("import('/static/viewer.js').then(({ freeze }) => freeze())")
        picture = eyes.rgba()
        number = int(page.evaluate("import('/static/store.js').then(({ store }) => store.frame.pts)"))
        page.evaluate("import('/static/viewer.js').then(({ unfreeze }) => unfreeze())")
        bare = scene.render(number).astype(int)
        truth = scene.truth(number)[BALL].astype(np.uint8)
        core = cv2.erode(truth, np.ones((9, 9), np.uint8)) > 0
        far = cv2.dilate(truth, np.ones((41, 41), np.uint8)) == 0
        far[:40] = False  # the frame number
        for region, look in zip((core, far), expected, strict=True):
            check_look(picture[region], bare[region], look)


def test_opacity_and_labels_can_be_changed(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    page.locator("#opacity").fill("0")
    wait_for(lambda: eyes.iou(ball, BALL) < 0.5, 10, "a mask that is not tinted")
    page.locator("#opacity").fill("0.4")
    wait_for_mask(eyes, ball, BALL)
    page.keyboard.press("Escape")
    page.mouse.move(5, 5)
    drawn = """() => { const canvas = document.querySelector("#overlay");
        return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean); }"""
    wait_for(lambda: page.evaluate(drawn), 10, "a label")
    page.keyboard.press("l")
    expect(page.locator("[data-toggle=labels]")).to_have_attribute("aria-pressed", "false")
    wait_for(lambda: not page.evaluate(drawn), 10, "no label")


def test_the_address_holds_stream_and_view(web, open_page):
    page, _ = open_cam(open_page, web.url)
    assert page.title() == "cam – streamseg"
    page.locator('.tile[data-stream="yard"]').click()
    page.select_option("#effect", "gray")
    page.wait_for_selector('#picture[data-stream="yard"]')
    assert page.title() == "yard – streamseg"
    other = open_page(page.url)
    other.wait_for_selector('#picture[data-stream="yard"]')
    expect(other.locator("#effect")).to_have_value("gray")
    other.reload()
    other.wait_for_selector('#picture[data-stream="yard"]')
    other.evaluate("location.hash = '#stream=cam&effect=nonsense&opacity=99'")
    other.wait_for_selector('#picture[data-stream="cam"]')
    expect(other.locator("#effect")).to_have_value("color")


_THIRTY_PICTURES = """new Promise((done) => {
    let left = 30;
    const next = () => left-- ? requestAnimationFrame(next) : done();
    next();
})"""


def record(page, path):
    """Record for some pictures; return those of the film."""
    button = page.locator("#record")
    button.click()
    expect(button).to_contain_text("Stop")
    page.evaluate(_THIRTY_PICTURES)
    with page.expect_download() as download:
        button.click()
    expect(button).to_contain_text("Record")
    download.value.save_as(path)
    video, pictures = cv2.VideoCapture(str(path)), []
    while (picture := video.read()[1]) is not None:
        pictures.append(picture)
    return pictures


def test_the_grid_shows_all_streams_live_and_a_click_shows_one(web, control, open_page, tmp_path):
    page, _ = open_cam(open_page, web.url)
    made = control.add_prompt("yard", points=[(0.5, 0.5)])
    page.keyboard.press("g")
    expect(page.locator("#frame")).to_be_hidden()
    assert page.title() == "2 streams – streamseg"
    other = open_page(page.url)
    expect(other.locator("#frame")).to_be_hidden()
    watching = "streamseg_watching 2"
    wait_for(lambda: watching in web.ask("GET", "/metrics")[2].decode(), 10, "one seat for each viewer")
    sample = """stream => { const canvas = document.querySelector(`.tile[data-stream="${stream}"] canvas`);
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, 12).data].join(); }"""
    for stream in ("cam", "yard"):
        seen = set()
        wait_for(
            lambda seen=seen, stream=stream: len(seen) > 5 or seen.add(page.evaluate(sample, stream)), 10, "pictures"
        )
    page.select_option("#grid", "2x2")
    assert page.url.endswith("#stream=cam&view=2x2")
    film = record(page, tmp_path / "grid.webm")
    assert film[0].shape[1] / film[0].shape[0] == pytest.approx(2 * 16 / 9, abs=0.01)
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename.startswith("grid-")
    page.locator('.tile[data-stream="yard"]').click()
    page.wait_for_selector('#picture[data-stream="yard"]')
    expect(page.locator("#frame")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    assert int(rows(page).first.get_attribute("data-id")) == made.object_id


def test_an_address_of_a_stream_that_does_not_exist_shows_another(web, open_page):
    page = open_page(f"{web.url}#stream=nowhere")
    page.wait_for_selector('#picture[data-stream="cam"]')
    assert "stream=nowhere" in page.url, "it may come back"


def test_a_snapshot_is_downloaded(web, open_page, tmp_path):
    page, eyes = open_cam(open_page, web.url)
    click_object(page, eyes, BALL)
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename.startswith("cam-")
    download.value.save_as(tmp_path / "snapshot.png")
    picture = cv2.imread(str(tmp_path / "snapshot.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape[:2] == (360, 640)


def test_a_recording_is_downloaded(web, open_page, tmp_path):
    page, _ = open_cam(open_page, web.url)
    film = record(page, tmp_path / "recording.webm")
    assert len(film) >= 5
    assert film[0].shape[:2] == (360, 640)


def test_the_record_button_downloads_a_clip_of_the_daemon(own, open_page, tmp_path):
    page, _ = open_cam(open_page, own.url)
    button = page.locator("#record")
    expect(button).to_have_attribute("title", re.compile("1 s before and 0.5 s after now as MP4"))
    with page.expect_download() as download:
        button.click()
        expect(button).to_be_disabled()
    assert re.fullmatch(r"\d{8}T\d{6}Z-cam-requested\.mp4", download.value.suggested_filename)
    download.value.save_as(tmp_path / "clip.mp4")
    video = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert video.read()[1].shape[:2] == (360, 640)
    expect(button).to_be_enabled()
    (own.file.parent / "clips" / download.value.suggested_filename).unlink()


CPP_CHECK = ["g++", "-std=c++17", "-fsyntax-only", "-I", str(ROOT / "clients" / "cpp"), "-x", "c++", "-"]


@pytest.mark.slow
def test_the_code_for_the_stream_runs(web, control, open_page):
    page, _ = open_cam(open_page, web.url, reuse=False)  # permissions outlast a navigation
    control.add_prompt("cam", points=[(0.5, 0.5)])
    page.locator("#share-button").click()
    expect(page.locator("#share-link")).to_have_text(page.url)
    expect(page.locator("#share-code")).to_contain_text(json.dumps(web.endpoint))
    code = page.locator("#share-code").text_content().replace("        for obj", "        break\n        for obj")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    for language, marker, compiler in (
        ("cpp", "#include", CPP_CHECK),
        ("mjs", "import {", ["node", "--check", "--input-type=module", "-"]),
    ):
        page.locator("#share-language").select_option(language)
        expect(page.locator("#share-code")).to_contain_text(marker)
        code = page.locator("#share-code").text_content()
        assert '"cam"' in code
        if shutil.which(compiler[0]) and (language != "cpp" or Path("/usr/include/zmq.hpp").exists()):
            subprocess.run(compiler, input=code, text=True, check=True, timeout=120)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator('button[data-copy="share-link"]').click()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    page.keyboard.press("Escape")
    expect(page.locator("#share")).to_be_hidden()
