"""Voting in real browsers: several people at once, each with their own pairs; nothing counts twice."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from photoproc.jobs import JobState
from tests.long import by_hand
from tests.pictures import encoded, picture
from tests.server import Server, serving
from tests.waiting import until

pytestmark = pytest.mark.browser

NAMES = [f"photo {number}.jpg" for number in range(9)]
EVIL = "<img src=x onerror=window.broken=1>.jpg"


@pytest.fixture(scope="module")
def masks(server: Server) -> Iterator[None]:
    """A job that stays, so that those of the same photos have their masks already."""
    made = new_job(server)
    yield
    httpx2.delete(f"{server.url}/api/v1/jobs/{made}", timeout=60)


@pytest.fixture
def job(server: Server, masks: None) -> Iterator[str]:
    """A job as `new_job` makes it, without votes."""
    made = new_job(server)
    yield made
    httpx2.delete(f"{server.url}/api/v1/jobs/{made}", timeout=60)


def new_job(server: Server) -> str:
    """A finished job of ten small photos with two models."""
    files = [
        ("files", (name, encoded(picture(320, 240, seed=seed)))) for seed, name in enumerate([*NAMES, EVIL])
    ]
    recipe = {"recipe": json.dumps({"models": ["u2netp", "u2net"]})}
    made = httpx2.post(f"{server.url}/api/v1/jobs", files=files, data=recipe, timeout=60).json()["id"]
    until(lambda: server.store.job(made).state is JobState.DONE, within_s=240)
    return str(made)


@contextmanager
def visitor(browser: Browser, server: Server, **options: Any) -> Iterator[Page]:
    """Somebody in a browser of their own, in which no script may fail."""
    context = browser.new_context(
        base_url=server.url, **{"viewport": {"width": 1440, "height": 900}, **options}
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def begin(page: Page, job: str, name: str) -> None:
    page.goto(f"/vote?job={job}")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start voting").click()
    shown(page)


def shown(page: Page) -> str:
    """The id of the ballot that is shown, once it may be voted on."""
    expect(page.locator(".panes:not(.waiting) .fit img")).to_have_count(2)
    page.wait_for_timeout(350)  # what comes at once is taken for the rest of a double click
    return str(page.locator(".fit img").first.get_attribute("data-ballot"))


def another(page: Page, than: str) -> str:
    expect(page.locator(f".panes:not(.waiting) .fit img:not([data-ballot='{than}'])")).to_have_count(2)
    return shown(page)


def answer_is_lost(route: Route) -> None:
    """What is asked is done, and nobody hears of it."""
    route.fetch()
    route.abort()


def votes(server: Server, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx2.get(f"{server.url}/api/v1/jobs/{job}/votes", timeout=60).json()[
        "items"
    ]
    return found


def voted_last(server: Server, job: str, choice: str) -> bool:
    return [vote["choice"] for vote in votes(server, job)][-1:] == [choice]


def zoom_of(page: Page) -> str:
    return str(page.locator(".panes").evaluate("(one) => one.style.getPropertyValue('--z')"))


def test_two_at_once_lose_no_vote_and_never_see_the_same_pair(
    browser: Browser, server: Server, job: str
) -> None:
    with ExitStack() as stack:
        pages = {name: stack.enter_context(visitor(browser, server)) for name in ("Ann", "Ben")}
        for name, page in pages.items():
            begin(page, job, name)
        seen: list[tuple[str, str]] = []
        for turn in range(4):
            looks = {name: page.locator(".photo").inner_text() for name, page in pages.items()}
            assert looks["Ann"] != looks["Ben"]
            seen += looks.items()
            for number, (name, page) in enumerate(pages.items()):
                before = shown(page)
                page.keyboard.press(("ArrowLeft", "ArrowRight")[(turn + number) % 2])
                other = pages["Ben" if name == "Ann" else "Ann"]
                another(page, before)
                assert page.locator(".photo").inner_text() != other.locator(".photo").inner_text()
        until(lambda: len(votes(server, job)) == 8)
        photos = dict(enumerate([*NAMES, EVIL]))
        given = [(vote["voter"], photos[vote["place"]]) for vote in votes(server, job)]
        assert sorted(given) == sorted(seen)
        assert len(set(given)) == 8
        for page in pages.values():
            expect(page.locator(".count")).to_contain_text("6 pairs left for you")


def test_a_double_click_and_a_held_key_are_one_vote(browser: Browser, server: Server, job: str) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        before = shown(page)
        page.get_by_role("button", name="Left is better").dblclick()
        before = another(page, before)
        until(lambda: len(votes(server, job)) == 1)
        page.keyboard.down("ArrowRight")
        page.wait_for_timeout(400)
        for _ in range(10):
            page.keyboard.down("ArrowRight")  # without a release between, it repeats
        page.keyboard.up("ArrowRight")
        another(page, before)
        until(lambda: len(votes(server, job)) == 2)
        page.get_by_role("button", name="Both bad").focus()
        before = shown(page)
        page.keyboard.down("Enter")
        page.wait_for_timeout(400)
        for _ in range(10):
            page.keyboard.down("Enter")
        page.keyboard.up("Enter")
        another(page, before)
        page.wait_for_load_state("networkidle")
        assert [vote["choice"] for vote in votes(server, job)] == ["left", "right", "both_bad"]


def test_keys_vote_undo_and_look(browser: Browser, server: Server, job: str) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        for key, choice in {"ArrowDown": "tie", "t": "tie", "Space": "tie", "x": "both_bad"}.items():
            before = shown(page)
            page.keyboard.press(key)
            another(page, before)
            until(partial(voted_last, server, job, choice))
        expect(page.get_by_role("button", name="Undo last vote")).to_be_enabled()
        assert len(votes(server, job)) == 4
        last, name = votes(server, job)[-1], page.locator(".photo").inner_text()
        page.keyboard.press("u")
        until(lambda: len(votes(server, job)) == 3)
        expect(page.locator(".photo")).to_have_text([*NAMES, EVIL][last["place"]])
        before = shown(page)
        page.keyboard.press("ArrowLeft")
        another(page, before)
        expect(page.locator(".photo")).to_have_text(name)  # what was shown before comes next again
        until(partial(voted_last, server, job, "left"))
        panes = page.locator(".panes")
        page.keyboard.press("z")
        assert float(zoom_of(page)) >= 2
        box = page.locator(".pane").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
        moved = page.locator(".fit").evaluate_all(
            "(fits) => fits.map((one) => getComputedStyle(one).transform)"
        )
        assert moved[0] == moved[1] != "none"
        page.keyboard.press("z")
        assert zoom_of(page) == "1"
        page.keyboard.down("z")
        page.wait_for_timeout(400)
        page.keyboard.up("z")
        assert zoom_of(page) == "1"
        backdrop = panes.get_attribute("data-backdrop")
        page.keyboard.press("b")
        assert panes.get_attribute("data-backdrop") != backdrop
        page.keyboard.press("o")
        expect(page.locator("img.original")).to_be_visible()
        page.keyboard.press("?")
        expect(page.locator(".keys")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".keys")).to_be_hidden()
        page.reload()
        shown(page)  # the name is not asked for again


def test_nothing_tells_the_models_before_the_vote_and_the_page_does_after(
    browser: Browser, server: Server, job: str
) -> None:
    with visitor(browser, server) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        begin(page, job, "<b>Ann</b>")
        assert "u2net" not in page.locator("[data-testid=stMain]").inner_html()
        before = shown(page)
        assert not [url for url in asked if re.search("u2net|/tasks/", url)]
        tokens = {found for url in asked for found in re.findall("/jobs/.*token=([^&]+)", url)}
        assert len(tokens) == 2  # one to vote, one for the pictures
        for token in tokens:
            for what in ("", "/votes", "/ranking", "/archive", "/tasks/0/cutout", "/tasks/0/mask"):
                address = f"{server.url}/api/v1/jobs/{job}{what}?token={token}"
                assert httpx2.get(address, timeout=60).status_code == 403, what
        page.keyboard.press("ArrowLeft")
        another(page, before)
        page.get_by_text("Which was which?").click()
        (vote,) = votes(server, job)
        told = page.locator(".told")
        expect(told).to_contain_text(
            f"left {vote['left']}, right {vote['right']}. You said: the left one is better."
        )
        expect(page.locator(".as .name")).to_have_text("<b>Ann</b>")
        assert page.evaluate("window.broken") is None


def test_a_vote_given_while_the_server_is_away_is_sent_once_when_it_is_back(
    browser: Browser, server: Server, job: str
) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        page.route("**/ballots/*/vote?*", answer_is_lost, times=1)
        page.route("**/ballots?*", lambda route: route.abort())
        before = shown(page)
        page.keyboard.press("ArrowLeft")
        before = another(page, before)
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        until(lambda: len(votes(server, job)) == 1)  # which it has counted all the same
        page.route("**/ballots/*/vote?*", lambda route: route.abort())
        page.keyboard.press("ArrowRight")  # the next pair was at hand
        expect(page.locator(".panes.waiting")).to_be_visible()
        page.reload()
        page.unroute_all()
        until(lambda: len(votes(server, job)) == 2)
        shown(page)
        expect(page.locator(".trouble")).not_to_be_visible()
        expect(page.locator(".count")).to_contain_text("8 pairs left for you")
        assert sorted(vote["choice"] for vote in votes(server, job)) == ["left", "right"]


def test_a_vote_that_is_not_counted_is_said_until_it_is_dismissed(
    browser: Browser, server: Server, job: str
) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        before, name = shown(page), page.locator(".photo").inner_text()
        here = f"{server.url}/api/v1/jobs/{job}/ballots/{before}/vote"
        httpx2.post(here, json={"voter": "Ann", "choice": "tie"}, timeout=60)
        httpx2.delete(here, params={"voter": "Ann"}, timeout=60)  # its id is worth nothing from here on
        page.keyboard.press("ArrowLeft")
        note = page.get_by_role("alert").filter(has_text="was not counted")
        expect(note).to_contain_text(f"Your vote on “{name}” was not counted.")
        expect(page.get_by_role("button", name="Right is better")).to_be_in_viewport(ratio=1)
        expect(page.locator(".count")).to_contain_text("10 pairs left for you")
        before = another(page, before)
        page.keyboard.press("ArrowRight")
        another(page, before)
        expect(page.locator(".count")).to_contain_text("9 pairs left for you")
        until(partial(voted_last, server, job, "right"))
        expect(note).to_be_visible()
        page.reload()
        shown(page)
        expect(note).to_be_visible()
        page.get_by_role("button", name="Dismiss").click()
        expect(note).not_to_be_visible()
        page.reload()
        shown(page)
        expect(note).not_to_be_visible()


def test_a_last_vote_that_is_not_counted_brings_its_pair_back(
    browser: Browser, server: Server, job: str
) -> None:
    for _ in range(9):
        asked = f"{server.url}/api/v1/jobs/{job}/ballots"
        found = httpx2.post(asked, json={"voter": "Ann"}, timeout=60).json()["ballot"]
        said = {"voter": "Ann", "choice": "tie"}
        httpx2.post(f"{server.url}{found['links']['vote']}", json=said, timeout=60)
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        before = shown(page)
        here = f"{server.url}/api/v1/jobs/{job}/ballots/{before}/vote"
        httpx2.post(here, json={"voter": "Ann", "choice": "tie"}, timeout=60)
        httpx2.delete(here, params={"voter": "Ann"}, timeout=60)
        page.keyboard.press("ArrowLeft")
        another(page, before)
        expect(page.locator(".count")).to_contain_text("1 pair left for you")
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_text("You have voted on all pairs there are.")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("was not counted")
        until(lambda: len(votes(server, job)) == 10)


def test_a_cutout_that_is_not_there_for_a_moment_does_not_end_the_vote(
    browser: Browser, server: Server, job: str
) -> None:
    gone = {"code": "cutout_gone", "title": "A cutout of this pair is not there at the moment.", "detail": ""}
    with visitor(browser, server) as page:
        page.route("**/ballots?*", lambda route: route.fulfill(status=409, json=gone), times=2)
        begin(page, job, "Ann")
        expect(page.locator(".count")).to_contain_text("10 pairs left for you")
        expect(page.get_by_text("it was deleted")).not_to_be_visible()
        expect(page.locator(".trouble")).not_to_be_visible()


def test_a_vote_that_is_taken_back_while_the_answer_is_lost_is_known_to_be(
    browser: Browser, server: Server, job: str
) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        before = shown(page)
        page.keyboard.press("t")
        another(page, before)
        until(lambda: len(votes(server, job)) == 1)
        expect(page.locator(".count")).to_contain_text("9 pairs left for you")
        page.route("**/ballots/*/vote?*", answer_is_lost, times=1)
        page.keyboard.press("u")
        expect(page.get_by_role("alert")).to_contain_text("The vote could not be taken back")
        assert votes(server, job) == []
        page.keyboard.press("u")
        expect(page.locator(".count")).to_contain_text("10 pairs left for you")
        expect(page.get_by_role("alert")).not_to_be_visible()
        before = shown(page)
        page.keyboard.press("x")
        another(page, before)
        until(partial(voted_last, server, job, "both_bad"))


@by_hand
def test_a_link_that_expired_is_renewed_and_the_vote_is_kept(
    browser: Browser, model_dir: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", model_dir, link_lifetime_s=15) as server:
        made = new_job(server)
        with visitor(browser, server) as page:
            begin(page, made, "Ann")
            before = shown(page)
            page.wait_for_timeout(17_000)
            page.keyboard.press("ArrowLeft")
            another(page, before)
            until(lambda: [vote["choice"] for vote in votes(server, made)] == ["left"])
            expect(page.locator(".trouble")).not_to_be_visible()
            expect(page.locator(".note")).not_to_be_visible()
            expect(page.locator(".count")).to_contain_text("9 pairs left for you")


def test_a_voter_who_is_through_is_led_to_the_ranking(browser: Browser, server: Server, job: str) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        for left in range(10, 0, -1):
            before = shown(page)
            expect(page.locator(".count")).to_contain_text(
                f"{left} pair{'s' if left > 1 else ''} left for you"
            )
            page.keyboard.press("ArrowLeft")
            if left > 1:
                another(page, before)
        expect(page.get_by_text("You have voted on all pairs there are.")).to_be_visible()
        page.get_by_role("link", name="See the ranking").click()
        expect(page.get_by_text("10 votes").first).to_be_visible()
        expect(page.get_by_role("columnheader", name="Preferred")).to_be_visible()
        page.get_by_role("button", name="Vote", exact=True).click()
        expect(page.get_by_text("You have voted on all pairs there are.")).to_be_visible()


def test_a_comparison_that_is_open_elsewhere_hears_of_votes(
    browser: Browser, server: Server, job: str
) -> None:
    with visitor(browser, server) as other, visitor(browser, server) as page:
        other.goto(f"/compare?job={job}")
        expect(other.get_by_text("No votes yet").first).to_be_visible()
        begin(page, job, "Ann")
        page.keyboard.press("ArrowLeft")
        until(lambda: len(votes(server, job)) == 1)
        expect(other.get_by_text("No votes yet")).to_have_count(0)
        expect(other.get_by_text("1 vote", exact=False).first).to_be_visible()


def test_a_job_that_is_deleted_meanwhile_is_said(browser: Browser, server: Server, job: str) -> None:
    with visitor(browser, server) as page:
        begin(page, job, "Ann")
        httpx2.delete(f"{server.url}/api/v1/jobs/{job}", timeout=60)
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_text("This job is not there any more: it was deleted.")).to_be_visible()
        expect(page.get_by_role("button", name="Undo last vote")).to_be_disabled()


def test_on_a_phone_the_cutouts_lie_one_above_the_other(browser: Browser, server: Server, job: str) -> None:
    with visitor(browser, server, viewport={"width": 390, "height": 844}, has_touch=True) as page:
        begin(page, job, "Ann")
        upper, lower = (page.locator(".pane").nth(number).bounding_box() for number in (0, 1))
        assert upper is not None
        assert lower is not None
        assert (lower["x"], lower["width"]) == (upper["x"], upper["width"])
        assert lower["y"] >= upper["y"] + upper["height"]
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        before = shown(page)
        page.get_by_role("button", name="Lower is better").tap()
        another(page, before)
        until(lambda: [vote["choice"] for vote in votes(server, job)] == ["right"])
