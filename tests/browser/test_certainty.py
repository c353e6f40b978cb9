"""Checking certainty of a finished job in a real browser: what the model guessed at comes first."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_main_job import finish, process, upload
from tests.pictures import encoded, picture, sample

pytestmark = pytest.mark.browser


def test_a_finished_job_is_checked_and_uncertain_photos_come_first(page: Page) -> None:
    upload(page, ("clean.png", sample("coffee.png")), ("noise.png", encoded(picture(640, 480), "PNG")))
    expect(page.get_by_text("2 photos").first).to_be_visible()
    first = process(page)
    finish(page)
    expect(page.locator(".card .name").first).to_have_text("clean.png")
    page.get_by_role("button", name="Check certainty").click()
    page.wait_for_url(lambda url: "job=" in url and url != first)
    expect(page.get_by_text("Most uncertain first")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("button", name="Check certainty")).to_have_count(0)
    expect(page.locator(".card .name").first).to_have_text("noise.png")
    expect(page.locator(".card .look").first).to_contain_text("disagrees with itself")
    page.locator("button.card").first.click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".place")).to_have_text("1 of 2")
    expect(dialog.locator(".facts")).to_contain_text(re.compile(r"Uncertainty\s*0\.[3-9]"))
    expect(dialog.locator(".facts")).to_contain_text("check certainty")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".name")).to_have_text("clean.png")
    expect(dialog.locator(".place")).to_have_text("2 of 2")
    expect(dialog.locator(".facts")).to_contain_text(re.compile(r"Uncertainty\s*0\.[0-2]"))
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".name")).to_have_text("noise.png")
