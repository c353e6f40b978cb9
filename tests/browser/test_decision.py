"""The charts of a comparison in a real browser: a bar and a point show the photos they stand for."""

import re
import urllib.request

import pytest
from playwright.sync_api import Locator, Page, expect

from photoproc.jobs import JobState
from tests.browser.jobs import submitted
from tests.browser.test_compare import job as job
from tests.pictures import encoded, picture
from tests.server import Server
from tests.waiting import until

pytestmark = pytest.mark.browser


def drawn(marks: Locator) -> None:
    """Wait for a chart to be there, and a moment more: it is drawn before it listens."""
    expect(marks.first).to_be_visible()
    marks.page.wait_for_timeout(700)


def test_a_bar_shows_its_photos(page: Page, job: str) -> None:
    page.goto(f"/compare?job={job}")
    expect(page.get_by_text("Disagreement of the models’ masks, worst first")).to_be_visible()
    page.get_by_text("Charts", exact=True).click()
    cards, count = page.locator("button.card"), page.get_by_role("status").filter(has_text="photo")
    expect(count).to_have_text("4 photos")
    bars = page.locator("path[aria-roledescription=bar]:visible")
    drawn(bars)
    inside = int(re.search(r"Photos: (\d+)", bars.first.get_attribute("aria-label") or "").group(1))  # type: ignore[union-attr]
    bars.first.click()
    expect(count).to_have_text(f"{inside} of 4 photos")
    expect(cards).to_have_count(inside)
    chip = page.get_by_role("button", name=re.compile("not only: disagreement 0 to"))
    expect(chip).to_be_visible()
    page.wait_for_url("**&chosen=bin.0")
    dimmed = page.locator("path[aria-roledescription=bar][opacity='0.25']:visible")
    others = bars.count() - 1
    expect(dimmed).to_have_count(others)
    page.reload()
    expect(count).to_have_text(f"{inside} of 4 photos")
    page.get_by_text("Charts", exact=True).click()
    expect(dimmed).to_have_count(others)  # the chart says again what is chosen
    chip.click()
    expect(count).to_have_text("4 photos")
    expect(chip).to_have_count(0)
    expect(dimmed).to_have_count(0)
    page.wait_for_function("!location.search.includes('chosen')")
    drawn(bars)
    bars.first.click()  # of a chart in which nothing is chosen any more
    expect(count).to_have_text(f"{inside} of 4 photos")
    page.wait_for_url("**&chosen=bin.0")
    page.go_back()
    expect(count).to_have_text("4 photos")
    expect(dimmed).to_have_count(0)
    drawn(bars)
    bars.first.click()  # the same once more
    expect(count).to_have_text(f"{inside} of 4 photos")
    chip.click()
    expect(count).to_have_text("4 photos")


def test_a_point_of_a_models_times_shows_its_photo(page: Page, server: Server) -> None:
    photos = [(f"{seed}.png", encoded(picture(200, 150, seed=seed))) for seed in range(700, 706)]
    job = submitted(server.url, photos, ("u2netp", "u2net"))
    until(lambda: server.store.job(job).state is JobState.DONE, within_s=180)
    page.goto(f"/compare?job={job}")
    page.get_by_text("Charts", exact=True).click()
    points = page.locator("path[aria-roledescription=circle]:visible")
    drawn(points)
    points.first.click(force=True)  # another may lie over it, which is a photo as well
    count = page.get_by_role("status").filter(has_text="photo")
    expect(count).to_have_text("1 of 6 photos")
    expect(page.locator("button.card")).to_have_count(1)
    page.wait_for_url("**&chosen=place.*")
    chip = page.get_by_role("button", name=re.compile("not only: "))
    chip.click()
    expect(count).to_have_text("6 photos")


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
