"""A time trial in a real browser: it is begun, followed and shown without another touch of the page."""

import json
import re
import time
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from photoproc.jobs import JobState
from tests.browser.jobs import submitted
from tests.pictures import sample
from tests.server import Server
from tests.waiting import until

pytestmark = pytest.mark.browser


@pytest.fixture
def job(server: Server) -> str:
    """A finished job of a photo with two models, and no others that a second trial would wait for."""
    for left in server.store.unfinished():
        server.store.cancel(left, now=time.time())
    made = submitted(server.url, [("a.png", sample("astronaut.png"))], ("u2netp", "u2net"))
    until(lambda: server.store.job(made).state is JobState.DONE, within_s=180)
    return made


def test_a_trial_is_followed_to_its_result_and_another_one_stopped(
    page: Page, server: Server, job: str
) -> None:
    page.goto(f"/compare?job={job}")
    page.get_by_role("button", name="Run a time trial").click()
    expect(page.get_by_text(re.compile("Time trial: round 1 of 12"))).to_be_visible()
    expect(page.get_by_text("A time trial is running; jobs wait")).to_be_visible()
    expect(page.get_by_text("is the fastest; u2net")).to_be_visible(timeout=180_000)
    # What the page says above of the models' times is of the trial as well, without another touch.
    with urllib.request.urlopen(f"{server.url}/api/v1/jobs/{job}/trial", timeout=20) as answer:
        trial = json.load(answer)
    small = trial["models"][0]["warm"]["p50"]
    times = trial["ratios"][0]["times"]
    short = f"{small:.2f} s" if small < 1 else f"{small:.1f} s"
    told = f"u2netp is the fastest ({short} a photo), u2net takes {times:.1f} × as long."
    expect(page.get_by_text(told)).to_be_visible()
    expect(page.get_by_role("button", name="Stop the time trial")).to_have_count(0)
    expect(page.get_by_text("A time trial is running; jobs wait")).to_have_count(0)
    page.get_by_role("button", name="Run the time trial again").click()
    page.get_by_role("button", name="Stop the time trial").click()
    expect(page.get_by_text("The time trial was stopped.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The time trial was stopped.")).to_be_visible()
