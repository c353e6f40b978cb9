"""What is kept beyond a job: saved recipes, background pictures, and recipes tried on a photo."""

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photoproc import child, library, presets
from photoproc.blobs import Blobs
from photoproc.bootstrap import Runtime
from photoproc.child import Order, Report
from photoproc.engine import Engine
from photoproc.errors import InputError, PhotoprocError, Problem
from photoproc.jobs import Counts, Job, TaskState
from photoproc.library import Library, Tried
from photoproc.models.catalogue import CATALOGUE, VITMATTE
from photoproc.parts import Blur, Colour, Edges, Face, Keep, Output, Picture, Subject
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from photoproc.store import Store
from tests.fakes import FakeEngine, FakeWeights, carry_out
from tests.pictures import encoded, sample
from tests.test_service import Desk, code_of
from tests.waiting import at_once, until

SMALL = Recipe(models=("u2netp",))
GREEN = encoded(Image.new("RGB", (60, 40), (0, 200, 0)), "PNG")


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    made = Desk(settings)
    yield made
    made.store.close()


# Saved recipes

ONE = Recipe(models=("u2net",), background=Colour(colour="#123456"))
OTHER = Recipe(models=("u2netp",), framing=Face(which="each"), output=Output(format="webp"))


def test_a_saved_recipe_is_kept_for_its_owner_alone(desk: Desk) -> None:
    service = desk.service
    assert service.save_recipe("  Shop ", ONE, "anna") == "Shop"
    assert service.save_recipe("ärzte", OTHER, "anna") == "ärzte"
    assert service.save_recipe("Shop", OTHER) == "Shop"
    assert list(service.recipes("anna").items()) == [("Shop", ONE), ("ärzte", OTHER)]
    assert service.recipes() == {"Shop": OTHER}
    assert service.recipes("bert") == {}
    assert service.recipe("Shop", "anna") == ONE
    assert code_of(lambda: service.recipe("Shop", "bert")) == "not_found"
    service.save_recipe("Shop", OTHER, "anna")  # in place of the other
    assert service.recipe("Shop", "anna") == OTHER
    service.forget_recipe("Shop", "anna")
    assert list(service.recipes("anna")) == ["ärzte"]
    assert service.recipes() == {"Shop": OTHER}
    for absent in ("Shop", "none such"):
        assert code_of(partial(service.forget_recipe, absent, "anna")) == "not_found"


def test_saved_recipes_survive_the_server(desk: Desk) -> None:
    desk.service.save_recipe("Shop", OTHER, "anna")
    desk.store.close()
    again = Desk(desk.settings)
    assert again.service.recipes("anna") == {"Shop": OTHER}
    again.store.close()


def test_a_recipe_for_a_model_that_is_not_is_not_saved(desk: Desk) -> None:
    assert code_of(lambda: desk.service.save_recipe("Shop", Recipe(models=("u3net",)))) == "model_unknown"
    assert desk.service.recipes() == {}


@pytest.mark.parametrize("name", ["", "   ", "a/b", "/", "{", '{"models": ["u2net"]}', *presets.BUILT_IN])
def test_names_that_would_mean_something_else_are_refused(desk: Desk, name: str) -> None:
    assert code_of(lambda: desk.service.save_recipe(name, ONE)) == "recipe_name"
    assert desk.service.recipes() == {}


@pytest.mark.parametrize(
    ("given", "shown"), [("a\u202eb\n", "a�b"), ("x" * 500, None), ("two  words", "two  words")]
)
def test_a_name_is_kept_as_it_can_be_shown(desk: Desk, given: str, shown: str | None) -> None:
    name = desk.service.save_recipe(given, ONE)
    assert name == (shown or name)
    assert len(name) <= 80
    assert desk.service.recipe(name) == ONE


def test_there_is_an_end_to_saving_but_not_to_changing(desk: Desk) -> None:
    for number in range(200):
        desk.service.save_recipe(f"recipe {number}", ONE, "anna")
    assert code_of(lambda: desk.service.save_recipe("one more", ONE, "anna")) == "too_many_recipes"
    desk.service.save_recipe("recipe 7", OTHER, "anna")
    desk.service.save_recipe("one more", ONE, "bert")
    desk.service.forget_recipe("recipe 8", "anna")
    desk.service.save_recipe("one more", ONE, "anna")
    assert len(desk.service.recipes("anna")) == 200


