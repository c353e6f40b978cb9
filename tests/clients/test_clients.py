"""The browser clients as people and pages use them: the page at /api/client/, and the React component."""

import functools
import http.server
import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Response, Route, expect

from photoproc.links import Links
from tests.clients.conftest import Open
from tests.clients.proxy import proxied
from tests.long import by_hand
from tests.pictures import encoded, picture, sample
from tests.server import Server, free_port, serving

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)>.jpg"
KEY = "a-key-of-some-length"
WORKING_MS = 240_000


def file(name: str, data: bytes) -> FilePayload:
    """A file as a browser is given one."""
    return FilePayload(name=name, mimeType="application/octet-stream", buffer=data)


def photos(count: int, *, seed: int = 0) -> list[FilePayload]:
    """Small photos, each another."""
    return [file(f"{n:02}.jpg", encoded(picture(320, 240, seed=seed + n))) for n in range(count)]


def zip_of(**files: bytes) -> bytes:
    """A ZIP; a double underscore in a keyword stands for a folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name.replace("__", "/") + ".png", data)
    return out.getvalue()


def choose(page: Page, files: Sequence[FilePayload]) -> None:
    """Give files to the element, once it knows the models."""
    expect(page.get_by_role("checkbox", name=re.compile("^u2netp "))).to_be_visible()
    page.get_by_label("Photos or ZIPs").set_input_files(files)


def press_process(page: Page) -> None:
    """Start."""
    page.get_by_role("button", name=re.compile("^Process \\d")).click()


def finished(page: Page) -> Locator:
    """The link that appears when a job is done."""
    return page.get_by_role("link", name="Download ZIP")


def element(page: Page, expression: str) -> Any:
    """An expression over the element, called `it`."""
    return page.evaluate(
        f"(() => {{ const it = document.querySelector('photo-processor'); return {expression}; }})()"
    )


def record(page: Page) -> None:
    """Keep what the element tells from now on in `window.told`."""
    page.evaluate(
        """() => {
          window.told = { transports: [], done: [], finished: [], uploaded: [], errors: [] };
          const it = document.querySelector("photo-processor");
          it.addEventListener("progress", ({ detail }) => {
            if (detail.phase === "uploading") told.uploaded.push(detail.uploaded);
            const { transport, job } = detail;
            if (transport && told.transports.at(-1) !== transport) told.transports.push(transport);
            if (job) told.done.push(job.counts.done);
          });
          it.addEventListener("done", ({ detail }) => told.finished.push(detail.job.state));
          it.addEventListener("error", ({ detail }) => told.errors.push(detail.message));
        }"""
    )


def client(server: Server) -> str:
    """The address of the page."""
    return f"{server.url}/api/client/"


def test_photos_and_a_zip_go_in_and_a_zip_comes_out(server: Server, open_page: Open, tmp_path: Path) -> None:
    page = open_page(client(server))
    packed = zip_of(holiday__cat=sample("cat.png"), coffee=sample("coffee.png"))
    record(page)
    choose(
        page,
        [
            file("astronaut.png", sample("astronaut.png")),
            file("rocket.jpg", sample("rocket.jpg")),
            file("more.zip", packed),
            file("notes.txt", b"not a picture"),
        ],
    )
    expect(page.get_by_role("list", name="Chosen photos").get_by_role("listitem")).to_have_count(4)
    press_process(page)
    expect(page.get_by_role("heading", name=re.compile("of 4 done"))).to_be_visible(timeout=WORKING_MS)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    told = page.evaluate("told")
    assert told["transports"] == ["socket"]
    assert told["done"] == sorted(told["done"])
    assert told["finished"] == ["done"]
    assert told["uploaded"][-1] > len(packed)
    expect(page.get_by_text("1 file not accepted")).to_be_visible()
    expect(page.get_by_text("it is text")).to_be_visible()

    page.get_by_role("button", name=re.compile("astronaut.png, cutout")).focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.locator(".name")).to_have_text("astronaut.png")
    expect(viewer.locator(".after")).to_have_attribute("src", re.compile("/cutout"))
    page.keyboard.press("Space")
    expect(viewer.get_by_role("slider")).to_have_value("100")
    page.keyboard.press("ArrowRight")
    expect(viewer.locator(".place")).to_have_text("2 of 4")
    page.keyboard.press("?")
    expect(viewer.get_by_text("previous, next")).to_be_visible()
    with page.expect_download() as one:
        page.keyboard.press("d")
    assert one.value.suggested_filename == "rocket.png"
    page.keyboard.press("Escape")
    expect(viewer).not_to_be_visible()
    expect(page.get_by_role("button", name=re.compile("rocket.jpg, cutout"))).to_be_focused()

    with page.expect_download() as coming:
        finished(page).click()
    target = tmp_path / "out.zip"
    coming.value.save_as(target)
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        names = {name for name in archive.namelist() if name.endswith(".png")}
    assert names == {"astronaut.png", "rocket.png", "holiday/cat.png", "coffee.png"}


def test_a_job_is_in_the_address_and_opens_again(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    choose(page, photos(3, seed=300))
    press_process(page)
    page.wait_for_url("**/#job=*")
    page.reload()
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    expect(page.locator("[data-number]")).to_have_count(3)
    page.get_by_role("button", name="Process more photos").click()
    expect(page.get_by_role("button", name="Choose photos")).to_be_focused()
    page.go_back()
    expect(page.locator("[data-number]")).to_have_count(3)


def test_a_folder_keeps_its_paths(server: Server, open_page: Open, tmp_path: Path) -> None:
    folder = tmp_path / "summer"
    (folder / "beach").mkdir(parents=True)
    (folder / "beach/one.jpg").write_bytes(encoded(picture(seed=400)))
    (folder / "two.jpg").write_bytes(encoded(picture(seed=401)))
    (folder / ".DS_Store").write_bytes(b"litter")
    page = open_page(client(server))
    expect(page.get_by_role("checkbox", name=re.compile("^u2netp "))).to_be_visible()
    page.get_by_label("Folder", exact=True).set_input_files(folder)
    press_process(page)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    assert set(page.locator("[data-number] .name").all_inner_texts()) == {
        "summer/beach/one.jpg",
        "summer/two.jpg",
    }
    expect(page.get_by_text("not accepted")).not_to_be_visible()


def test_photos_are_dropped_and_pasted(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    page.evaluate(
        """async () => {
          const photo = async (name) => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 30 });
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            return new File([blob, String(Math.random())], name, { type: "image/png" });
          };
          const it = document.querySelector("photo-processor");
          const dropped = new DataTransfer();
          dropped.items.add(await photo("dropped.png"));
          dropped.items.add(new File(["x"], "clip.mp4", { type: "video/mp4" }));
          it.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
          for (let n = 0; n < 2; n += 1) {
            const pasted = new DataTransfer();
            pasted.items.add(await photo("image.png"));
            const options = { clipboardData: pasted, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new ClipboardEvent("paste", options));
          }
        }"""
    )
    names = page.get_by_role("list", name="Chosen photos").locator(".name")
    expect(names).to_have_text(["dropped.png", "Pasted photo.png", "Pasted photo (2).png"])
    expect(page.get_by_text("It is a video, not a photo.")).to_be_visible()


def test_a_cut_socket_is_polled_over_and_comes_back(model_dir: Path, tmp_path: Path, open_page: Open) -> None:
    count = 7
    with (
        serving(tmp_path / "data", model_dir, default_model="u2net", max_concurrent=1) as server,
        proxied(server.port) as proxy,
    ):
        page = open_page(f"{proxy.url}/api/client/")
        record(page)
        choose(page, photos(count, seed=500))
        press_process(page)
        page.wait_for_function("told.transports.at(-1) === 'socket' && told.done.at(-1) >= 1")
        proxy.cut()
        page.wait_for_function("told.transports.at(-1) === 'polling'")
        assert element(page, "it.transport") == "polling"
        polled = page.evaluate("told.done.at(-1)")
        page.wait_for_function("before => told.done.at(-1) > before", arg=polled)
        proxy.mend()
        page.wait_for_function("told.transports.at(-1) === 'socket'")
        assert element(page, "it.phase") == "running"
        expect(finished(page)).to_be_visible(timeout=WORKING_MS)
        told = page.evaluate("told")
        assert told["transports"] == ["socket", "polling", "socket"]
        assert told["done"] == sorted(told["done"])
        assert told["finished"] == ["done"]
        assert told["errors"] == []
        expect(page.locator("button.card")).to_have_count(count)
        shown = [int(node.get_attribute("data-number") or -1) for node in page.locator("[data-number]").all()]
        assert shown == list(range(count))


@by_hand
def test_a_socket_that_falls_silent_is_polled_over(server: Server, open_page: Open) -> None:
    page = open_page("about:blank")
    page.clock.install()
    page.route_web_socket(re.compile("/events"), lambda socket: None)  # opens, and says nothing
    page.goto(client(server))
    record(page)
    choose(page, photos(2, seed=560))
    press_process(page)
    page.wait_for_function("told.transports.at(-1) === 'socket'")
    page.clock.fast_forward(21_000)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    assert page.evaluate("told.transports")[:2] == ["socket", "polling"]
    expect(page.locator("button.card")).to_have_count(2)


@by_hand
def test_a_lost_server_is_waited_for(model_dir: Path, tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path / "data", model_dir, default_model="u2net", max_concurrent=1) as server:
        page = open_page(client(server))
        choose(page, photos(5, seed=600))
        press_process(page)
        expect(page.locator("button.card").first).to_be_visible(timeout=WORKING_MS)
        server.kill()
        expect(page.get_by_role("paragraph").get_by_text("Connection lost, trying again.")).to_be_visible()
        assert element(page, "it.transport") == ""
        server.start()
        expect(finished(page)).to_be_visible(timeout=WORKING_MS)
        expect(page.get_by_role("heading", name="5 of 5 done")).to_be_visible()
        expect(page.locator("button.card")).to_have_count(5)


@contextmanager
def site(folder: Path, port: int) -> Iterator[str]:
    """A site that serves files of a folder; its origin."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    serve = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), serve) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("react", ["19", pytest.param("18", marks=by_hand)])
