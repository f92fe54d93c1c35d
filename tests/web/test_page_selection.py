"""How clicks change the selection, and the preview of a click."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.e2e.daemon_process import wait_for
from tests.web.page_driver import BALL, SQUARE, click_object, open_cam, rows, wait_for_mask

pytestmark = pytest.mark.chromium

PREVIEW = """async () => {
    const canvas = document.querySelector("#overlay");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let white = 0;
    for (let at = 0; at < data.length; at += 4) white += data[at] > 200 && data[at + 3] > 60;
    return white / (canvas.width * canvas.height);
}"""


def selected(page):
    """Id of the selected object, or None."""
    row = page.locator("#objects .object[data-selected]")
    return int(row.get_attribute("data-id")) if row.count() else None


def expect_selected(page, obj_id):
    expect(page.locator("#objects .object[data-selected]")).to_have_attribute("data-id", str(obj_id))


def prompts(web):
    return {each["id"]: each["prompts"] for each in web.objects()}


def test_a_new_object_stays_selected_and_the_next_click_improves_it(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    expect_selected(page, ball)
    page.mouse.click(*eyes.place_of(BALL))
    wait_for(lambda: prompts(web) == {ball: 2}, 10, "a second point on the same object")
    expect_selected(page, ball)


def click_without_an_answer(page, eyes):
    """Click the ball; return the requests of clicks, which wait, and the place."""
    asked = []
    page.route("**/prompts", lambda route: asked.append(route))
    page.locator('[data-toggle="preview"]').click()
    spot = eyes.place_of(BALL)
    page.mouse.click(*spot)
    wait_for(lambda: page.evaluate("true") and len(asked) == 1, 10, "the first click")
    return asked, spot


def test_a_click_before_the_answer_to_the_first_improves_the_same_object(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    asked, spot = click_without_an_answer(page, eyes)
    page.mouse.click(*spot)
    asked[0].continue_()
    wait_for(lambda: page.evaluate("true") and len(asked) == 2, 20, "the second click")
    asked[1].continue_()
    wait_for(lambda: page.evaluate("true") and list(prompts(web).values()) == [2], 20, "both points on one object")
    (ball,) = prompts(web)
    expect_selected(page, ball)


def test_a_selection_made_meanwhile_stays(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    asked, _ = click_without_an_answer(page, eyes)
    page.keyboard.press("n")
    asked[0].continue_()
    expect(rows(page)).to_have_count(1)
    assert selected(page) is None


def test_a_click_right_after_a_still_picture_is_for_that_picture(web, open_page):
    """A hand aims at what it has seen: a picture that came 150 ms ago after a pause was not."""
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    page.keyboard.press("n")
    aimed = page.evaluate("""async () => {
        const { aimedAt, freeze, unfreeze, objectUnder } = await import("/static/viewer.js");
        const { store } = await import("/static/store.js");
        freeze();
        const still = store.frame;
        await new Promise((resolve) => setTimeout(resolve, 700));
        const next = new Promise((resolve) => {
            const seen = new MutationObserver(() => {
                seen.disconnect();
                resolve([aimedAt().frame, Number(document.querySelector("#picture").dataset.frame)]);
            });
            seen.observe(document.querySelector("#picture"), { attributeFilter: ["data-frame"] });
        });
        unfreeze();
        const [aimed, shown] = await next;
        const { id, bbox: [x, y, w, h] } = still.objects[0];
        const middle = [(x + w / 2) / still.size[0], (y + h / 2) / still.size[1]];
        return { still: still.frame, aimed, shown, under: objectUnder(middle, still) === id };
    }""")
    assert aimed["aimed"] == aimed["still"] < aimed["shown"]
    assert aimed["under"]


def test_a_box_is_for_the_picture_that_it_is_drawn_on(web, open_page):
    page, _ = open_cam(open_page, web.url)
    asked = []
    page.route("**/prompts", lambda route: (asked.append(route.request.post_data_json), route.abort()))
    page.locator('[data-toggle="preview"]').click()
    drawn_on = page.evaluate("""async () => {
        const { freeze, unfreeze } = await import("/static/viewer.js");
        const canvas = document.querySelector("#overlay"), picture = document.querySelector("#picture");
        const point = (type, at, buttons) => canvas.dispatchEvent(new PointerEvent(type, {
            pointerId: 1, pointerType: "mouse", buttons, bubbles: true,
            clientX: canvas.getBoundingClientRect().x + at, clientY: canvas.getBoundingClientRect().y + at,
        }));
        freeze();
        await new Promise((resolve) => setTimeout(resolve, 700));
        const next = new Promise((resolve) => {
            const seen = new MutationObserver(() => { seen.disconnect(); resolve(Number(picture.dataset.frame)); });
            seen.observe(picture, { attributeFilter: ["data-frame"] });
        });
        unfreeze();
        const shown = await next;
        point("pointerdown", 20, 1);
        point("pointermove", 90, 1);
        point("pointerup", 90, 0);
        return shown;
    }""")
    wait_for(lambda: page.evaluate("true") and asked, 10, "the box")
    assert asked[0]["box"]
    assert asked[0]["frame"] == drawn_on


def test_a_click_on_a_followed_object_selects_it(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    square = click_object(page, eyes, SQUARE)
    wait_for_mask(eyes, ball, BALL)
    wait_for_mask(eyes, square, SQUARE)
    expect_selected(page, square)
    page.mouse.click(*eyes.place_of(BALL))
    expect_selected(page, ball)
    page.keyboard.press("Escape")
    expect(page.locator("#objects .object[data-selected]")).to_have_count(0)
    page.mouse.click(*eyes.place_of(SQUARE))
    expect_selected(page, square)
    assert prompts(web) == {ball: 1, square: 1}, "selecting is no prompt"


def test_a_click_beside_the_selected_object_adds_to_it(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    page.mouse.click(*eyes.place_of(SQUARE))
    wait_for(lambda: prompts(web) == {ball: 2}, 10, "a point beside it")
    expect(rows(page)).to_have_count(1)


def test_control_click_prompts_on_a_followed_object(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    page.keyboard.press("Escape")
    page.keyboard.down("Control")
    page.mouse.click(*eyes.place_of(BALL))
    page.keyboard.up("Control")
    expect(rows(page)).to_have_count(2)


def test_the_selection_ends_when_another_program_removes_the_object(web, control, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    control.remove_object("cam", ball)
    expect(rows(page)).to_have_count(0)
    expect(page.locator("#remove")).to_be_disabled()
    assert selected(page) is None


def test_hover_shows_the_mask_that_a_click_would_give(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    expect(rows(page)).to_have_count(0)
    page.mouse.move(*eyes.place_of(BALL))
    wait_for(lambda: page.evaluate(PREVIEW) > 0.01, 10, "the preview")
    # The ball covers this share of the picture.
    expected = np.count_nonzero(eyes.truth(BALL)) / (640 * 360)
    assert page.evaluate(PREVIEW) == pytest.approx(expected, rel=0.25)
    assert web.objects() == [], "a preview changes nothing"
    page.mouse.move(5, 5)
    wait_for(lambda: page.evaluate(PREVIEW) == 0, 10, "no preview outside the picture")


def test_hovering_over_a_followed_object_asks_nothing(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    ball = click_object(page, eyes, BALL)
    wait_for_mask(eyes, ball, BALL)
    page.mouse.move(5, 5)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.mouse.move(*eyes.place_of(BALL))
    expect(page.locator("#overlay")).to_be_visible()
    page.mouse.move(*eyes.place_of(BALL))
    assert not [url for url in requests if url.endswith("/prompts")]


def test_one_preview_is_in_flight_at_a_time(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    answered = []

    def later(route):
        answered.append(route.request.post_data_json)
        route.continue_()

    page.route("**/prompts", later)
    x, y = eyes.place_of(SQUARE)
    for step in range(60):
        page.mouse.move(x + step % 7, y + step % 5)
    wait_for(lambda: page.evaluate("true") and bool(answered), 10, "a preview")
    assert len(answered) < 20
    assert all(each["preview"] for each in answered)
    page.locator("[data-toggle=preview]").click()
    expect(page.locator("[data-toggle=preview]")).to_have_attribute("aria-pressed", "false")
    count = len(answered)
    page.mouse.move(x, y)
    page.mouse.move(x + 1, y)
    wait_for(lambda: page.evaluate(PREVIEW) == 0, 10, "no preview once it is off")
    assert len(answered) <= count + 1


def test_a_preview_that_fails_is_silent(web, open_page):
    page, eyes = open_cam(open_page, web.url)
    failed = []

    def refuse(route):
        failed.append(route.request.url)
        route.fulfill(status=503, body='{"error": {"code": "BUSY", "message": "busy", "retryable": true}}')

    page.route("**/prompts", refuse)
    page.mouse.move(*eyes.place_of(SQUARE))
    wait_for(lambda: page.evaluate("true") and bool(failed), 10, "a refused preview")
    expect(page.locator(".notification")).to_have_count(0)
    page.unroute("**/prompts")
    click_object(page, eyes, BALL)