def test_recipes_saved_at_once_are_all_kept(desk: Desk) -> None:
    def saving(part: int) -> Callable[[], None]:
        def save() -> None:
            for number in range(10):
                desk.service.save_recipe(f"{part}-{number}", ONE)
            desk.store.close()

        return save

    at_once(*(saving(part) for part in range(4)))
    assert len(desk.service.recipes()) == 40


def test_the_recipes_of_the_program_are_for_the_default_model(desk: Desk) -> None:
    for name in presets.BUILT_IN:
        assert desk.service.recipe(name).models == (desk.settings.default_model,)
        assert desk.service.recipe(name, "anna") == desk.service.recipe(name)
    assert code_of(lambda: desk.service.forget_recipe("Passport")) == "not_found"


# Background pictures


def kept_background(desk: Desk, name: str = "wall.png") -> str:
    """A background picture that was uploaded."""
    accepted = desk.upload(name)
    return desk.service.keep_background(accepted.batch, accepted.photos[0])


def on(picture: str) -> Recipe:
    return Recipe(models=("u2net",), background=Picture(picture=picture))


def backgrounds_of(desk: Desk, job: Job) -> list[Path | None]:
    """The background pictures that children are given for a job, all of them there."""
    given: list[Path | None] = []

    def answer(order: Order) -> Report:
        assert order.background is not None
        assert order.background.read_bytes()[:4] == b"\x89PNG"
        given.append(order.background)
        return carry_out(order)

    desk.run(answer)
    assert desk.service.job(job.id).counts == Counts(done=1)
    return given


def test_a_background_picture_is_kept_once_and_forgotten_wholly(desk: Desk) -> None:
    before = desk.files()
    wall, tiles = kept_background(desk), kept_background(desk, "tiles.png")
    assert kept_background(desk) == wall
    assert sorted(desk.service.backgrounds()) == sorted([wall, tiles])
    assert desk.service.background(wall).name == wall
    assert not any(name.startswith("staging") for name in desk.files())
    desk.service.forget_background(wall)
    assert desk.service.backgrounds() == [tiles]
    for action in (lambda: desk.service.background(wall), lambda: desk.service.forget_background(wall)):
        assert code_of(action) == "not_found"
    desk.service.forget_background(tiles)
    assert desk.files() == before


