"""The timeline, the settings with zones and lines, adding a camera, and what is shown when pictures stop."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.daemon_process import wait_for
from tests.web.page_driver import BALL, SQUARE, click_object, open_cam, rows, wait_for_mask

pytestmark = pytest.mark.chromium


def point(page, x, y):
    box = page.locator("#overlay").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_a_camera_is_tested_seen_and_added(own, open_page):
    page, _ = open_cam(open_page, own.url)
    page.locator("#add-camera").click()
    expect(page.locator("#camera-add")).to_be_disabled()
    page.locator("#camera-source").fill("file:/etc/passwd")
    page.locator("#camera-test").click()
    expect(page.locator("#camera-result [data-level=bad]")).to_contain_text("http.allow_files")
    expect(page.locator("#camera-add")).to_be_disabled()
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    expect(page.locator("#camera")).to_be_hidden()
    assert "view=" not in page.url, "no shortcut of the page behind the dialog"
    page.locator("#add-camera").click()
    page.locator("#camera-source").fill(f"{own.url}v1/streams/cam/stream.mjpg")
    page.locator("#camera-test").click()
    expect(page.locator("#camera-result")).to_contain_text("640 × 360")
    width = page.locator("#camera-result img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width == 640
    page.locator("#camera-name").fill("again")
    page.locator("#camera-add").click()
    page.wait_for_selector('#picture[data-stream="again"]')
    page.locator("#settings-button").click()
    page.locator("#remove-stream").click()
    assert own.ask("GET", "/v1/streams/again")[0] == 200, "it asks first"
    page.locator("#remove-stream").click()
    page.wait_for_selector('#picture[data-stream="cam"]')
    wait_for(lambda: own.ask("GET", "/v1/streams/again")[0] == 404, 20, "no such stream")


def test_a_long_address_does_not_widen_the_page(own, open_page):
    own.json("POST", "/v1/streams/far", {"source": f"rtsp://127.0.0.1:1/{'a' * 200}"})
    try:
        page = open_page(f"{own.url}#stream=far")
        expect(page.locator("#health-summary")).to_contain_text("aaa", timeout=60_000)
        right = "sections => Math.max(...sections.map((each) => each.getBoundingClientRect().right)) - innerWidth"
        assert page.locator("aside > section, #notice").evaluate_all(right) <= 0
    finally:
        own.json("DELETE", "/v1/streams/far")


def test_zones_and_lines_are_drawn_on_the_picture(own, open_page):
    page, _ = open_cam(open_page, own.url)
    page.locator("#settings-button").click()
    page.locator("[data-draw=zone]").click()
    for corner in ((0.1, 0.2), (0.5, 0.2), (0.5, 0.8)):
        page.mouse.click(*point(page, *corner))
    page.locator("#draw-done").click()
    expect(page.locator("#regions li")).to_have_count(1)
    page.locator("[data-draw=line]").click()
    page.mouse.click(*point(page, 0.7, 0.2))
    page.mouse.click(*point(page, 0.7, 0.8))
    expect(page.locator("#regions li")).to_have_count(2)
    page.get_by_label("Name of zone-1").fill("door")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of door")).to_be_visible()
    settings = own.json("GET", "/v1/streams/cam/settings")["settings"]
    assert settings["zones"]["door"]["coords"] == "normalized"
    assert settings["zones"]["door"]["polygon"][1] == pytest.approx([0.5, 0.2], abs=0.01)
    assert settings["lines"]["line-1"]["end"] == pytest.approx([0.7, 0.8], abs=0.01)
    assert own.objects() == [], "corners are no prompts"
    page.get_by_label("Lost after (s)").fill("7")
    page.keyboard.press("Tab")
    wait_for(lambda: own.json("GET", "/v1/streams/cam/settings")["settings"]["lost_after_s"] == 7, 10, "the setting")
    page.get_by_label("Remove door").click()
    expect(page.locator("#regions li")).to_have_count(1)


def settings_of(daemon):
    return daemon.json("GET", "/v1/streams/cam/settings")["settings"]


def test_areas_of_find_are_drawn_and_corners_are_moved_added_and_removed(own, open_page):
    page, _ = open_cam(open_page, own.url)
    page.locator("#settings-button").click()
    page.locator("[data-draw=ignore]").click()
    for corner in ((0.1, 0.1), (0.4, 0.1), (0.4, 0.5), (0.1, 0.5)):
        page.mouse.click(*point(page, *corner))
    page.locator("#draw-done").click()
    expect(page.locator("#regions li")).to_have_count(1)
    page.locator("[data-draw=region]").click()
    page.mouse.move(*point(page, 0.5, 0.2))
    page.mouse.down()
    page.mouse.move(*point(page, 0.9, 0.8), steps=3)
    page.mouse.up()
    expect(page.locator("#regions li")).to_have_count(2)
    page.mouse.move(*point(page, 0.9, 0.8))
    page.mouse.down()
    page.mouse.move(*point(page, 0.8, 0.7), steps=3)
    page.mouse.up()
    region = [[0.5, 0.2], [0.9, 0.2], [0.8, 0.7], [0.5, 0.8]]
    wait_for(lambda: settings_of(own)["find"]["region"][0]["polygon"][2][0] < 0.85, 10, "the corner that was dragged")
    assert settings_of(own)["find"]["region"][0]["polygon"] == [pytest.approx(each, abs=0.01) for each in region]
    assert not settings_of(own)["find"]["enabled"], "drawing an area does not begin to find"
    page.mouse.click(*point(page, 0.5, 0.8), button="right")
    wait_for(lambda: len(settings_of(own)["find"]["region"][0]["polygon"]) == 3, 10, "a corner less")
    # By keyboard: the second corner of the other area goes left, gets one after it, and is removed.
    page.get_by_label("Corners of ignore 1").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Corners of ignore 1")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("PageDown")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    moved = [0.3, 0.1]
    wait_for(lambda: settings_of(own)["find"]["ignore"][0]["polygon"][1] == pytest.approx(moved, abs=0.01), 10, "moved")
    page.keyboard.press("Insert")
    wait_for(lambda: len(settings_of(own)["find"]["ignore"][0]["polygon"]) == 5, 10, "a corner more")
    page.keyboard.press("PageUp")
    page.keyboard.press("Delete")
    wait_for(lambda: len(settings_of(own)["find"]["ignore"][0]["polygon"]) == 4, 10, "a corner less")
    assert settings_of(own)["find"]["ignore"][0]["polygon"][0] == pytest.approx([0.1, 0.1], abs=0.01)
    page.keyboard.press("Escape")
    expect(page.get_by_label("Corners of ignore 1")).to_have_attribute("aria-pressed", "false")
    assert own.objects() == [], "corners are no prompts"


def test_what_is_pressed_or_typed_while_settings_change_is_not_lost(own, open_page):
    zones = {"first": {"polygon": [[0, 0], [1, 0], [1, 1]], "coords": "normalized"}}
    own.json("PATCH", "/v1/streams/cam/settings", {"zones": zones})
    page, _ = open_cam(open_page, own.url)
    page.locator("#settings-button").click()

    def settings_change(added):
        zones[added] = zones["first"]
        own.json("PATCH", "/v1/streams/cam/settings", {"zones": zones})
        page.get_by_label("Uncertain below").evaluate("input => input.dispatchEvent(new Event('change'))")
        expect(page.get_by_label(f"Name of {added}")).to_be_visible()

    corners, name = page.get_by_label("Corners of first"), page.get_by_label("Name of first")
    corners.hover()
    page.mouse.down()
    settings_change("second")
    page.mouse.up()
    expect(corners).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    corners.focus()
    settings_change("third")
    expect(corners).to_be_focused()
    name.fill("door")
    settings_change("fourth")
    expect(name).to_have_value("door")
    name.press("Enter")
    expect(page.get_by_label("Name of door")).to_be_focused()
    assert list(settings_of(own)["zones"]) == ["door", "second", "third", "fourth"]
    expect(page.locator("#regions li")).to_have_count(4)


def test_a_row_of_the_timeline_keeps_the_focus_when_another_moves_below_it(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    square = click_object(page, eyes, SQUARE)
    names = page.locator("#timeline-rows button.timeline-name")
    first, second = names.nth(0), names.nth(1)  # below them are objects of other tests
    expect(first).to_have_text(str(square))
    second.focus()
    page.keyboard.press("Delete")
    expect(first).to_have_text(str(ball))
    expect(second).to_have_text(str(square))
    expect(first).to_be_focused()


def test_the_timeline_shows_states_and_events_with_pictures(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    row = page.locator("#timeline-rows li").filter(has=page.get_by_role("button", name=str(ball), exact=True)).first
    expect(row.locator("canvas").first).to_have_attribute("aria-label", re.compile(r"last ten minutes: tracked \d+ s$"))
    page.keyboard.press("Delete")
    expect(rows(page)).to_have_count(0)
    removed = row.locator(".mark").last
    expect(removed).to_have_accessible_name(re.compile(rf" {ball} removed$"))
    removed.focus()
    expect(page.locator("#timeline-card")).to_contain_text(f"{ball} removed")
    expect(page.locator("#timeline-card canvas")).to_be_visible()


def test_undone_changes_are_done_again(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    expect(page.locator("#redo")).to_be_disabled()
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    page.keyboard.press("u")
    expect(rows(page)).to_have_count(0)
    page.keyboard.press("Control+Shift+Z")
    expect(rows(page)).to_have_count(1)
    wait_for_mask(eyes, ball, BALL)
    expect(page.locator("#redo")).to_be_disabled()


def test_a_daemon_that_stands_still_never_looks_live(own, open_page):
    page, _ = open_cam(open_page, own.url)
    expect(page.locator("body[data-stale]")).to_have_count(0)
    worker = own.child("worker")
    worker.suspend()
    try:
        expect(page.locator("body[data-stale]")).to_have_count(1)
        expect(page.locator("#connection")).not_to_have_text("live")
        expect(page.locator("#notice")).to_be_visible()
    finally:
        worker.resume()
    expect(page.locator("body[data-stale]")).to_have_count(0)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#notice")).to_be_hidden()


def test_a_question_is_about_the_stream_it_was_asked_for(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    click_object(page, eyes, BALL)
    expect(page.locator("#reset")).to_be_enabled()
    asked, after = page.evaluate("""() => {
        const [remove, reset] = ["#remove-stream", "#reset"].map((id) => document.querySelector(id));
        const questions = () => [remove.textContent, "confirm" in reset.dataset];
        remove.click();
        reset.click();
        const asked = questions();
        document.querySelector('.tile[data-stream="yard"]').click();
        return [asked, questions()];
    }""")
    assert asked == ["Really remove it?", True]
    assert after == ["Remove camera", False]


def test_regions_of_two_browsers_do_not_replace_each_other(own, open_page):
    zone = {"polygon": [[0, 0], [1, 0], [1, 1]], "coords": "normalized"}
    own.json("PATCH", "/v1/streams/cam/settings", {"zones": {"first": zone}})
    page, _ = open_cam(open_page, own.url)
    page.locator("#settings-button").click()
    name = page.get_by_label("Name of first")
    expect(name).to_have_value("first")
    own.json("PATCH", "/v1/streams/cam/settings", {"zones": {"first": zone, "second": zone}})
    name.fill("door")
    name.press("Enter")
    expect(page.get_by_label("Name of door")).to_have_value("door")
    assert set(own.json("GET", "/v1/streams/cam/settings")["settings"]["zones"]) == {"door", "second"}
    own.json("PATCH", "/v1/streams/cam/settings", {"zones": {}})


def test_an_answer_to_a_closed_dialog_is_ignored(own, open_page):
    page, _ = open_cam(open_page, own.url)
    asked = []
    page.route("**/v1/sources/probe", lambda route: asked.append(route))
    page.locator("#add-camera").click()
    page.locator("#camera-source").fill("rtsp://192.0.2.1/x")
    page.locator("#camera-test").click()
    wait_for(lambda: page.locator("#camera-test").text_content() == "Testing …" and asked, 10, "the question")
    page.locator("#camera-close").click()
    page.locator("#add-camera").click()
    with page.expect_response("**/v1/sources/probe") as answered:
        asked[0].fulfill(status=422, json={"error": {"code": "BAD_CONFIG", "message": "late", "retryable": False}})
    answered.value.finished()
    page.evaluate("new Promise((done) => setTimeout(done))")
    assert page.locator("#camera-result").text_content() == ""
    expect(page.locator("#camera-test")).to_have_text("Test")


def test_a_page_server_that_dies_is_replaced_at_the_same_place(own, open_page):
    daemon, restarts = own, own.json("GET", "/v1/streams")["daemon"]["restarts"]["web"]
    page, _ = open_cam(open_page, daemon.url)
    session = daemon.json("GET", "/v1/streams")["daemon"]["session"]
    daemon.child("web").kill()
    expect(page.locator("#connection")).to_have_text("connection lost")
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#events")).to_contain_text("connection restored")
    # Status is published once a second.
    wait_for(lambda: daemon.json("GET", "/v1/streams")["daemon"]["restarts"]["web"] == restarts + 1, 10, "the restart")
    assert daemon.json("GET", "/v1/streams")["daemon"]["session"] == session
