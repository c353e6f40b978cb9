"""Pages that somebody leaves open: they go on telling what is so, though their job is over."""

import re
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from photoproc.ui.heading import GONE
from tests.browser.jobs import submitted
from tests.pictures import encoded, picture
from tests.server import Server, serving

pytestmark = pytest.mark.browser


def finished(page: Page, server: Server, seed: int) -> str:
    """The id of a finished job with two models, whose page is open."""
    job = submitted(server.url, [("left open.jpg", encoded(picture(seed=seed)))], ["u2netp", "u2net"])
    page.goto(f"/jobs?job={job}")
    expect(page.get_by_text("Done · 2 of 2 done")).to_be_visible()
    return job


def test_the_age_of_a_job_goes_on(page: Page, server: Server) -> None:
    job = finished(page, server, 7100)
    age = page.get_by_text("1 photo · u2netp, u2net · ")
    page.goto(f"/jobs?job={job}")
    first = age.inner_text()
    expect(age).not_to_have_text(first)
    expect(age).to_have_text(re.compile(r"\d s ago|min ago"))


@pytest.mark.parametrize("where", ["jobs", "compare", "vote"])
def test_a_page_of_a_job_that_is_deleted_says_so_by_itself(page: Page, server: Server, where: str) -> None:
    job = finished(page, server, 7200 + len(where))
    page.goto(f"/{where}?job={job}")
    expect(page.get_by_text("left open.jpg").first).to_be_visible()
    page.wait_for_timeout(3000)  # until it has nothing more to do
    assert page.get_by_text(GONE).count() == 0
    request = urllib.request.Request(f"{server.url}/api/v1/jobs/{job}", method="DELETE")
    urllib.request.urlopen(request).close()
    expect(page.get_by_text(GONE)).to_be_visible()


def test_a_server_that_is_gone_is_said_in_our_words(page: Page, model_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", model_dir) as own:
        page.goto(f"{own.url}/jobs")
        expect(page.get_by_text("A job is a batch of photos")).to_be_visible()
        own.terminate(within_s=60)
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("The server does not answer. Once it is back")).to_be_visible()
        expect(dialog.get_by_text("streamlit run")).not_to_be_visible()
        own.start()
        expect(dialog).to_have_count(0)
        expect(page.get_by_text("A job is a batch of photos")).to_be_visible()
