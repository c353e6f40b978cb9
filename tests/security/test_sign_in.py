"""Signing in with a provider on this machine: jobs are their owner's, shared on purpose; admins see all."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from photoproc import presets
from photoproc.recipe import Recipe
from tests.pictures import encoded, picture
from tests.security.provider import providing, secrets_toml
from tests.server import ROOT, Server, free_port

pytestmark = pytest.mark.browser

Enter = Callable[[str], Page]


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose people sign in; root is an admin."""
    folder, port = tmp_path_factory.mktemp("signed"), free_port()
    toml = folder / "secrets.toml"
    with providing(port) as issuer:
        made = Server(
            folder / "data",
            model_dir,
            env={"STREAMLIT_SECRETS_FILES": str(toml)},
            admins="Root@example.org",
        )
        toml.write_text(secrets_toml(issuer, made.port))
        try:
            made.start()
            made.ready()
            yield made
        finally:
            made.close()


@pytest.fixture
def enter(browser: Browser, server: Server) -> Iterator[Enter]:
    """Opens a browser of their own for somebody who has signed in."""
    contexts = []

    def entered(who: str) -> Page:
        context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        sign_in(page, "/", who)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        return page

    yield entered
    for context in contexts:
        context.close()


def sign_in(page: Page, way: str, who: str) -> None:
    """Open a page, be asked to sign in, and do so."""
    page.goto(way)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name=who, exact=True).click()


def made_job(page: Page, seed: int, *models: str) -> str:
    """The address of a job of one photo with one model or these, made on the Process page."""
    chosen = "" if not models else presets.to_link(Recipe(models=models))
    page.goto(f"/?recipe={chosen}" if chosen else "/")
    photo = encoded(picture(200, 150, seed=seed))
    page.locator("input[type=file]").first.set_input_files(
        {"name": f"photo {seed}.jpg", "mimeType": "image/jpeg", "buffer": photo}
    )
    page.get_by_role("button", name=re.compile("^(Process|Compare)")).last.click()
    page.wait_for_url("**/jobs?job=*")
    expect(page.get_by_text(re.compile(r"(\d) of \1 done"))).to_be_visible()
    return page.url


