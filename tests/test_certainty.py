"""Certainty end to end: hidden and blurred subjects rank above clean ones, and a second look is cheap."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.comparison import worst_first
from photoproc.errors import RecipeError
from photoproc.imaging import certainty, compose
from photoproc.jobs import Job, TaskState, Warn
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.matting import Matting
from photoproc.parts import Keep
from photoproc.pipeline import Pipeline, Result
from photoproc.recipe import Recipe
from photoproc.work import Model
from tests.api.support import Api, local
from tests.hidden import BLURRED, CLEAR, HIDDEN, U8, auc, clear, in_noise
from tests.long import LONG
from tests.models.support import weights_file
from tests.pictures import encoded, sample
from tests.waiting import until

pytestmark = pytest.mark.models
LOOKED_AT = CLEAR if LONG else CLEAR[:4]
CHECKED = Recipe(models=("u2netp",), certainty=True)


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Model:
    return Model(spec=CATALOGUE["u2netp"], weights=weights_file(model_dir, "u2netp"))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(threads=1)


def run(pipeline: Pipeline, model: Model, recipe: Recipe = CHECKED, **more: object) -> Result:
    return pipeline.run(sample("cat.png"), recipe, model, max_pixels=50_000_000, **more)  # type: ignore[arg-type]


# What it says of photos


@pytest.fixture(scope="module")
def measured(model: Model) -> dict[tuple[str, str], float]:
    """How uncertain u2netp is about each clear photo (way ""), and about what each way makes of it."""
    matting = Matting(threads=1)
    matting.load(model.spec, model.weights)

    def look(picture: U8) -> U8:
        return matting.predict(Image.fromarray(picture), model.spec).mask

    def uncertainty(photo: U8) -> tuple[float, U8]:
        small = np.asarray(compose.shrink_for_model(photo, model.spec.input_wh))
        mask = look(small)
        return certainty.uncertainty(small, mask, look), mask

    found = {}
    for name in LOOKED_AT:
        photo = clear(name)
        found["", name], mask = uncertainty(photo)
        for way, hide in {**HIDDEN, **BLURRED}.items():
            hidden = hide(photo, mask)
            if hidden is not None:
                found[way, name] = uncertainty(hidden)[0]
    return found


@pytest.mark.parametrize("way", [*HIDDEN, *BLURRED])
def test_a_hidden_or_blurred_subject_ranks_above_the_clean_ones(
    measured: dict[tuple[str, str], float], way: str
) -> None:
    clean = {name: measured["", name] for name in LOOKED_AT}
    worse = {name: measured[way, name] for name in LOOKED_AT if (way, name) in measured}
    assert len(worse) >= len(LOOKED_AT) - 1
    for name, value in worse.items():
        assert value > clean[name], name
    # A blurred cup that stands out from a sharp table is still found: less than that of other photos.
    wanted = 0.8 if way.startswith("only the subject") else 0.9
    assert auc(list(worse.values()), list(clean.values())) >= wanted


def test_all_hidden_and_blurred_photos_together_rank_above_the_clean_ones(
    measured: dict[tuple[str, str], float],
) -> None:
    clean = [measured["", name] for name in LOOKED_AT]
    worse = [value for (way, _), value in measured.items() if way]
    assert auc(worse, clean) >= 0.97
    assert max(clean) < certainty.NEEDS_LOOK
    assert sum(value >= certainty.NEEDS_LOOK for value in worse) >= 0.85 * len(worse)


# In the pipeline


def test_both_looks_are_a_step_of_their_own(pipeline: Pipeline, model: Model) -> None:
    plain = run(pipeline, model, replace_certainty(False))
    checked = run(pipeline, model)
    assert plain.uncertainty is None
    assert "certainty" not in plain.seconds
    assert checked.uncertainty is not None
    assert 0 < checked.uncertainty < certainty.NEEDS_LOOK
    assert checked.warnings == ()
    assert set(checked.seconds) - set(plain.seconds) == {"certainty"}
    assert checked.seconds["certainty"] > 0
    assert [one.data for one in checked.pictures] == [one.data for one in plain.pictures]
    assert checked.mask_png == plain.mask_png


def replace_certainty(value: bool) -> Recipe:
    return CHECKED.model_copy(update={"certainty": value})


def test_a_known_mask_is_looked_at_twice_and_what_is_known_of_it_not_at_all(
    pipeline: Pipeline, model: Model
) -> None:
    first = run(pipeline, model)
    again = run(pipeline, model, mask_png=first.mask_png)
    assert again.uncertainty == pytest.approx(first.uncertainty)
    assert "inference" not in again.seconds
    assert "certainty" in again.seconds
    nowhere = replace(model, weights=Path("/nowhere"))
    known = run(Pipeline(threads=1), nowhere, mask_png=first.mask_png, uncertainty=0.75)
    assert known.uncertainty == 0.75
    assert not {"load", "inference", "certainty"} & set(known.seconds)
    (warning,) = known.warnings
    assert (warning.code, warning.needs_look) == ("uncertain", True)
    assert "Uncertainty 0.75" in warning.message
    unasked = run(
        Pipeline(threads=1), nowhere, replace_certainty(False), mask_png=first.mask_png, uncertainty=1.0
    )
    assert (unasked.uncertainty, unasked.warnings) == (None, ())


def test_a_live_preview_does_not_wait_for_it(pipeline: Pipeline, model: Model) -> None:
    preview = run(pipeline, model, longest=300)
    assert preview.uncertainty is None
    assert "certainty" not in preview.seconds


# In jobs


@pytest.fixture(scope="module")
def made(running: Runtime) -> Iterator[Job]:
    """A finished, checked job: a clean photo, one covered with noise, and one that cannot be decoded."""
    service = running.service
    until(lambda: not service.readiness())
    photo = clear("astronaut.png")
    files = [
        ("clean.png", sample("astronaut.png")),
        ("cut.jpg", sample("rocket.jpg")[:30_000]),
        ("noise.png", encoded(Image.fromarray(in_noise(photo, photo[..., 0])), "PNG")),
    ]
    batch = service.new_batch()
    photos = [photo for name, data in files for photo in service.accept(batch, name, io.BytesIO(data)).photos]
    job = service.submit(batch, photos, CHECKED.model_copy(update={"models": ("u2netp", "u2net")}))
    until(lambda: service.job(job.id).state.final, within_s=180)
    yield service.job(job.id)
    service.delete(job.id)


def test_hidden_subjects_need_a_look_and_come_first(running: Runtime, made: Job) -> None:
    service = running.service
    clean, other, _, _, noisy, also = service.tasks(made.id)
    for task in (clean, other):
        assert task.uncertainty is not None
        assert (task.uncertainty < certainty.NEEDS_LOOK, task.warnings) == (True, ())
    for task in (noisy, also):
        assert task.uncertainty is not None
        assert task.uncertainty > certainty.NEEDS_LOOK
        assert "uncertain" in [warning.code for warning in task.warnings]
    looks = service.task_numbers(made.id, needs_look=True)
    assert looks == [4, 5]
    first = sorted((noisy, also), key=lambda task: task.uncertainty or 0, reverse=True)
    wanted = [task.number for task in first]
    assert service.uncertain_first(made.id, looks) == wanted
    assert service.uncertain_first(made.id, range(6)) == [*wanted, 0, 1, 2, 3]


def test_the_same_again_runs_no_model(running: Runtime, made: Job) -> None:
    service = running.service
    recipe = Recipe.of_fields({**made.recipe.model_dump(), "background": {"kind": "colour"}})
    again = service.process_again(made.id, recipe)
    until(lambda: service.job(again.id).state.final)
    before = [task.uncertainty for task in service.tasks(made.id)]
    tasks = service.tasks(again.id)
    assert [task.uncertainty for task in tasks] == before
    assert not {"load", "inference", "certainty"} & {step for task in tasks for step in task.seconds}
    assert service.job(again.id).counts.needs_look == 2
    service.delete(again.id)


def test_a_job_is_checked_afterwards_by_two_looks_and_once(running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    photos = service.accept(batch, "coffee.png", io.BytesIO(sample("coffee.png"))).photos
    job = service.submit(batch, photos, replace_certainty(False))
    until(lambda: service.job(job.id).state.final)
    checked = service.check_certainty(job.id)
    assert service.check_certainty(job.id).id == checked.id
    assert (checked.recipe, checked.title) == (CHECKED, "coffee.png · certainty")
    until(lambda: service.job(checked.id).state.final)
    (task,) = service.tasks(checked.id)
    assert task.uncertainty is not None
    assert task.mask_from_cache
    assert "certainty" in task.seconds
    assert "inference" not in task.seconds
    for one in (job, checked):
        service.delete(one.id)


def test_where_no_model_runs_there_is_nothing_to_check(running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    photos = service.accept(batch, "a.png", io.BytesIO(sample("coffee.png"))).photos
    job = service.submit(batch, photos, Recipe(background=Keep()))
    with pytest.raises(RecipeError) as refused:
        service.check_certainty(job.id)
    assert refused.value.problem.message.startswith("certainty: no model runs")
    service.delete(job.id)


def test_the_manifest_and_the_api_say_it(running: Runtime, made: Job) -> None:
    tasks = running.service.tasks(made.id)
    with zipfile.ZipFile(io.BytesIO(b"".join(running.service.archive(made.id).chunks))) as packed:
        rows = json.loads(packed.read("manifest.json"))["tasks"]
        lines = list(csv.DictReader(io.StringIO(packed.read("manifest.csv").decode("utf-8-sig"))))
    wanted = [None if task.uncertainty is None else round(task.uncertainty, 4) for task in tasks]
    assert [row["uncertainty"] for row in rows] == wanted
    assert [line["uncertainty"] for line in lines] == ["" if one is None else str(one) for one in wanted]
    assert rows[0]["certainty_s"] is None or rows[0]["certainty_s"] > 0
    with local(create_api(lambda: running.service)) as client:
        found = Api(client).job(made.id)
    assert found["recipe"]["certainty"] is True
    assert [task["uncertainty"] for task in found["tasks"]] == [task.uncertainty for task in tasks]
    assert [task["number"] for task in found["tasks"]] == list(range(6)), "pages of the API keep their order"


def test_compare_puts_uncertain_photos_first_and_times_leave_the_check_out(
    running: Runtime, made: Job
) -> None:
    found = running.service.comparison(made.id)
    places = [one.place for one in worst_first(found.photos)]
    assert places == [2, 0, 1]
    assert [one.uncertain for one in worst_first(found.photos)] == [True, False, False]
    agreed, apart, unsure = (replace(found.photos[0], place=place) for place in range(3))
    disagreement = found.photos[0].distance
    assert disagreement is not None
    apart = replace(apart, distance=replace(disagreement, disagreement=0.9))
    warned = replace(unsure.tasks[0], warnings=(Warn(code="uncertain", message=""),))
    unsure = replace(unsure, tasks=(warned, *unsure.tasks[1:]))
    assert [one.place for one in worst_first([agreed, apart, unsure])] == [2, 1, 0]
    for times in found.times:
        tasks = [task for photo in found.photos for task in photo.tasks if task.model == times.model]
        ran = [
            sum(task.seconds.values()) - task.seconds["certainty"]
            for task in tasks
            if task.state is TaskState.DONE and "inference" in task.seconds and "load" not in task.seconds
        ]
        assert (times.warm is None) == (not ran)
        if times.warm is not None:
            assert times.warm.mean == pytest.approx(sum(ran) / len(ran))
