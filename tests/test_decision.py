"""What a comparison comes to: report, figures, masks, over a real service with real models."""

import base64
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photoproc import charts
from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.imaging import encode
from photoproc.jobs import Job
from photoproc.recipe import Recipe
from tests.api.support import Api, check_problem, local
from tests.pictures import encoded, sample
from tests.waiting import until

pytestmark = pytest.mark.models
EVIL = "shoes/<script>alert(1)</script>=cmd.png"
FILES = [("astronaut.png", sample("astronaut.png")), (EVIL, sample("coffee.png"))]


@pytest.fixture(scope="module")
def made(running: Runtime) -> Iterator[Job]:
    """A finished job of two photos in two models; one photo's name would be code, and a formula."""
    service = running.service
    until(lambda: not service.readiness())
    batch = service.new_batch()
    photos = [photo for name, data in FILES for photo in service.accept(batch, name, io.BytesIO(data)).photos]
    job = service.submit(batch, photos, Recipe(models=("u2netp", "u2net")), title="=<b>Shoes</b> & more")
    until(lambda: service.job(job.id).state.final, within_s=180)
    yield service.job(job.id)
    service.delete(job.id)


@pytest.fixture(scope="module")
def api(running: Runtime) -> Iterator[Api]:
    with local(create_api(lambda: running.service)) as client:
        yield Api(client)


class Seen(HTMLParser):
    """The tags of a page, with what they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_needs_nothing_else_and_runs_nothing(running: Runtime, made: Job, api: Api) -> None:
    answer = api.client.get(f"/v1/jobs/{made.id}/report")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    seen = Seen(answer.text)
    assert not {"script", "link", "iframe", "object", "b"} & set(seen.tags)
    assert seen.sources
    assert all(source.startswith("data:image/webp;base64,") for source in seen.sources)
    assert not re.search(r"url\((?!#)|@import|\son\w+=", re.sub(r"base64,[^\"]*", "", answer.text))
    said = " ".join(seen.words)
    for wanted in (
        made.title,
        FILES[1][0].rpartition("/")[2][:20],
        "u2netp",
        "Nobody has voted yet",
        "onnxruntime",
    ):
        assert wanted in said
    warm = any(one.warm for one in running.service.comparison(made.id).times)
    assert seen.tags.count("svg") == 1 + warm  # without votes there is no quality to draw
    assert seen.tags.count("img") == 2 * 4  # two photos: itself, where masks differ, two cutouts
    named = api.client.get(f"/v1/jobs/{made.id}/report?download=1").headers["content-disposition"]
    assert named.startswith("attachment")
    assert ".html" in named


def test_the_pictures_of_the_report_are_pictures(made: Job, api: Api) -> None:
    seen = Seen(api.client.get(f"/v1/jobs/{made.id}/report").text)
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size for source in seen.sources
    ]
    assert all(min(size) > 100 for size in sizes)


def test_every_figure_is_there_as_json(running: Runtime, made: Job, api: Api) -> None:
    body = api.client.get(f"/v1/jobs/{made.id}/figures?weight=0.25").json()
    found = running.service.comparison(made.id)
    assert body["recommendation"]["weight"] == 0.25
    assert [one["model"] for one in body["models"]] == ["u2netp", "u2net"]
    assert [one["photo"] for one in body["photos"]] == [photo.photo.name for photo in found.photos]
    for row, photo in zip(body["photos"], found.photos, strict=True):
        assert photo.distance is not None
        assert row["disagreement"] == pytest.approx(photo.distance.disagreement)
        assert [task["seconds"] for task in row["tasks"]] == [dict(task.seconds) for task in photo.tasks]
    assert body["machine"]["cores"] >= 1
    assert body["versions"]["photoproc"]
    assert body["settings"]["children"] == running.settings.max_concurrent
    check_problem(api.client.get(f"/v1/jobs/{made.id}/figures?weight=2"), 422, "invalid_request")


def test_the_same_figures_are_there_as_csv_and_no_cell_is_a_formula(made: Job, api: Api) -> None:
    answer = api.client.get(f"/v1/jobs/{made.id}/figures.zip")
    packed = zipfile.ZipFile(io.BytesIO(answer.content))
    assert packed.testzip() is None
    assert {"figures.json", "models.csv", "photos.csv"} <= set(packed.namelist())
    whole: dict[str, Any] = json.loads(packed.read("figures.json"))
    rows = table(packed, "photos.csv")
    assert len(rows) == 4
    assert {row["model"] for row in rows} == {"u2netp", "u2net"}
    assert float(rows[0]["disagreement"]) == pytest.approx(whole["photos"][0]["disagreement"])
    models = table(packed, "models.csv")
    assert [row["model"] for row in models] == ["u2netp", "u2net"]
    assert {row["done"] for row in models} == {"2"}
    assert {"warm.p50", "load.mean", "licence", "on_front"} <= set(models[0])
    cells = [cell for row in (*rows, *models) for cell in row.values()]
    assert not [
        cell for cell in cells if cell and cell[0] in "=+@" and not cell.replace(".", "")[1:].isdigit()
    ]


def table(packed: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(packed.read(name).decode("utf-8-sig"))))


def test_masks_come_at_their_photos_size(running: Runtime, made: Job, api: Api) -> None:
    packed = zipfile.ZipFile(io.BytesIO(api.client.get(f"/v1/jobs/{made.id}/masks").content))
    assert packed.testzip() is None
    assert len(packed.namelist()) == 4
    assert {name.partition("/")[0] for name in packed.namelist()} == {"u2netp", "u2net"}
    for name, (_, data) in zip(sorted(packed.namelist()), [*FILES, *FILES], strict=True):
        mask = Image.open(io.BytesIO(packed.read(name)))
        assert mask.mode == "L"
        assert mask.size == Image.open(io.BytesIO(data)).size
    task = running.service.task(made.id, 0)
    small = encode.from_mask_png(running.service.mask(task).read_bytes())
    assert small is not None
    large = np.asarray(Image.open(io.BytesIO(packed.read("u2netp/astronaut.png"))).resize((320, 320)))
    assert float(np.abs(large.astype(int) - small).mean()) < 2


def test_a_job_with_one_model_has_no_report_and_says_why(running: Runtime, api: Api) -> None:
    single = api.made({"a.png": encoded(Image.new("RGB", (40, 40), "red"))}, {"models": ["u2netp"]})
    for what in ("report", "figures", "figures.zip"):
        check_problem(api.client.get(f"/v1/jobs/{single['id']}/{what}"), 409, "one_model")
    running.service.delete(single["id"])


def test_bars_hold_each_photo_once(running: Runtime, made: Job) -> None:
    found = running.service.comparison(made.id)
    bins = charts.bins(found.photos)
    assert sorted(place for one in bins for place in one.places) == [0, 1]
    for one in bins:
        for place in one.places:
            distance = found.photos[place].distance
            assert distance is not None
            assert one.low <= distance.disagreement <= one.high
