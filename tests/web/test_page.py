"""The page in a real browser with a real daemon: a clicked object gets its mask, pixel by pixel."""

from __future__ import annotations

import re
import signal

import pytest
from playwright.sync_api import expect

from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import wait_for
from tests.servers.live_servers import free_port
from tests.web.page_driver import BALL, GOOD, SQUARE, click_object, open_cam, rows, wait_for_mask
from tests.web.page_eyes import Eyes
from tests.web.web_daemon import SCENE, STREAMS, YARD

pytestmark = pytest.mark.chromium

RED = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let red = 0;
    for (let at = 0; at < data.length; at += 4) red += data[at] > data[at + 1] + 30 && data[at] > data[at + 2] + 5;
    return red / (canvas.width * canvas.height);
}"""


def test_click_an_object_and_see_its_mask_on_it(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    expect(page.locator("#no-objects")).to_be_visible()
    obj_id = click_object(page, eyes, BALL)
    wait_for_mask(eyes, obj_id, BALL)
    # It moves, and its mask with it, on every picture that we look at.
    first = eyes.frame()
    wait_for(lambda: eyes.frame() > first + 40, 20, "two seconds of pictures")
    assert eyes.iou(obj_id, BALL) > GOOD
    row = rows(page).first
    expect(row.locator(".state")).to_have_text("tracked")
    for caption, plot in (("area", 0), ("quality", 1)):
        expect(row.locator("figcaption").nth(plot)).to_contain_text(caption)
        assert len(row.locator("polyline").nth(plot).get_attribute("points").split()) > 3
    assert row.locator(".thumbnail").evaluate(RED) > 0.2, "the ball, tinted"


@pytest.mark.slow
def test_nano_follows_what_is_clicked(start, open_page):
    """The same with nano, for which a click is only a position."""
    web = start({"cam": {"source": SCENE}}, model="nano")
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    square = click_object(page, eyes, SQUARE)
    wait_for_mask(eyes, square, SQUARE)
    first = eyes.frame()
    wait_for(lambda: eyes.frame() > first + 60, 60, "three seconds of pictures")
    wait_for_mask(eyes, ball, BALL)
    wait_for_mask(eyes, square, SQUARE)


def test_a_box_adds_a_second_object_and_both_stay_apart(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    first = click_object(page, eyes, BALL)
    page.keyboard.press("Escape")
    start, end = eyes.corners_of(SQUARE)
    page.mouse.move(*start)
    page.mouse.down()
    held = page.locator("#picture").get_attribute("data-frame")
    page.mouse.move(*end, steps=5)
    assert page.locator("#picture").get_attribute("data-frame") == held, "the picture moved under the box"
    page.mouse.up()
    expect(rows(page)).to_have_count(2)
    second = int(rows(page).nth(1).get_attribute("data-id"))
    wait_for_mask(eyes, second, SQUARE)
    wait_for_mask(eyes, first, BALL)


def test_objects_are_corrected_undone_named_and_removed(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    obj_id = click_object(page, eyes, BALL)
    page.keyboard.press("1")
    expect(rows(page).first).to_have_attribute("data-selected", "")
    page.mouse.click(*eyes.place_of(BALL))
    wait_for(lambda: web.objects()[0]["prompts"] == 2, 10, "a positive point on the object")
    page.mouse.click(*eyes.place_of(SQUARE), button="right")
    wait_for(lambda: web.objects()[0]["prompts"] == 3, 10, "a negative point")
    page.keyboard.down("Shift")
    page.mouse.click(*eyes.place_of(SQUARE))
    page.keyboard.up("Shift")
    wait_for(lambda: web.objects()[0]["prompts"] == 4, 10, "a negative point by Shift")
    page.locator("#undo").click()
    wait_for(lambda: web.objects()[0]["prompts"] == 3, 10, "one point less")
    assert [each["id"] for each in web.objects()] == [obj_id]
    name = rows(page).first.locator("input")
    name.fill("ball")
    name.press("Enter")
    wait_for(lambda: web.objects()[0]["label"] == "ball", 10, "its name")
    expect(name).to_have_value("ball")
    page.keyboard.press("Delete")
    expect(rows(page)).to_have_count(0)
    assert web.objects() == []
    expect(page.locator("#events")).to_contain_text(f"{obj_id} ball removed")


def test_undo_brings_back_what_was_removed_reset_or_renamed(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    expect(page.locator("#undo")).to_be_disabled()
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    name = rows(page).first.locator("input")
    name.fill("ball")
    name.press("Enter")
    wait_for(lambda: web.objects()[0]["label"] == "ball", 10, "its name")
    page.keyboard.press("u")
    wait_for(lambda: web.objects()[0]["label"] == "", 10, "no name again")
    square = click_object(page, eyes, SQUARE)
    page.keyboard.press("1")
    page.keyboard.press("Delete")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("u")
    expect(rows(page)).to_have_count(2)
    assert order(page) == [ball, square]
    wait_for_mask(eyes, ball, BALL)
    expect(page.locator("#reset")).to_be_enabled()
    page.keyboard.press("r")
    page.keyboard.press("r")
    expect(rows(page)).to_have_count(0)
    page.locator("#undo").click()
    expect(rows(page)).to_have_count(2)
    assert order(page) == [ball, square]
    wait_for_mask(eyes, ball, BALL)


def test_a_held_key_presses_its_button_once(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    click_object(page, eyes, BALL)
    for _ in range(2):
        page.keyboard.down("r")
    page.keyboard.up("r")
    expect(page.locator("#reset")).to_have_text("Really?")
    expect(rows(page)).to_have_count(1)


def order(page):
    return rows(page).evaluate_all("rows => rows.map((row) => Number(row.dataset.id))")


def test_the_switch_finds_candidates_that_are_kept_or_dismissed(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    switch = page.locator("#find")
    expect(switch).to_have_attribute("aria-pressed", "false")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true", timeout=20_000)
    expect(page.locator("#hint")).to_contain_text(re.compile(r"Find (takes its first|has taken \d+) look"))
    expect(rows(page)).to_have_count(3, timeout=20_000)
    assert {obj["origin"] for obj in web.json("GET", "/v1/control")["streams"][0]["objects"]} == {"auto"}
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false", timeout=20_000)
    expect(page.locator("#hint")).not_to_contain_text("Find", timeout=20_000)
    expect(rows(page)).to_have_count(3)
    candidates = page.locator("#objects .object[data-found]")
    expect(candidates).to_have_count(3)
    page.mouse.click(*eyes.place_of(BALL))
    expect(candidates).to_have_count(2)
    candidates.first.get_by_title("Keep").click()
    expect(candidates).to_have_count(1)
    candidates.first.get_by_title("Remove").click()
    expect(candidates).to_have_count(0)
    assert [obj["origin"] for obj in web.objects()] == ["user", "user"]
    web.json("POST", "/v1/streams/cam/reset")


def test_streams_are_paused_resumed_and_reset(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    click_object(page, eyes, BALL)
    page.keyboard.press("p")
    expect(page.locator("#pause")).to_have_text("Resume")
    page.locator("#pause").click()
    expect(page.locator("#pause")).to_have_text("Pause")
    expect(rows(page)).to_have_count(1)
    page.locator("#reset").click()
    expect(page.locator("#reset")).to_contain_text("Really?")
    assert len(web.objects()) == 1
    page.locator("#reset").click()
    expect(rows(page)).to_have_count(0)


def test_everything_works_by_keyboard(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    x, y = Scene(SCENE).click_point(eyes.frame(), SQUARE)
    page.locator("#overlay").focus()
    steps_x, steps_y = round((x / 640 - 0.5) / 0.02), round((y / 360 - 0.5) / 0.02)
    for key, count in (("ArrowRight", steps_x), ("ArrowLeft", -steps_x), ("ArrowDown", steps_y), ("ArrowUp", -steps_y)):
        for _ in range(count):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("Remove the selected object")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("#undo")).to_have_attribute("title", re.compile(r"\(U\)$"))
    page.keyboard.press("Control+z")
    expect(rows(page)).to_have_count(0)
    page.keyboard.press("Control+y")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("]")
    expect(page.locator("#overlay")).to_have_attribute("aria-label", "Live picture of yard")


def test_objects_are_marked_by_touch_on_a_phone(web, open_page):
    page, eyes = open_cam(open_page, web.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.touchscreen.tap(*eyes.place_of(BALL))
    expect(rows(page)).to_have_count(1)
    wait_for_mask(eyes, int(rows(page).first.get_attribute("data-id")), BALL)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "the page is wider than the phone"
    )


def test_tiles_show_all_streams_and_choose_one(web, open_page):
    page, _ = open_cam(open_page, web.url)
    tile = page.locator('.tile[data-stream="yard"]')
    expect(tile).to_contain_text("no objects")
    middle = "tile => [...tile.querySelector('canvas').getContext('2d').getImageData(160, 90, 1, 1).data.slice(0, 3)]"
    wait_for(lambda: any(tile.evaluate(middle)), 10, "a picture on the tile")
    tile.click()
    page.wait_for_selector('#picture[data-stream="yard"]')
    eyes = Eyes(page, Scene(YARD))
    obj_id = click_object(page, eyes, BALL)
    wait_for_mask(eyes, obj_id, BALL)
    assert web.objects("cam") == []


def test_a_click_on_an_expired_picture_is_reported(web, open_page):
    page, _ = open_cam(open_page, web.url)
    stale = """import('/static/actions.js').then(
        ({ sendPrompt }) => sendPrompt({ points: [[0.5, 0.5]] }, { stream: 'cam', frame: 0 }))"""
    page.evaluate(stale)
    notification = page.locator(".notification")
    expect(notification).to_contain_text("FRAME_EXPIRED")
    notification.get_by_text("Use the newest picture").click()
    expect(rows(page)).to_have_count(1)
    expect(notification).to_have_count(0)


def test_an_error_is_shown_until_something_works(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    page.mouse.click(*eyes.place_of(BALL), button="right")
    expect(page.locator(".notification")).to_contain_text("Select an object first")
    page.keyboard.press("u")  # its button is off
    expect(page.locator("#undo")).to_be_disabled()
    click_object(page, eyes, BALL)
    expect(page.locator(".notification")).to_have_count(0)  # what works now takes back what did not


def test_objects_of_another_program_show_up(web, control, open_page):
    page, _ = open_cam(open_page, web.url)
    made = control.add_prompt("cam", points=[(0.5, 0.5)], label="<b>from afar</b>")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first.locator("input")).to_have_value("<b>from afar</b>")
    control.remove_object("cam", made.object_id)
    expect(rows(page)).to_have_count(0)


@pytest.mark.slow
def test_the_daemon_is_lost_and_comes_back(start, open_page):
    listen = f"127.0.0.1:{free_port()}"
    daemon = start({"cam": STREAMS["cam"]}, listen=listen)
    page, eyes = open_cam(open_page, daemon.url)
    expect(page.locator("#connection")).to_have_text("live")
    daemon.end(signal.SIGKILL)
    expect(page.locator("#connection")).to_have_text("connection lost")
    expect(page.locator("#notice")).to_contain_text("Reconnecting")
    start({"cam": STREAMS["cam"]}, listen=listen)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#notice")).to_be_hidden()
    click_object(page, eyes, BALL)


def test_health_is_one_sentence_that_says_what_is_wrong(web, open_page):
    page, _ = open_cam(open_page, web.url)
    expect(page.locator("#health-good")).to_contain_text("all good")
    expect(page.locator("#health-summary")).to_be_hidden()
    expect(page.locator("#health")).to_be_hidden()
    page.keyboard.press("p")
    expect(page.locator("#health-summary")).to_contain_text("Tracking is paused: press Resume")
    page.keyboard.press("p")
    expect(page.locator("#health-summary")).to_be_hidden()
    page.locator("#health-section summary").click()
    expect(page.locator("#health")).to_contain_text("capture to screen")
    assert "superseded" not in page.locator("aside").inner_text()
