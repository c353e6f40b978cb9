"""What fragments of a page ask for after it was left: it crosses the change to another page on its way."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg

from tests.server import ROOT, Server, serving
from tests.waiting import until

pytestmark = pytest.mark.browser

LISTEN = """
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  window.socket = this;
  window.sent.push(Array.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)));
  send.call(this, data);
};
"""


def timers(page: Page) -> list[BackMsg]:
    """What timers have asked for so far."""
    messages = [BackMsg.FromString(bytes(data)) for data in page.evaluate("window.sent")]
    return [one for one in messages if one.rerun_script.is_auto_rerun]


def test_a_late_timer_of_the_page_before_takes_nothing_from_this_one(page: Page) -> None:
    page.add_init_script(LISTEN)
    page.goto("/jobs")
    expect(page.get_by_role("link", name="Process")).to_be_visible()
    before = page.evaluate("window.sent.length")
    page.wait_for_function("(before) => window.sent.length > before + 1", arg=before)
    late = timers(page)[-1]
    page.get_by_role("link", name="Process").click()
    page.get_by_role("radio", name="Colour").click()
    expect(page.get_by_role("radio", name="Colour")).to_be_checked()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    here = page.evaluate("window.sent.length")
    page.evaluate("(data) => window.socket.send(new Uint8Array(data))", list(late.SerializeToString()))
    page.wait_for_function("(here) => window.sent.length > here + 1", arg=here)  # this page's own timer
    page.get_by_role("radio", name="Subject").click()
    expect(page.get_by_role("slider", name="Space around the subject")).to_be_visible()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_role("radio", name="Colour")).to_be_checked()
    expect(page.get_by_role("textbox", name="Background colour")).to_be_visible()
    assert page.url.rpartition("/")[2] == ""


SLOW_TO_END = """
import os, time
from pathlib import Path
import streamlit as st
st.write("Almost there")
while not Path(os.environ["LEFT"]).exists():
    time.sleep(0.01)
Path(os.environ["LEFT"]).unlink()
"""

WITH_A_FRAGMENT = """
import streamlit as st

@st.fragment
def part():
    if st.button("Press"):
        st.write("Pressed")

part()
"""


@pytest.fixture
def framed(tmp_path: Path, model_dir: Path) -> Iterator[Server]:
    """The real frame around two pages: Process computes something last, Jobs has a fragment."""
    app = tmp_path / "app"
    shutil.copytree(ROOT / "pages", app / "pages")
    shutil.copytree(ROOT / ".streamlit", app / ".streamlit")
    shutil.copy(ROOT / "app.py", app)
    (app / "pages" / "process.py").write_text(SLOW_TO_END)
    (app / "pages" / "jobs.py").write_text(WITH_A_FRAGMENT)
    env = {"PYTHONPATH": str(ROOT), "LEFT": str(tmp_path / "left")}
    with serving(tmp_path / "data", model_dir, app_dir=app, env=env) as running:
        yield running


def test_a_page_that_is_left_while_it_computes_takes_nothing_from_the_next(
    framed: Server, page: Page, tmp_path: Path
) -> None:
    page.goto(framed.url)
    expect(page.get_by_text("Almost there")).to_be_visible()
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("button", name="Press")).to_be_visible()
    (tmp_path / "left").touch()
    until(lambda: not (tmp_path / "left").exists())  # then the run of the page that was left is at its end
    page.get_by_role("button", name="Press").click()
    expect(page.get_by_text("Pressed", exact=True)).to_be_visible()
