"""Large uploads on the Process page: the API's own client, past Streamlit's memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.pictures import sample
from tests.server import Server, serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants a key from everybody but its own dashboard."""
    folder = tmp_path_factory.mktemp("large") / "data"
    with serving(folder, model_dir, api_keys=f"anna:{'a' * 24}") as running:
        yield running


def test_a_large_upload_needs_no_key_and_becomes_a_job_like_any_other(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Large upload").click()
    page.wait_for_url("**/?large=1")
    client = page.locator("photo-processor")
    client.locator("input[type=file]").first.set_input_files(
        [FilePayload(name="cat.png", mimeType="image/png", buffer=sample("cat.png"))]
    )
    client.get_by_role("button", name="Process 1 photo").click()
    expect(client.get_by_role("heading", name="1 of 1 done")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Open the job’s page").click()
    page.wait_for_url("**/jobs?job=*")
    expect(page.get_by_role("link", name="Download ZIP (")).to_be_visible()
    expect(page.get_by_text("cat.png").first).to_be_visible()


def test_back_leads_to_the_ordinary_uploader(page: Page) -> None:
    page.goto("/?large=1")
    expect(page.locator("photo-processor").get_by_role("button", name="Choose photos")).to_be_visible()
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