def test_nothing_is_shown_before_and_the_way_leads_where_it_was_to(browser: Browser, server: Server) -> None:
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto("/system")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Ready")).to_have_count(0)
    expect(page.locator("input[type=file]")).to_have_count(0)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Alice").click()
    page.wait_for_url("**/system")
    expect(page.get_by_text("Alice")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    context.close()


def test_uploads_are_their_owners_whatever_a_tab_says(enter: Enter) -> None:
    alice, bob = enter("Alice"), enter("Bob")
    alice.locator("input[type=file]").first.set_input_files(
        {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": encoded(picture(200, 150, seed=7))}
    )
    expect(alice.get_by_role("option", name="mine.jpg")).to_be_visible()
    batch = alice.evaluate("sessionStorage.getItem('photoproc-upload')")
    assert batch
    again = enter("Alice")
    for page, seen in ((again, 1), (bob, 0)):
        page.evaluate("(batch) => sessionStorage.setItem('photoproc-upload', batch)", batch)
        page.reload()
        expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
        if seen:
            expect(page.get_by_role("option", name="mine.jpg")).to_be_visible()
        else:
            page.wait_for_timeout(3000)  # what must not come
            expect(page.get_by_role("option")).to_have_count(0)


def test_a_job_is_its_owners_until_it_is_shared_and_admins_see_all(enter: Enter) -> None:
    alice, bob, root = enter("Alice"), enter("Bob"), enter("Root")
    address = made_job(alice, 1)
    expect(alice.get_by_text("by alice@example.org")).to_be_visible()

    bob.goto(address)
    expect(bob.get_by_text("There is no such job")).to_be_visible()
    for page in ("/jobs", "/compare", "/vote"):
        bob.goto(page)
        expect(bob.get_by_role("button", name="Sign out")).to_be_visible()
        expect(bob.get_by_text("photo 1.jpg")).to_have_count(0)

    root.goto("/jobs")
    expect(root.get_by_text("photo 1.jpg")).to_be_visible()
    root.goto(address)
    expect(root.get_by_role("button", name="Delete job")).to_be_visible()

    alice.get_by_role("button", name="Share", exact=True).click()
    alice.get_by_text("Everybody who is signed in").click()
    expect(alice.get_by_role("button", name="Shared")).to_be_visible()
    code = alice.locator("[data-testid=stCode]")
    try:
        expect(code).to_be_visible(timeout=5_000)
    except AssertionError:  # on a busy machine what was open may close when its button is called otherwise
        alice.get_by_role("button", name="Shared").click()
    link = code.inner_text().strip()
    assert link == address, "what Alice hands on"
    bob.goto(link)
    expect(bob.get_by_text(re.compile("1 of 1 done"))).to_be_visible()
    for label in ("Delete job", "Rename", "Share", "Check certainty"):
        expect(bob.get_by_role("button", name=label)).to_have_count(0)
    with bob.expect_download() as coming:
        bob.get_by_role("link", name="Download ZIP").click()
    assert coming.value.suggested_filename.endswith(".zip")
    bob.goto("/jobs")
    expect(bob.get_by_text("photo 1.jpg")).to_have_count(0)

    # What Bob makes of its photos is his own.
    bob.goto(address)
    bob.get_by_role("button", name="Process again with").click()
    bob.get_by_role("button", name="Process photos").click()
    bob.wait_for_url("**/jobs?job=*")
    expect(bob.get_by_text("by bob@example.org")).to_be_visible()
    his = bob.url
    alice.goto(his)
    expect(alice.get_by_text("There is no such job")).to_be_visible()

    alice.goto(address)
    alice.get_by_role("button", name="Shared").click()
    alice.get_by_text("Everybody who is signed in").click()
    expect(alice.get_by_role("button", name="Share", exact=True)).to_be_visible()
    bob.goto(address)
    expect(bob.get_by_text("There is no such job")).to_be_visible()


def test_a_comparison_that_is_shared_no_longer_goes_from_pages_that_show_it(
    server: Server, enter: Enter
) -> None:
    alice, bob = enter("Alice"), enter("Bob")
    address = made_job(alice, 4, "u2netp", "u2net").replace("/jobs?", "/compare?")
    job = address.rpartition("=")[2]
    alice.get_by_role("button", name="Share", exact=True).click()
    alice.get_by_text("Everybody who is signed in").click()
    expect(alice.get_by_role("button", name="Shared")).to_be_visible()
    bob.goto(address)
    charts = bob.get_by_text("Charts", exact=True)
    expect(charts).to_be_visible()
    server.store.share(job, False)
    charts.click()
    expect(bob.get_by_text("There is no such job")).to_be_visible()
    expect(charts).to_have_count(0)


def test_files_are_taken_into_memory_of_nobody_who_is_not_signed_in(browser: Browser, server: Server) -> None:
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    sessions: list[str] = []
    page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda data: sessions.extend(session(data)))
    )
    page.goto("/")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert sessions
    page.request.get(f"{server.url}/_stcore/host-config")
    token = {one["name"]: one["value"] for one in context.cookies()}.get("_streamlit_xsrf", "")
    answer = page.request.put(
        f"{server.url}/_stcore/upload_file/{sessions[0]}/f",
        multipart={"file": {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": bytes(1000)}},
        headers={"X-Xsrftoken": token},
    )
    assert answer.status == 401
    context.close()


def session(frame: str | bytes) -> list[str]:
    """The id of the session that a message of the server begins."""
    message = ForwardMsg.FromString(frame) if isinstance(frame, bytes) else ForwardMsg()
    return [message.new_session.initialize.session_id] if message.HasField("new_session") else []


@pytest.mark.parametrize(("who", "known_by"), [("Mallory", "4|http"), ("Nameless", "5|http")])
def test_an_address_that_is_not_verified_is_nobodys(enter: Enter, who: str, known_by: str) -> None:
    page = enter(who)
    for seed in (1, 3):
        page.goto("/jobs")
        expect(page.get_by_text(f"photo {seed}.jpg")).to_have_count(0)
    made_job(page, 2)
    expect(page.get_by_text(re.compile("by " + re.escape(known_by)))).to_be_visible()


def answered(server: Server, path: str, key: str | None = None) -> tuple[int, object]:
    """A status and what was said, to a program."""
    headers = {} if key is None else {"X-Api-Key": key}
    request = urllib.request.Request(f"{server.url}/api/v1{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_programs_are_not_let_in_without_a_key_and_a_pages_key_opens_its_owners_jobs(
    server: Server, enter: Enter
) -> None:
    assert answered(server, "/jobs")[0] == 401, "also from this machine"
    alice, bob = enter("Alice"), enter("Bob")
    job = made_job(alice, 3).rpartition("=")[2]
    keys = {}
    for name, page in {"alice": alice, "bob": bob}.items():
        page.goto("/?large=1")
        client = page.locator("photo-processor[key]")
        keys[name] = client.get_attribute("key")
    assert answered(server, f"/jobs/{job}", keys["alice"])[0] == 200
    assert answered(server, f"/jobs/{job}", keys["bob"])[0] == 404
    status, listed = answered(server, "/jobs", keys["bob"])
    assert status == 200
    assert job not in json.dumps(listed)


def test_a_secrets_file_that_cannot_be_read_opens_no_door(model_dir: Path, tmp_path: Path) -> None:
    toml = tmp_path / "secrets.toml"
    toml.write_text("[auth\nredirect_uri = ")
    server = Server(tmp_path / "data", model_dir, env={"STREAMLIT_SECRETS_FILES": str(toml)})
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(server.port)]
    ended = subprocess.run(command, cwd=ROOT, env=server.env, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "cannot be read" in ended.stderr + ended.stdout