def test_there_is_an_end_to_backgrounds(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_MAX_BACKGROUNDS", 2)
    kept_background(desk)
    tiles = kept_background(desk, "tiles.png")
    before = desk.files()
    assert code_of(lambda: kept_background(desk, "lawn.png")) == "too_many_backgrounds"
    assert desk.files() == before
    desk.service.forget_background(tiles)
    kept_background(desk, "lawn.png")


def test_backgrounds_survive_the_start_of_a_server(desk: Desk) -> None:
    wall = kept_background(desk)
    data = desk.service.background(wall).read_bytes()
    desk.blobs.sweep(set())
    assert desk.service.backgrounds() == [wall]
    assert desk.service.background(wall).read_bytes() == data


def test_a_job_keeps_its_background_when_the_library_forgets_it(desk: Desk) -> None:
    wall = kept_background(desk)
    job = desk.submit("a.png", recipe=on(wall))
    desk.service.forget_background(wall)
    assert backgrounds_of(desk, job) == [desk.blobs.photo(job.id, wall)]
    desk.blobs.sweep({job.id})
    assert desk.blobs.photo(job.id, wall).is_file()


def test_photos_are_processed_again_on_a_background_that_only_their_job_still_has(desk: Desk) -> None:
    wall = kept_background(desk)
    first = desk.submit("a.png", recipe=on(wall))
    desk.run()
    desk.service.forget_background(wall)
    second = desk.service.process_again(first.id, on(wall))
    desk.service.delete(first.id)
    assert backgrounds_of(desk, second) == [desk.blobs.photo(second.id, wall)]


def test_with_its_last_job_a_forgotten_background_is_gone(desk: Desk) -> None:
    before = desk.files()
    wall = kept_background(desk)
    job = desk.submit("a.png", recipe=on(wall))
    again = desk.service.process_again(job.id, on(wall))
    desk.run()
    desk.service.forget_background(wall)
    desk.service.delete(job.id)
    assert any(wall in name for name in desk.files())
    desk.service.delete(again.id)
    assert desk.files() == before


def test_deleting_a_job_leaves_the_library_its_picture(desk: Desk) -> None:
    wall = kept_background(desk)
    job = desk.submit("a.png", recipe=on(wall))
    desk.run()
    desk.service.delete(job.id)
    assert desk.service.background(wall).read_bytes()[:4] == b"\x89PNG"


def test_a_photo_may_be_its_own_background(desk: Desk) -> None:
    wall = kept_background(desk, "a.png")
    job = desk.submit("a.png", recipe=on(wall))
    assert job.counts == Counts(queued=1)
    desk.service.forget_background(wall)
    assert backgrounds_of(desk, job) == [desk.blobs.photo(job.id, wall)]


def test_a_background_that_is_not_there_is_refused_and_leaves_no_job(desk: Desk) -> None:
    accepted = desk.upload("a.png")
    submit = partial(desk.service.submit, accepted.batch, accepted.photos, on("0" * 64))
    assert code_of(submit) == "background_missing"
    with pytest.raises(InputError, match=r"background\.picture"):
        submit()
    assert desk.service.jobs() == []
    done = desk.submit("b.png")
    assert code_of(lambda: desk.service.process_again(done.id, on("0" * 64))) == "background_missing"


# Trying, with what children answer made up


class Patient(FakeEngine):
    """An engine whose answers are waited for, as of a real one."""

    def result(self, future: "Future[Any]") -> Any:
        return future.result(timeout=60)


class Shelf:
    """A library over a fresh folder, and a photo."""

    def __init__(self, settings: Settings) -> None:
        self.engine, self.quick = Patient(), Patient()
        self.weights = FakeWeights("u2net")
        self.store = Store(settings.data_dir / "store")
        self.blobs = Blobs(settings.data_dir, min_free_bytes=0)
        self.library = Library(
            store=self.store,
            blobs=self.blobs,
            engine=self.engine,
            previewer=self.quick,
            weights=self.weights,
            settings=settings,
        )
        self.photo = settings.data_dir / "photo"
        self.photo.write_bytes(b"a photo")

    def ask(self, recipe: Recipe, who: str = "anna") -> Tried:
        return self.library.try_recipe(self.photo, "a" * 64, recipe, who=who)

    def held(self) -> list[Order]:
        """What was asked of children and is not answered yet."""
        calls = [*self.engine.calls, *self.quick.calls]
        return [call.args[0] for call in calls if call.function is child.run]

    def answer(self, instead: Callable[[Order], object] = carry_out) -> None:
        for engine in (self.engine, self.quick):
            engine.run_all(lambda *args: instead(*args) if args else None)


@pytest.fixture
def shelf(settings: Settings) -> Iterator[Shelf]:
    made = Shelf(settings)
    yield made
    made.store.close()


def looks(count: int) -> list[Recipe]:
    return [Recipe(background=Blur(radius=0.01 * (n + 1)), models=("u2net",)) for n in range(count)]


def test_of_those_who_wait_only_the_last_is_answered(shelf: Shelf) -> None:
    first, second, third = looks(3)
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(shelf.ask, first)
        until(lambda: len(shelf.held()) == 1)
        overtaken = pool.submit(shelf.ask, second)
        until(lambda: shelf.library._turns._waiting["anna"] == 1)
        last = pool.submit(shelf.ask, third)
        with pytest.raises(PhotoprocError, match="superseded"):
            overtaken.result(60)
        assert len(shelf.held()) == 1, "one at a time"
        shelf.answer()
        assert running.result(60).after.startswith(b"preview of")
        until(lambda: len(shelf.held()) == 1)
        assert Recipe.from_json(shelf.held()[0].recipe_json) == third
        shelf.answer()
        assert last.result(60).cutouts == 1


def test_who_asks_does_not_wait_for_others(shelf: Shelf) -> None:
    one, other = looks(2)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(shelf.ask, one, "anna"), pool.submit(shelf.ask, other, "bert")]
        until(lambda: len(shelf.held()) == 2)
        shelf.answer()
        assert [one.result(60).cutouts for one in asked] == [1, 1]


