"""The charts of a comparison in a real browser: a bar and a point show the photos they stand for."""

import re
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_compare import job as job
from tests.server import Server

pytestmark = pytest.mark.browser


def test_a_bar_shows_its_photos_and_a_point_its_own(page: Page, job: str) -> None:
    page.goto(f"/compare?job={job}")
    expect(page.get_by_text("Disagreement of the models’ masks, worst first")).to_be_visible()
    page.get_by_text("Charts", exact=True).click()
    cards, count = page.locator("button.card"), page.get_by_role("status").filter(has_text="photo")
    expect(count).to_have_text("4 photos")
    bars = page.locator("path[aria-roledescription=bar]:visible")
    expect(bars.first).to_be_visible()
    inside = int(re.search(r"Photos: (\d+)", bars.first.get_attribute("aria-label") or "").group(1))  # type: ignore[union-attr]
    bars.first.click()
    expect(count).to_have_text(f"{inside} of 4 photos")
    expect(cards).to_have_count(inside)
    chip = page.get_by_role("button", name=re.compile("not only: disagreement 0 to"))
    expect(chip).to_be_visible()
    chip.click()
    expect(count).to_have_text("4 photos")
    expect(chip).to_have_count(0)
    expect(page.locator("path[aria-roledescription=bar][opacity='0.25']:visible")).to_have_count(0)
    bars.first.click()  # of a chart in which nothing is chosen any more
    expect(count).to_have_text(f"{inside} of 4 photos")


def test_the_report_is_downloaded_and_opens_without_asking_for_anything(
    page: Page, server: Server, job: str
) -> None:
    asked: list[str] = []
    page.goto(f"/compare?job={job}")
    address = page.get_by_role("link", name="Report").get_attribute("href")
    assert address is not None
    with urllib.request.urlopen(f"{server.url}{address}", timeout=60) as answer:
        text = answer.read().decode()
    page.goto("about:blank")
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(text)
    expect(page.get_by_role("heading", name="What each model took")).to_be_visible()
    expect(page.locator("img").first).to_have_js_property("complete", True)
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 50)")
    assert page.evaluate("window.broken") is None
    assert all(url.startswith("data:") for url in asked), asked
