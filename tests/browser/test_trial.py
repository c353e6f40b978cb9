"""A time trial in a real browser: it is begun, followed and shown without another touch of the page."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from photoproc.jobs import JobState
from tests.browser.jobs import submitted
from tests.models.own_onnx import LIKE_U2NET, averaging, put
from tests.pictures import sample
from tests.server import Server, serving
from tests.waiting import until

pytestmark = pytest.mark.browser


@pytest.fixture
def server(model_dir: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with u2netp, and a custom model that is quicker."""
    folder = tmp_path / "models"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "u2netp").symlink_to(model_dir / "models" / "u2netp")
    put(folder, "mean", averaging(side=320), LIKE_U2NET)
    with serving(tmp_path / "data", folder) as made:
        yield made


@pytest.fixture
def job(server: Server) -> str:
    """A finished job of a photo with both."""
    until(lambda: set(ready(server)) >= {"u2netp", "mean"})
    made = submitted(server.url, [("a.png", sample("astronaut.png"))], ("u2netp", "mean"))
    until(lambda: server.store.job(made).state is JobState.DONE, within_s=180)
    return made


def ready(server: Server) -> list[str]:
    """The models that can run."""
    with urllib.request.urlopen(f"{server.url}/api/v1/models", timeout=20) as answer:
        return [one["name"] for one in json.load(answer)["items"] if one["state"] == "ready"]


def test_a_trial_is_followed_to_its_result_and_another_one_stopped(
    page: Page, server: Server, job: str
) -> None:
    page.goto(f"/compare?job={job}")
    page.get_by_text("What each model took, and time trial").click()
    page.get_by_role("button", name="Run a time trial").click()
    expect(page.get_by_text(re.compile(r"Time trial: round \d+ of 12"))).to_be_visible()
    expect(page.get_by_text("A time trial is running; jobs wait")).to_be_visible()
    expect(page.get_by_text("mean is the fastest; u2netp")).to_be_visible(timeout=180_000)
    # What the page says above of the models' times is of the trial as well, without another touch.
    with urllib.request.urlopen(f"{server.url}/api/v1/jobs/{job}/trial", timeout=20) as answer:
        trial = json.load(answer)
    small = next(one for one in trial["models"] if one["model"] == "mean")["warm"]["p50"]
    times = trial["ratios"][0]["times"]
    short = f"{small:.2f} s" if small < 1 else f"{small:.1f} s"
    told = f"mean is the fastest ({short} a photo), u2netp takes {times:.1f} × as long."
    expect(page.get_by_text(told)).to_be_visible()
    expect(page.get_by_role("button", name="Stop the time trial")).to_have_count(0)
    expect(page.get_by_text("A time trial is running; jobs wait")).to_have_count(0)
    page.get_by_role("button", name="Run the time trial again").click()
    page.get_by_role("button", name="Stop the time trial").click()
    expect(page.get_by_text("The time trial was stopped.")).to_be_visible()
    page.reload()
    page.get_by_text("What each model took, and time trial").click()
    expect(page.get_by_text("The time trial was stopped.")).to_be_visible()
