"""What a comparison comes to: report, figures, masks, over a real service with real models."""

import base64
import csv
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photoproc import charts
from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.comparison import ComparedPhoto, Comparison, most_apart, worst_first
from photoproc.imaging import encode
from photoproc.jobs import Job, Task, Warn
from photoproc.judging import Choice
from photoproc.recipe import Recipe
from photoproc.trial_result import TrialState
from tests.api.support import Api, check_problem, local
from tests.pictures import encoded, picture, sample
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


def test_a_time_trial_is_in_the_report_and_the_figures(running: Runtime, made: Job, api: Api) -> None:
    service = running.service
    service.start_trial(made.id, photos=2, rounds=2)
    until(lambda: (found := service.trial(made.id)) is not None and found.state.final, within_s=300)
    trial = service.trial(made.id)
    assert trial is not None
    assert trial.state is TrialState.DONE, trial.problem
    said = " ".join(Seen(api.client.get(f"/v1/jobs/{made.id}/report").text).words)
    assert "Time trial" in said
    assert "2 of 2 rounds" in said
    body = api.client.get(f"/v1/jobs/{made.id}/figures").json()
    assert [one["model"] for one in body["trial"]["models"]] == ["u2netp", "u2net"]
    packed = zipfile.ZipFile(io.BytesIO(api.client.get(f"/v1/jobs/{made.id}/figures.zip").content))
    assert [row["round"] for row in table(packed, "trial.csv")] == ["0", "1", "1", "2", "2"] * 2
    spreads = {one.model: one.spread for one in trial.figures}
    weighed = {one.model: one for one in service.findings(made.id).models}
    for model, spread in spreads.items():
        assert spread is not None
        assert (weighed[model].seconds, weighed[model].timed) == (spread.p50, 2)


@pytest.mark.parametrize("lose", [Path.unlink, lambda mask: mask.write_bytes(b"")])
def test_a_lost_mask_costs_its_photo_and_nothing_else(
    running: Runtime, api: Api, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], object]
) -> None:
    service = running.service
    batch = service.new_batch()
    names = ("one.png", "two.png")
    photos = [
        photo
        for seed, name in enumerate(names, 60)
        for photo in service.accept(batch, name, io.BytesIO(encoded(picture(seed=seed)))).photos
    ]
    job = service.submit(batch, photos, Recipe(models=("u2netp", "u2net")))
    until(lambda: service.job(job.id).state.final, within_s=180)
    mask = service.mask(service.task(job.id, 0))
    kept = mask.read_bytes()
    lose(mask)
    found = service.findings(job.id).comparison
    assert (found.measured, found.to_measure) == (2, 2)
    assert found.photos[0].distance is None
    assert found.photos[1].distance is not None
    assert api.client.get(f"/v1/jobs/{job.id}/report").status_code == 200
    packed = zipfile.ZipFile(io.BytesIO(api.client.get(f"/v1/jobs/{job.id}/masks").content))
    assert sorted(packed.namelist()) == ["lost masks.txt", "u2net/one.png", "u2net/two.png", "u2netp/two.png"]
    assert packed.read("lost masks.txt") == b"u2netp/one.png: process one.png again to have its mask.\n"
    mask.write_bytes(b"damaged")
    service.findings(job.id)
    with monkeypatch.context() as patch:  # what is damaged is looked at once, until it is another file
        patch.setattr(service, "_measure", lambda *_: pytest.fail("compared anew"))
        assert service.findings(job.id).comparison.photos[0].distance is None
    mask.write_bytes(kept)
    assert service.findings(job.id).comparison.photos[0].distance is not None
    service.delete(job.id)


def test_a_page_that_asks_again_is_told_the_same_until_something_changes(
    running: Runtime, made: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = running.service
    first = service.findings_so_far(made.id)
    read, asked = service._compared.tasks, list[str]()

    def tasks(job_id: str, *which: Any) -> Iterator[Task]:
        asked.append(job_id)
        return read(job_id, *which)

    monkeypatch.setattr(service._compared, "tasks", tasks)
    again = service.findings_so_far(made.id)
    assert again.comparison is first.comparison
    assert service.findings_so_far(made.id, weight=0.1).recommendation.weight == 0.1
    assert asked == []
    ballot = service.next_ballot(made.id, "Ann").slip
    assert ballot is not None
    service.vote(made.id, ballot.id, "Ann", Choice.LEFT)
    told = service.findings_so_far(made.id)
    assert told.ranking is not None
    assert told.ranking.votes == 1
    assert asked
    rows = table(zipfile.ZipFile(io.BytesIO(b"".join(service.figures_archive(made.id).chunks))), "votes.csv")
    assert [(row["voter"], row["choice"]) for row in rows] == [("Ann", "left")]
    service.undo(made.id, ballot.id, "Ann")


def test_a_comparison_that_is_being_summed_up_keeps_no_other_waiting(
    running: Runtime, made: Job, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = running.service
    other = api.made({"b.png": encoded(picture(seed=77))}, {"models": ["u2netp", "u2net"]})["id"]
    compared, begun, go_on = service.comparison, threading.Event(), threading.Event()

    def slow(job_id: str, *, measure: bool = True) -> Comparison:
        if job_id == other:
            begun.set()
            go_on.wait(60)
        return compared(job_id, measure=measure)

    monkeypatch.setattr(service, "comparison", slow)
    first = threading.Thread(target=service.findings_so_far, args=(other,))
    first.start()
    try:
        assert begun.wait(60)
        service._summed_up.pop(made.id, None)
        assert service.findings_so_far(made.id).comparison.job.id == made.id
        assert first.is_alive()
    finally:
        go_on.set()
        first.join()
    service.delete(other)


def test_the_report_shows_those_most_apart_first_whatever_is_uncertain(running: Runtime, made: Job) -> None:
    found = running.service.findings(made.id).comparison
    marked = [
        replace(photo, tasks=tuple(replace(task, warnings=(UNCERTAIN,)) for task in photo.tasks))
        if photo.place == least_apart(found.photos)
        else photo
        for photo in found.photos
    ]
    assert worst_first(marked)[0].place == least_apart(found.photos)
    assert most_apart(marked)[-1].place == least_apart(found.photos)


UNCERTAIN = Warn(code="uncertain", message="m")


def least_apart(photos: Sequence[ComparedPhoto]) -> int:
    far = {one.place: one.distance.disagreement for one in photos if one.distance is not None}
    return min(far, key=lambda place: far[place])


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
