"""A job of 2,000 photos: what its page is sent while it runs, and when it is opened again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Response, WebSocket, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.large import LargeJob
from tests.long import by_hand
from tests.server import Server, serving
from tests.waiting import until

pytestmark = pytest.mark.browser

_LOOK_MS = 1000
_NO_CHANGE_BYTES = 1500
"""What Streamlit says of any run of a fragment: the session, its theme, its end (1,069 in 1.67)."""
_CHANGE_BYTES = 8000
THUMBNAILS = "(images) => images.filter((image) => image.naturalWidth).length"


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for jobs that are made through its store."""
    with serving(tmp_path_factory.mktemp("large") / "data", model_dir) as running:
        yield running


class Received:
    """What a page is sent: the runs of its parts over Streamlit's socket, and answers to its requests."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.runs: list[list[tuple[ForwardMsg, int]]] = []
        self.answers: list[str] = []
        page.on("websocket", self._listen)
        page.on("response", self._answered)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._take)

    def _take(self, frame: str | bytes) -> None:
        assert isinstance(frame, bytes)
        message = ForwardMsg.FromString(frame)
        if message.WhichOneof("type") == "new_session" or not self.runs:
            self.runs.append([])
        self.runs[-1].append((message, len(frame)))

    def _answered(self, response: Response) -> None:
        if response.url.startswith("http"):  # scripts of components are blobs
            self.answers.append(response.url)

    def forget(self) -> None:
        """Begin to count anew, with the next run."""
        self._page.wait_for_timeout(2 * _LOOK_MS)
        self.runs.clear()
        self.answers.clear()

    def of_the_page(self) -> list[int]:
        """The bytes of each run but the sidebar's, which draws the state of the tool every two seconds."""
        return [sum(size for _, size in run) for run in self.runs if not _is_of_sidebar(run)]


def _is_of_sidebar(run: list[tuple[ForwardMsg, int]]) -> bool:
    drawn = [message for message, _ in run if message.metadata.delta_path]
    return bool(drawn) and all(message.metadata.delta_path[0] == 1 for message in drawn)


def opened(page: Page, job: LargeJob) -> Received:
    """The page of a job, all there, and what it is sent from now on."""
    received = Received(page)
    page.goto(f"/jobs?job={job.id}")
    expect(page.locator("button.card").first).to_be_visible()
    received.forget()
    return received


def one_ends(page: Page, job: LargeJob, received: Received, said: str) -> int:
    """Have one more task end, and wait until the page says so; the bytes that took."""
    received.forget()
    job.end()
    expect(page.get_by_text(said)).to_be_visible()
    page.wait_for_timeout(_LOOK_MS)
    return max(received.of_the_page())


@pytest.fixture
def large(server: Server) -> Iterator[Callable[..., LargeJob]]:
    """Makes jobs, one at a time: the one before is deleted."""
    made: list[LargeJob] = []

    def make(photos: int, *, done: int) -> LargeJob:
        while made:
            made.pop().delete()
        made.append(LargeJob(server.data_dir, photos, done=done))
        return made[0]

    yield make
    for job in made:
        job.delete()


def test_while_nothing_changes_nothing_is_sent_but_streamlits_own(
    page: Page, large: Callable[..., LargeJob]
) -> None:
    received = opened(page, large(2000, done=1000))
    page.wait_for_timeout(6 * _LOOK_MS)
    looks = received.of_the_page()
    assert len(looks) >= 3
    assert max(looks) <= _NO_CHANGE_BYTES
    assert received.answers == []


def test_a_task_that_ends_costs_a_few_kilobytes_however_large_the_job(
    page: Page, large: Callable[..., LargeJob]
) -> None:
    seen = []
    for photos in (20, 2000):
        job = large(photos, done=10)
        received = opened(page, job)
        seen.append(one_ends(page, job, received, f"11 of {photos} done"))
        expect(page.locator("button.card")).to_have_count(11)
        assert len({address for address in received.answers if "/preview" in address}) <= 1
        job.end(39 * (photos > 20))
    expect(page.get_by_text("50 of 2000 done")).to_be_visible()
    expect(page.locator("button.card")).to_have_count(24)
    unseen = one_ends(page, job, received, "51 of 2000 done")  # its card is on another page
    assert received.answers == []
    assert unseen < max(seen) <= _CHANGE_BYTES
    assert abs(seen[0] - seen[1]) <= 500  # the pages to turn to


@by_hand
def test_cards_that_changed_by_news_are_as_if_drawn_anew(page: Page, large: Callable[..., LargeJob]) -> None:
    job = large(40, done=2)
    opened(page, job)
    cards = page.locator("button.card")
    cards.first.evaluate("(node) => { node.marked = true; }")
    for done in range(3, 13):  # as news, then as a gallery that is drawn whole, then as news again
        job.end()
        expect(cards).to_have_count(done)
    assert cards.first.evaluate("(node) => node.marked")
    begun = job.begin()
    expect(page.locator(".card .busy")).to_have_count(1)
    job.store.give_back(begun, charge=False, now=time.time())
    expect(page.locator(".card .busy")).to_have_count(0)
    cards.last.click()
    expect(page.locator("dialog .name")).to_have_text("photo 0011.jpg")
    expect(page.locator("dialog .place")).to_have_text("12 of 12")
    job.end()
    expect(page.locator("dialog .place")).to_have_text("12 of 13")
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog .name")).to_have_text("photo 0012.jpg")
    page.keyboard.press("Escape")
    told = [card.inner_text() for card in page.locator(".card").all()]
    page.reload()
    expect(cards).to_have_count(13)
    assert [card.inner_text() for card in page.locator(".card").all()] == told


def test_thumbnails_are_fetched_once(page: Page, large: Callable[..., LargeJob]) -> None:
    job = large(2000, done=1000)
    network, fetched, kept = page.context.new_cdp_session(page), set[str](), set[str]()

    def answered(event: dict[str, Any]) -> None:
        answer = event["response"]
        if "/preview" in answer["url"]:
            (kept if answer["fromDiskCache"] else fetched).add(event["requestId"])

    network.on("Network.responseReceived", answered)
    network.on("Network.requestServedFromCache", lambda event: kept.add(event["requestId"]))
    network.send("Network.enable")
    opened(page, job)
    there = page.locator("img.after").evaluate_all(THUMBNAILS)
    assert there >= 4
    assert len(fetched - kept) >= there
    for _ in range(2):
        fetched.clear()
        kept.clear()
        page.reload()
        expect(page.locator("button.card").first).to_be_visible()
        until(lambda: page.locator("img.after").evaluate_all(THUMBNAILS) >= there)
        assert fetched - kept == set()
        assert len(kept) >= there