def test_the_same_picture_is_made_once_for_all_who_ask_at_once(shelf: Shelf) -> None:
    (look,) = looks(1)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(shelf.ask, look) for _ in range(3)]
        until(lambda: len(shelf.held()) == 1)
        shelf.answer()
        made = [one.result(60) for one in asked]
    assert made[0] == made[1] == made[2]
    assert shelf.held() == []
    assert shelf.ask(look) == made[0]


def test_a_look_is_made_anew_where_its_custom_model_was_replaced(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    (look,) = looks(1)
    spec = CATALOGUE["u2net"]
    for checksum in (spec.checksum, "sha256:" + "f" * 64):
        now = replace(spec, checksum=checksum)
        monkeypatch.setattr(shelf.weights, "specs", lambda now=now: {"u2net": now})
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(shelf.ask, look)
            until(lambda: len(shelf.held()) == 1)
            assert shelf.held()[0].model == now
            assert shelf.held()[0].mask is None
            shelf.answer()
            asked.result(60)


def test_nothing_is_left_of_those_who_asked(shelf: Shelf) -> None:
    turns = shelf.library._turns
    one, other = looks(2)
    for answer in (carry_out, lambda _: Report(problem=Problem(code="not_a_picture", message="No."))):
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(shelf.ask, look, "bert") for look in (one, other, one)]
            done = threading.Event()

            def keep_answering(answer: Any = answer, done: threading.Event = done) -> None:
                while not done.wait(0.01):
                    shelf.answer(answer)

            answering = pool.submit(keep_answering)
            for future in asked:
                future.exception(60)
            done.set()
            answering.result(60)
        shelf.library._tried.clear()
    assert (turns._busy, turns._last, dict(turns._waiting)) == (set(), {}, {})
    assert list((shelf.photo.parent / "tmp").iterdir()) == []


def test_the_pictures_last_tried_are_kept_and_not_more(shelf: Shelf) -> None:
    for look in looks(19):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(shelf.ask, look)
            until(lambda: len(shelf.held()) == 1)
            shelf.answer()
            asked.result(60)
    assert len(shelf.library._tried) == 16
    assert shelf.ask(looks(19)[-1]).cutouts == 1


def test_without_weights_a_look_is_refused_at_once(shelf: Shelf) -> None:
    assert code_of(lambda: shelf.ask(SMALL)) == "weights_missing"
    assert code_of(lambda: shelf.ask(on("0" * 64))) == "background_missing"
    fine = Recipe(models=("u2net",), edges=Edges(method="vitmatte"))
    assert code_of(lambda: shelf.ask(fine)) == "weights_missing"
    assert VITMATTE.name in shelf.weights.requested
    assert shelf.held() == []


def test_what_a_child_says_of_the_photo_is_passed_on_and_not_kept(shelf: Shelf) -> None:
    (look,) = looks(1)
    problem = Problem(code="photo_truncated", message="It is cut off.", advice="Export it again.")
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(shelf.ask, look)
            until(lambda: len(shelf.held()) == 1)
            shelf.answer(lambda _: Report(problem=problem))
            error = asked.exception(60)
        assert isinstance(error, PhotoprocError)
        assert error.problem == problem


# Trying, with real children


