"""Models side by side, over a real service with real models: who disagrees where, and what each took."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.comparison import Spread, worst_first
from photoproc.imaging import encode
from photoproc.imaging.agreement import agreement
from photoproc.jobs import Job, TaskState
from photoproc.parts import Keep
from photoproc.recipe import Recipe
from tests.api.support import Api, check_problem, local
from tests.pictures import encoded, sample
from tests.test_service import code_of
from tests.waiting import until

pytestmark = pytest.mark.models
BOTH = Recipe(models=("u2netp", "u2net"))


@pytest.fixture(scope="module")
def made(running: Runtime) -> Iterator[Job]:
    """A finished job of three photos with two models; the second photo cannot be decoded."""
    service = running.service
    until(lambda: not service.readiness())
    batch = service.new_batch()
    files = [
        ("astronaut.png", sample("astronaut.png")),
        ("cut.jpg", sample("rocket.jpg")[:30_000]),
        ("coffee.png", sample("coffee.png")),
    ]
    photos = [photo for name, data in files for photo in service.accept(batch, name, io.BytesIO(data)).photos]
    assert len(photos) == 3
    job = service.submit(batch, photos, BOTH)
    until(lambda: service.job(job.id).state.final, within_s=180)
    yield service.job(job.id)
    service.delete(job.id)


def mask_of(running: Runtime, job: Job, number: int) -> np.ndarray:
    path = running.service.mask(running.service.task(job.id, number))
    found = encode.from_mask_png(path.read_bytes())
    assert found is not None
    return found


def test_photos_are_measured_by_the_masks_that_were_made(running: Runtime, made: Job) -> None:
    found = running.service.comparison(made.id)
    assert (found.measured, found.to_measure) == (2, 2)
    for place in (0, 2):
        wanted = agreement([mask_of(running, made, 2 * place + lane) for lane in (0, 1)])
        distance = found.photos[place].distance
        assert distance is not None
        assert distance.disagreement == pytest.approx(wanted.disagreement)
        assert distance.edge_error == pytest.approx(wanted.edge_error)
        assert distance.apart == pytest.approx(dict(zip(BOTH.models, wanted.apart, strict=True)))
        assert 0 < distance.disagreement < 1
    assert found.photos[1].distance is None
    assert {task.state for task in found.photos[1].tasks} == {TaskState.FAILED}
    assert [one.place for one in worst_first(found.photos)][-1] == 1


def test_a_planted_worst_photo_comes_first(running: Runtime, made: Job) -> None:
    service = running.service
    task = service.task(made.id, 4)  # coffee.png by u2netp
    path = service.mask(task)
    kept = path.read_bytes()
    batch = service.new_batch()
    photos = list(service.accept(batch, "astronaut.png", io.BytesIO(sample("astronaut.png"))).photos)
    photos += service.accept(batch, "coffee.png", io.BytesIO(sample("coffee.png"))).photos
    try:
        mask = encode.from_mask_png(kept)
        assert mask is not None
        path.write_bytes(encode.to_png(255 - mask))
        job = service.submit(batch, photos, BOTH)
        until(lambda: service.job(job.id).state.final)
        found = service.comparison(job.id)
        first, last = worst_first(found.photos)
        assert first.photo.name == "coffee.png"
        assert first.distance is not None
        assert last.distance is not None
        assert first.distance.disagreement > 0.8 > last.distance.disagreement
        assert [(one.kept, one.warm) for one in found.times] == [(2, None), (2, None)]
    finally:
        path.write_bytes(kept)
    service.delete(job.id)


def test_what_was_measured_is_kept_and_not_measured_again(
    running: Runtime, made: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = running.service.comparison(made.id)

    def submit(*_: object) -> None:
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(running.service._compares, "submit", submit)
    assert running.service.comparison(made.id).photos == first.photos


def test_times_count_only_tasks_in_which_the_model_ran(running: Runtime, made: Job) -> None:
    small, large = running.service.comparison(made.id).times
    assert [one.model for one in (small, large)] == ["u2netp", "u2net"]
    for one in (small, large):
        assert (one.done, one.failed) == (2, 1)
        warm, cold = (0 if part is None else part.count for part in (one.warm, one.cold))
        assert warm + cold + one.kept == 2
        assert one.kept or "inference" in one.steps
        assert one.kept == 2 or one.providers == ("CPUExecutionProvider",)
        assert one.kept == 2 or one.threads == (running.settings.threads_per_child,)
        assert one.kept == 2 or (one.peak_bytes is not None and one.peak_bytes > 100_000_000)


def test_a_spread_is_interpolated_between_the_runs() -> None:
    found = Spread.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found is not None
    assert (found.count, found.mean, found.p50) == (5, 3.0, 3.0)
    assert found.p95 == pytest.approx(4.8)
    assert Spread.of([2.5]) == Spread(count=1, mean=2.5, p50=2.5, p95=2.5)
    assert Spread.of([]) is None
    values = list(np.random.default_rng(1).random(37))
    many = Spread.of(values)
    assert many is not None
    assert (many.p50, many.p95) == pytest.approx(tuple(np.percentile(values, (50, 95))))


def test_the_difference_lies_where_the_masks_differ(running: Runtime, made: Job) -> None:
    with Image.open(io.BytesIO(running.service.difference(made.id, 0))) as image:
        shown = np.asarray(image.convert("RGBA"))
    assert shown.shape == (512, 512, 4)
    one, other = (
        cv2.resize(mask_of(running, made, lane), (512, 512), interpolation=cv2.INTER_LINEAR).astype(int)
        for lane in (0, 1)
    )
    apart = np.abs(one - other)
    assert shown[..., 3][apart > 150].min() > 120
    assert shown[..., 3][apart == 0].mean() < 12
    assert code_of(lambda: running.service.difference(made.id, 1)) == "not_found"
    assert code_of(lambda: running.service.difference(made.id, 9)) == "not_found"


def test_one_model_is_nothing_to_compare(running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    photos = service.accept(batch, "a.png", io.BytesIO(sample("coffee.png"))).photos
    job = service.submit(batch, photos, Recipe(background=Keep()))
    assert code_of(lambda: service.comparison(job.id)) == "one_model"
    service.delete(job.id)


def test_nothing_is_left_of_a_comparison_whose_job_is_deleted(running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    photos = service.accept(batch, "a.png", io.BytesIO(sample("coffee.png"))).photos
    job = service.submit(batch, photos, BOTH)
    until(lambda: service.job(job.id).state.final)
    service.comparison(job.id)
    assert service._store.distances(job.id, 1)
    service.delete(job.id)
    assert service._store.distances(job.id, 1) == {}
    service._store.keep_distances(job.id, {0: {"models": [], "found": None}})
    assert service._store.distances(job.id, 1) == {}


def test_damaged_masks_are_passed_over(tmp_path: Path) -> None:
    from photoproc import child_masks

    good = tmp_path / "good.png"
    good.write_bytes(encode.to_png(np.full((320, 320), 200, np.uint8)))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no mask")
    asked = [[good, good], [good, bad], [good, tmp_path / "gone.png"], [good]]
    assert child_masks.compare(asked) == [(0.0, 0.0, (0.0, 0.0)), None, None, None]


@pytest.fixture
def api(running: Runtime) -> Iterator[Api]:
    with local(create_api(lambda: running.service)) as client:
        yield Api(client)


def test_the_api_says_the_same_worst_first(api: Api, running: Runtime, made: Job) -> None:
    found = api.client.get(f"/v1/jobs/{made.id}/comparison").json()
    assert (found["job"], found["measured"], found["to_measure"]) == (made.id, 2, 2)
    assert [one["model"] for one in found["models"]] == ["u2netp", "u2net"]
    values = [one["disagreement"] for one in found["photos"]]
    assert values[0] >= values[1]
    assert (values[2], found["photos"][2]["photo"], found["photos"][2]["apart"]) == (None, "cut.jpg", {})
    assert json.dumps(found)
    picture = api.client.get(f"/v1/jobs/{made.id}/photos/0/difference")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")
    check_problem(api.client.get(f"/v1/jobs/{made.id}/photos/1/difference"), 404, "not_found")
    single = api.client.post(
        "/v1/jobs",
        files=[("files", ("a.png", encoded(Image.new("RGB", (30, 20)), "PNG")))],
        data={"recipe": '{"background": {"kind": "keep"}}'},
    ).json()
    check_problem(api.client.get(f"/v1/jobs/{single['id']}/comparison"), 409, "one_model")
    api.client.delete(f"/v1/jobs/{single['id']}")
