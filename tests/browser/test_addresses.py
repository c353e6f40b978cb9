"""What is on the screen is in the address: links open it again, and Back goes where one came from."""

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.test_main_job import finish, process, upload
from tests.pictures import encoded, picture, sample

pytestmark = pytest.mark.browser


def thirty(page: Page) -> str:
    """A finished job over 30 photos whose background is kept, on its page; returns its address."""
    upload(page, *[(f"{n:02}.jpg", encoded(picture(seed=n))) for n in range(30)])
    expect(page.get_by_text("30 photos").first).to_be_visible()
    page.get_by_role("radio", name="Keep").click()
    expect(page.get_by_text("no model runs")).to_be_visible()
    where = process(page)
    finish(page)
    expect(page.locator("button.card")).to_have_count(24)
    return where


def in_address(page: Page, /, **wanted: str) -> None:
    """Wait for the address to name a job with these parameters and no others."""

    def asked(url: str) -> bool:
        query = dict(parse_qsl(urlsplit(url).query))
        return bool(query.pop("job", "")) and query == wanted

    page.wait_for_url(asked)


def test_filter_page_and_opened_photo_are_in_the_address(page: Page) -> None:
    where = thirty(page)
    expect(page).to_have_title("00.jpg and 29 more · Photoproc")
    page.get_by_role("button", name="Page 2").click()
    expect(page.locator("button.card")).to_have_count(6)
    in_address(page, page="2")
    page.reload()
    expect(page.locator(".card .name").first).to_have_text("24.jpg")
    page.get_by_role("radio", name="Done 30").click()
    in_address(page, show="done")  # another choice begins at its first page
    expect(page.locator(".card .name").first).to_have_text("00.jpg")
    page.reload()
    expect(page.get_by_role("radio", name="Done 30")).to_be_checked()
    page.get_by_role("radio", name="Failed 0").click()
    in_address(page, show="failed")
    expect(page.locator("button.card")).to_have_count(0)
    page.go_back()
    # The filter is a new control now; the old one, without it chosen, stands beside it for a moment.
    expect(page.get_by_role("radio", name="Done 30", checked=True)).to_have_count(1)
    page.locator("button.card").nth(3).click()
    in_address(page, show="done", task="3")
    page.reload()
    expect(page.locator("dialog .name")).to_have_text("03.jpg")
    page.keyboard.press("Escape")
    in_address(page, show="done")
    expect(page.locator("button.card").nth(3)).to_be_focused()
    page.locator("button.card").nth(4).click()
    expect(page.locator("dialog .name")).to_have_text("04.jpg")
    page.go_back()
    expect(page.locator("dialog")).not_to_be_visible()
    in_address(page, show="done")
    page.go_forward()
    expect(page.locator("dialog .name")).to_have_text("04.jpg")
    page.goto(f"{where}&show=failed&task=27")  # of another page, and not among what is shown
    expect(page.locator("dialog .name")).to_have_text("27.jpg")
    expect(page.locator("dialog .place")).to_have_text("28 of 30")
    in_address(page, page="2", task="27")


def test_the_viewer_goes_on_over_the_borders_of_pages(page: Page) -> None:
    thirty(page)
    page.locator("button.card").last.click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".place")).to_have_text("24 of 30")
    expect(dialog.locator(".head .model")).to_have_text("background kept")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".name")).to_have_text("24.jpg")
    expect(dialog.locator(".place")).to_have_text("25 of 30")
    in_address(page, page="2", task="24")
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".name")).to_have_text("23.jpg")
    in_address(page, task="23")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
        expect(dialog).not_to_have_class(re.compile("seeking"))
    expect(dialog.locator(".name")).to_have_text("29.jpg")
    expect(dialog.get_by_role("button", name="Next")).to_be_disabled()


def test_a_page_that_was_sought_in_vain_is_sought_again(page: Page) -> None:
    seeks: list[str | bytes] = []

    def relay(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            sought = isinstance(message, bytes) and b'"seek"' in message
            seeks.extend([message] * sought)
            if len(seeks) != 1 or not sought:  # the first is lost
                server.send(message)

        socket.on_message(pass_on)

    page.route_web_socket(re.compile("/_stcore/stream"), relay)
    thirty(page)
    page.locator("button.card").last.click()
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog .name")).to_have_text("24.jpg")
    in_address(page, page="2", task="24")
    count = len(seeks)
    assert count > 1
    page.wait_for_timeout(3_000)
    assert len(seeks) == count, "what is found is sought no more"


def test_the_viewer_shows_its_keys_when_asked(page: Page) -> None:
    upload(page, ("one.png", sample("astronaut.png")))
    expect(page.get_by_text("1 photo").first).to_be_visible()
    process(page)
    finish(page)
    page.locator("button.card").click()
    keys = page.locator("dialog .keys")
    expect(page.locator("dialog .head .model")).to_have_text("u2netp")
    expect(keys).not_to_be_visible()
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.get_by_role("button", name="Keys").click()
    expect(keys).not_to_be_visible()


def test_a_search_is_live_and_in_the_address(page: Page) -> None:
    upload(page, ("needle.jpg", encoded(picture(seed=71))))
    expect(page.get_by_text("1 photo").first).to_be_visible()
    process(page)
    page.goto("/jobs")
    page.get_by_role("searchbox", name="Search").press_sequentially("NEED")  # no Enter
    expect(page.locator(".title")).to_have_text(["needle.jpg"])
    expect(page).to_have_url(re.compile(r"/jobs\?search=NEED$"))
    page.reload()
    expect(page.locator(".title")).to_have_text(["needle.jpg"])
    page.locator("a .title").click()
    in_address(page)
    expect(page.get_by_role("heading", name="needle.jpg")).to_be_visible()
    page.go_back()
    expect(page.locator(".title")).to_have_text(["needle.jpg"])
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("NEED")


def test_back_from_processing_again_returns_to_the_job(page: Page) -> None:
    upload(page, ("again.png", sample("astronaut.png")))
    expect(page.get_by_text("1 photo").first).to_be_visible()
    process(page)
    finish(page)
    page.get_by_role("button", name="Process again with…").click()
    thumb = page.locator("[aria-label=Photos] img")
    expect(thumb).to_have_js_property("complete", True)
    assert thumb.evaluate("(image) => image.naturalWidth") > 0
    expect(page.get_by_text("no model has to run again")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="again.png")).to_be_visible()
    expect(page.locator("button.card")).to_have_count(1)


def test_back_from_a_new_job_returns_to_processing(page: Page) -> None:
    upload(page, ("back.png", sample("astronaut.png")))
    expect(page.get_by_text("1 photo").first).to_be_visible()
    process(page)
    finish(page)
    page.go_back()
    expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
    expect(page).to_have_url(re.compile(r":\d+/$"))