@pytest.fixture
def orders(running: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """Every order that children are given from now on."""
    seen: list[Order] = []
    service = running.service

    def watch(engine: Engine) -> None:
        submit = engine.submit

        def submitting(function: Callable[..., Any], *args: Any) -> Any:
            if function is child.run:
                seen.append(args[0])
            return submit(function, *args)

        monkeypatch.setattr(engine, "submit", submitting)

    watch(service._children)
    watch(service._previewer)
    until(lambda: not service.readiness())
    return seen


def staged(running: Runtime, data: bytes, name: str = "a.png") -> tuple[str, str]:
    """A photo of a fresh upload."""
    service = running.service
    batch = service.new_batch()
    (photo,) = service.accept(batch, name, io.BytesIO(data)).photos
    return batch, photo.sha256


def unseen(name: str) -> bytes:
    """A sample photo in a file that no other test has: of this one no mask is kept."""
    with Image.open(io.BytesIO(sample(name))) as image:
        return encoded(image.convert("RGB"), "TIFF")


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        return np.asarray(image)


@pytest.mark.models
def test_a_second_look_uses_the_mask_of_the_first(running: Runtime, orders: list[Order]) -> None:
    service = running.service
    batch, sha256 = staged(running, unseen("cat.png"))
    first = service.try_on_upload(batch, sha256, SMALL)
    blue = Recipe(models=("u2netp",), background=Colour(colour="#0000ff"), framing=Subject())
    second = service.try_on_upload(batch, sha256, blue)
    assert [order.mask is not None for order in orders] == [False, True]
    assert pixels(first.after).shape == (300, 451, 4)
    assert pixels(first.before).shape == (300, 451, 3)
    looked = pixels(second.after)
    assert looked.shape[2] == 3
    assert np.abs(looked[3, 3].astype(int) - (0, 0, 255)).max() < 12
    assert pixels(second.before).shape[:2] == looked.shape[:2]
    service.drop_batch(batch)
    assert not list((running.settings.data_dir / "masks").rglob(f"{sha256}/*"))


@pytest.mark.models
def test_the_job_after_a_look_runs_no_model(running: Runtime, orders: list[Order]) -> None:
    service = running.service
    batch = service.new_batch()
    accepted = service.accept(batch, "a.png", io.BytesIO(unseen("coffee.png")))
    service.try_on_upload(batch, accepted.photos[0].sha256, SMALL)
    job = service.submit(batch, accepted.photos, SMALL)
    until(lambda: service.job(job.id).state.final)
    (task,) = service.tasks(job.id)
    assert (task.state, task.mask_from_cache) == (TaskState.DONE, True)
    tried = service.try_on_job(job.id, 0, Recipe(background=Keep()))
    assert pixels(tried.after).shape == pixels(tried.before).shape
    assert [order.mask is not None for order in orders[:2]] == [False, True]
    service.delete(job.id)


@pytest.mark.models
def test_a_look_at_a_job_finds_the_background_that_only_the_job_still_has(running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    (wall,) = service.accept(batch, "wall.png", io.BytesIO(GREEN)).photos
    picture = service.keep_background(batch, wall)
    batch = service.new_batch()
    accepted = service.accept(batch, "a.png", io.BytesIO(sample("coffee.png")))
    recipe = Recipe(models=("u2netp",), background=Picture(picture=picture))
    job = service.submit(batch, accepted.photos, recipe)
    service.forget_background(picture)
    until(lambda: service.job(job.id).state.final)
    tried = pixels(service.try_on_job(job.id, 0, recipe).after)
    assert np.abs(tried[2, 2].astype(int) - (0, 200, 0)).max() < 12
    path, _ = service.cutout(service.task(job.id, 0))
    with Image.open(path) as cutout:
        assert cutout.getpixel((2, 2)) == (0, 200, 0)
    other, sha256 = staged(running, sample("coffee.png"))
    assert code_of(lambda: service.try_on_upload(other, sha256, recipe)) == "background_missing"
    service.drop_batch(other)
    service.delete(job.id)


@pytest.mark.models
def test_a_look_says_how_many_cutouts_there_will_be_and_what_was_not_as_asked(running: Runtime) -> None:
    service = running.service
    batch, sha256 = staged(running, sample("coffee.png"))
    tried = service.try_on_upload(batch, sha256, Recipe(background=Keep(), framing=Face(which="each")))
    assert tried.cutouts == 1
    assert [warning.code for warning in tried.warnings] == ["no_face"]
    skipped = Recipe(background=Keep(), framing=Face(no_face="skip"))
    assert code_of(lambda: service.try_on_upload(batch, sha256, skipped)) == "no_face"
    service.drop_batch(batch)


def test_a_broken_photo_is_said_in_a_look(running: Runtime) -> None:
    service = running.service
    batch, sha256 = staged(running, sample("rocket.jpg")[:20_000], "a.jpg")
    for recipe in (Recipe(background=Keep()), SMALL):
        assert code_of(partial(service.try_on_upload, batch, sha256, recipe)) == "photo_truncated"
    service.drop_batch(batch)
    assert code_of(lambda: service.try_on_upload(batch, sha256, Recipe(background=Keep()))) == "not_found"