def test_the_react_component_works_from_another_site(
    react: str, react_build: Path, model_dir: Path, tmp_path: Path, open_page: Open
) -> None:
    port = free_port()
    origin = f"http://localhost:{port}"
    with (
        serving(tmp_path / "data", model_dir, allowed_origins=origin, api_keys=f"shop:{KEY}") as server,
        site(react_build, port),
    ):
        page = open_page(f"{origin}/{react}/?endpoint={server.url}/api/v1&key={KEY}")
        expect(page.get_by_role("heading", name=f"React {react}.")).to_be_visible()
        choose(page, [file("cat.png", sample("cat.png"))])
        expect(page.get_by_role("checkbox")).to_have_count(1)  # only the model it names
        page.get_by_role("button", name="Start from React").click()
        expect(page.get_by_text("The job is done")).to_be_visible(timeout=WORKING_MS)
        expect(page.get_by_text("1 finished")).to_be_visible()
        expect(page.locator("button.card img")).to_have_js_property("complete", True)
        assert page.locator("button.card img").evaluate("image => image.naturalWidth") > 0
        with page.expect_download() as coming:
            finished(page).click()
        assert coming.value.suggested_filename.endswith(".zip")
        assert element(page, "it.className") == "processor"


def test_names_are_shown_and_never_run(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    choose(page, [file(EVIL, encoded(picture(seed=700))), file(EVIL.replace("jpg", "txt"), b"no picture")])
    expect(page.get_by_role("list", name="Chosen photos").get_by_text(EVIL)).to_be_visible()
    press_process(page)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    expect(page.locator("[data-number] .name")).to_have_text(EVIL)
    expect(page.locator(".refused li")).to_contain_text(EVIL.replace("jpg", "txt"))
    page.locator("button.card").click()
    expect(page.get_by_role("dialog").locator(".name")).to_have_text(EVIL)
    assert page.locator("img[src='x']").count() == 0


def test_an_upload_and_a_job_can_be_cancelled(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    record(page)
    choose(page, [*photos(40, seed=800), file("large.jpg", encoded(picture(1500, 1500, seed=899)))])
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    pace = {"offline": False, "latency": 0, "downloadThroughput": -1}
    slow.send("Network.emulateNetworkConditions", {**pace, "uploadThroughput": 200_000})
    press_process(page)
    page.wait_for_function("told.uploaded.at(-1) > 0")
    page.get_by_role("button", name="Cancel upload").click()
    expect(page.get_by_role("button", name="Process 41 photos")).to_be_focused()
    slow.send("Network.emulateNetworkConditions", {**pace, "uploadThroughput": -1})
    press_process(page)
    expect(page.locator("button.card").first).to_be_visible(timeout=WORKING_MS)
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text("Cancelled; what was finished is kept")).to_be_visible(timeout=WORKING_MS)
    expect(page.get_by_role("radio", name=re.compile("Cancelled \\d+"))).to_be_visible()
    expect(finished(page)).to_be_visible()
    assert page.evaluate("told.finished") == ["cancelled"]
    expect(page.locator("[data-number]")).to_have_count(41)


def job_count(page: Page, server: Server) -> int:
    """How many jobs the server has."""
    return len(page.request.get(f"{server.url}/api/v1/jobs?limit=200").json()["items"])


def test_an_element_off_the_page_does_nothing_and_goes_on_when_it_is_back(
    server: Server, open_page: Open
) -> None:
    page = open_page(client(server))
    before = job_count(page, server)
    record(page)
    choose(page, [*photos(12, seed=840), file("large.jpg", encoded(picture(1500, 1500, seed=898)))])
    page.evaluate("window.kept = document.querySelector('photo-processor')")
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    pace = {"offline": False, "latency": 0, "downloadThroughput": -1}
    slow.send("Network.emulateNetworkConditions", {**pace, "uploadThroughput": 200_000})
    press_process(page)
    page.wait_for_function("told.uploaded.at(-1) > 0")
    page.evaluate("document.body.append(kept)")  # moved: the upload goes on
    sent = page.evaluate("told.uploaded.at(-1)")
    page.wait_for_function("before => told.uploaded.at(-1) > before", arg=sent)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/jobs")):
        page.evaluate("kept.remove()")
    assert job_count(page, server) == before
    slow.send("Network.emulateNetworkConditions", {**pace, "uploadThroughput": -1})
    page.evaluate("document.body.append(kept)")
    press_process(page)
    expect(page.locator("button.card").first).to_be_visible(timeout=WORKING_MS)

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.evaluate("kept.remove()")
    assert page.evaluate("kept.transport") == ""
    page.wait_for_timeout(500)  # what was on its way
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []
    page.route("**/v1/jobs/*", lambda route: route.abort())
    page.evaluate("document.body.append(kept)")
    expect(page.locator(".meta").get_by_text("Connection lost")).to_be_visible()
    page.evaluate("kept.remove()")
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []
    page.unroute("**/v1/jobs/*")
    page.evaluate("document.body.append(kept)")
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    expect(page.locator("button.card")).to_have_count(13)
    assert page.evaluate("told.finished") == ["done"]
    assert job_count(page, server) == before + 1


def seen(images: Locator) -> None:
    """Wait until all images show something."""
    for image in images.all():
        expect(image).not_to_have_js_property("naturalWidth", 0)


def test_links_that_expired_are_renewed(
    model_dir: Path, tmp_path: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "data", model_dir, link_lifetime_s=60) as server:
        page = open_page(client(server))
        page.clock.install()
        choose(page, photos(3, seed=860))
        press_process(page)
        expect(finished(page)).to_be_visible(timeout=WORKING_MS)
        monkeypatch.setattr("itsdangerous.TimestampSigner.get_timestamp", lambda _: int(time.time()) - 61)
        key = (tmp_path / "data/link.key").read_text()
        expired = Links(key, lifetime_s=60).sign(element(page, "it.job"))
        link = re.sub("token=.*", f"token={expired}", element(page, "it.result.links.archive"))
        assert page.request.get(server.url + link).status == 410
        asked: list[str] = []
        old, heals = True, True

        def aged(route: Route) -> None:
            asked.append(route.request.url.partition("?")[2])
            answer = route.fetch()
            body = re.sub('token=[^"]+', f"token={expired}", answer.text()) if old else answer.text()
            route.fulfill(response=answer, body=body)

        def answered(response: Response) -> None:
            nonlocal old
            if heals and response.status == 410:
                old = False

        page.on("response", answered)
        page.route(re.compile(r"/v1/jobs/\w+\?"), aged)
        page.reload()
        expect(page.locator("button.card img")).to_have_count(3)
        seen(page.locator("button.card img"))
        assert asked.count("limit=1") == 2  # to open the job, and to renew the links of all three

        old, heals = True, False
        page.reload()
        expect(page.locator("button.card img")).to_have_count(3)
        page.wait_for_function("document.querySelector('photo-processor').renewing")  # in vain
        page.clock.fast_forward(10_000)
        heals = True
        page.locator("button.card").first.click()
        viewer = page.get_by_role("dialog")
        expect(viewer.locator(".after")).to_have_attribute("src", re.compile("/cutout"))
        seen(viewer.locator("img"))
        asked.clear()
        with page.expect_download() as one:
            page.keyboard.press("d")
        assert one.value.suggested_filename == "00.png"
        page.keyboard.press("Escape")
        assert asked == []

        page.clock.fast_forward(10_000)
        with page.expect_download() as coming:
            finished(page).click()
        assert asked == ["limit=1"]
        with zipfile.ZipFile(coming.value.path()) as archive:
            assert archive.testzip() is None


def test_a_step_waits_for_a_photo_that_is_told_to_be_done_but_not_for_ever(
    server: Server, open_page: Open
) -> None:
    page = open_page(client(server))
    held, asks = True, re.compile(r"/v1/jobs/\w+\?")

    def behind(route: Route) -> None:
        answer = route.fetch()
        job = answer.json()
        for task in job["tasks"]:
            if held and task["photo"] == "01.jpg" and task["state"] == "done":
                task["state"] = "running"
                task["links"] = {}
        route.fulfill(response=answer, json=job)

    page.route(asks, behind)
    choose(page, photos(3, seed=870))
    press_process(page)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    page.get_by_role("button", name=re.compile("02.jpg, cutout")).wait_for()
    page.get_by_role("button", name=re.compile("00.jpg, cutout")).click()
    viewer = page.get_by_role("dialog")
    name = viewer.locator(".name")
    with page.expect_response(asks):
        page.keyboard.press("ArrowRight")
    assert name.inner_text() == "00.jpg"
    expect(name).to_have_text("02.jpg")
    with page.expect_response(asks):
        page.keyboard.press("ArrowLeft")
    assert name.inner_text() == "02.jpg"

    page.keyboard.press("Escape")  # while the step waits, which is not wanted any more then
    page.get_by_role("button", name=re.compile("02.jpg, cutout")).click()
    held = False
    page.locator("button", has_text="01.jpg").locator("img").wait_for(state="attached")
    page.wait_for_timeout(300)  # longer than a step looks
    assert name.inner_text() == "02.jpg"
    page.keyboard.press("ArrowLeft")
    expect(name).to_have_text("01.jpg")
    expect(viewer.locator(".place")).to_have_text("2 of 3")


def test_a_broken_upload_is_sent_again_and_is_one_job(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    before = job_count(page, server)
    keys = []

    def broken(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()  # the server makes the job, and the answer is lost on the way
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/jobs", broken)
    choose(page, photos(2, seed=820))
    press_process(page)
    expect(page.locator(".meta").get_by_text("Connection lost. Trying again in 1 s.")).to_be_visible()
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    assert keys == [keys[0]] * 2
    assert job_count(page, server) == before + 1


def test_a_photo_moved_since_it_was_chosen_is_named(server: Server, open_page: Open, tmp_path: Path) -> None:
    photo, other = tmp_path / "moved.jpg", tmp_path / "other.jpg"
    for path, seed in ((photo, 830), (other, 831)):
        path.write_bytes(encoded(picture(seed=seed)))
    page = open_page(client(server))
    expect(page.get_by_role("checkbox", name=re.compile("^u2netp "))).to_be_visible()
    page.get_by_label("Photos or ZIPs").set_input_files([photo, other])
    photo.unlink()
    press_process(page)
    expect(page.get_by_role("alert").get_by_text("moved.jpg cannot be read any more.")).to_be_visible()
    page.get_by_role("button", name="Process 1 photo").click()
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    expect(page.locator("[data-number] .name")).to_have_text("other.jpg")


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until something has the focus."""
    for _ in range(80):
        if target.evaluate("node => node.getRootNode().activeElement === node"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {target}")


def test_the_keyboard_is_enough(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    page.on("filechooser", lambda _: None)  # Chromium needs a moment to hand its file dialog over
    expect(page.get_by_role("checkbox", name=re.compile("^u2netp "))).to_be_visible()
    tab_to(page, page.get_by_role("button", name="Choose photos"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(
        [file("a.png", sample("astronaut.png")), file("b.png", sample("coffee.png")), *photos(1)]
    )
    tab_to(page, page.get_by_role("button", name="Remove 00.jpg"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("radio", name="Transparent"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Colour")).to_be_checked()
    tab_to(page, page.get_by_role("button", name="Process 2 photos"))
    page.keyboard.press("Enter")
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    expect(finished(page)).to_be_focused()  # where the focus was is gone
    assert element(page, "it.result.recipe.background") == {"kind": "colour", "colour": "#ffffff"}
    tab_to(page, page.get_by_role("button", name=re.compile("^a.png")))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").locator(".name")).to_have_text("b.png")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^b.png"))).to_be_focused()


def test_a_ready_made_or_saved_recipe_takes_the_place_of_the_options(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    saved = {"models": ["u2net"], "background": {"kind": "keep"}, "output": {"format": "webp"}}
    assert page.request.put(f"{server.url}/api/v1/recipes/Our {EVIL}", data=saved).status == 200
    page.reload()
    recipes = page.get_by_label("Recipe")
    expect(recipes.locator("optgroup")).to_have_count(2)
    choose(page, [file("a.png", sample("astronaut.png"))])
    expect(page.get_by_role("radio", name="Transparent")).to_be_visible()
    recipes.select_option(f"Our {EVIL}")
    expect(page.get_by_text("no model runs")).to_be_visible()
    recipes.select_option("Headshot")
    expect(page.get_by_text("no model runs")).not_to_be_visible()
    expect(page.get_by_role("radio", name="Transparent")).not_to_be_visible()
    press_process(page)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    made = element(page, "it.result.recipe")
    assert (made["framing"]["preset"], made["output"]["format"]) == ("headshot", "jpeg")
    assert made["models"] == element(page, "it.result.recipe.models")
    page.locator("button.card").click()
    expect(page.get_by_role("dialog").locator(".after")).to_have_attribute("src", re.compile("/cutout"))
    with page.expect_download() as one:
        page.keyboard.press("d")
    assert one.value.suggested_filename == "a.jpg"


def test_a_saved_recipe_ticks_its_models(model_dir: Path, tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path / "data", model_dir) as server:
        page = open_page(client(server))
        saved = {"models": ["u2net"], "framing": {"kind": "subject"}}
        assert page.request.put(f"{server.url}/api/v1/recipes/Ours", data=saved).status == 200
        page.reload()
        expect(page.get_by_role("checkbox", name=re.compile("^u2netp "))).to_be_checked()
        page.get_by_label("Recipe").select_option("Ours")
        expect(page.get_by_role("checkbox", name=re.compile("^u2net "))).to_be_checked()
        expect(page.get_by_role("checkbox", name=re.compile("^u2netp "))).not_to_be_checked()
        page.get_by_label("Recipe").select_option("Passport")  # which is for any model
        expect(page.get_by_role("checkbox", name=re.compile("^u2net "))).to_be_checked()


def test_the_head_is_as_tall_as_its_slider_says(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    choose(page, [file("a.png", sample("astronaut.png"))])
    page.get_by_role("radio", name="Face").check()
    page.get_by_role("slider", name="Head").fill("0.35")
    expect(page.get_by_text("35 % of the height")).to_be_visible()
    page.get_by_label("Where there is no face").select_option("fail")
    press_process(page)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    framing = element(page, "it.result.recipe.framing")
    assert (framing["kind"], framing["head"], framing["no_face"]) == ("face", 0.35, "fail")


def test_a_key_is_asked_for_where_one_is_needed(model_dir: Path, tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path / "data", model_dir, api_keys=f"me:{KEY}") as server:
        page = open_page(client(server))
        field = page.get_by_label("Key", exact=True)
        expect(field).to_be_visible()
        field.fill("not-the-key")
        page.keyboard.press("Enter")
        expect(page.get_by_text("That key is not accepted.")).to_be_visible()
        field.fill(KEY)
        page.keyboard.press("Enter")
        expect(field).not_to_be_visible()
        choose(page, photos(2, seed=900))
        press_process(page)
        expect(finished(page)).to_be_visible(timeout=WORKING_MS)
        expect(page.locator("button.card img").first).to_have_js_property("complete", True)


def test_a_job_that_was_deleted_is_said_and_left(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    choose(page, photos(30, seed=930))
    press_process(page)
    expect(page.locator("button.card").first).to_be_visible(timeout=WORKING_MS)
    link = element(page, "it.result.links.self")
    assert page.request.delete(server.url + link).status == 204
    expect(page.get_by_role("alert").get_by_text("There is no such job")).to_be_visible()
    expect(page.get_by_role("button", name="Choose photos")).to_be_visible()
    assert element(page, "it.job") == ""


def test_failed_photos_say_why_and_are_tried_again(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    whole = encoded(picture(400, 300, seed=950))
    choose(page, [file("whole.jpg", whole), file("half.jpg", whole[: len(whole) // 2])])
    press_process(page)
    expect(page.get_by_role("heading", name="1 of 2 done, 1 failed")).to_be_visible(timeout=WORKING_MS)
    failed = page.locator("[data-state=failed]")
    expect(failed.locator(".said b")).not_to_be_empty()
    expect(failed.locator(".said span")).not_to_be_empty()
    page.get_by_role("radio", name="Failed 1").check()
    expect(page.locator("[data-number]")).to_have_count(1)
    with page.expect_response("**/retry") as asked:
        page.get_by_role("button", name="Retry 1 failed").click()
    assert asked.value.json()["counts"]["queued"] + asked.value.json()["counts"]["running"] == 1
    expect(page.get_by_role("heading", name="1 of 2 done, 1 failed")).to_be_visible(timeout=WORKING_MS)
    expect(page.get_by_role("button", name="Retry 1 failed")).to_be_visible(timeout=WORKING_MS)


def test_files_that_are_all_refused_say_why(server: Server, open_page: Open) -> None:
    page = open_page(client(server))
    choose(page, [file("notes.txt", b"no picture")])
    press_process(page)
    expect(page.get_by_role("alert").get_by_text("None of the files can be used.")).to_be_visible()
    expect(page.locator(".refused li")).to_contain_text("notes.txt")
    expect(page.get_by_role("button", name="Process 1 photo")).to_be_visible()


def test_the_page_fits_a_phone(server: Server, open_page: Open) -> None:
    page = open_page(client(server), width=390, height=844)
    wide = "document.documentElement.scrollWidth <= window.innerWidth"
    choose(page, [*photos(3, seed=970), file("a very long name " * 7 + ".jpg", encoded(picture(seed=980)))])
    assert page.evaluate(wide)
    press_process(page)
    expect(finished(page)).to_be_visible(timeout=WORKING_MS)
    assert page.evaluate(wide)
    page.locator("button.card").last.click()
    assert page.evaluate(wide)
