"""What fragments of a page ask for after it was left: it crosses the change to another page on its way."""

import pytest
from playwright.sync_api import Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg

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
