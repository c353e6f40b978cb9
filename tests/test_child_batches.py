"""Several orders in one call of a child that has a card: one run of the model, each photo by itself."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from photoproc import child
from photoproc.child import Order, Report
from photoproc.errors import PhotoError
from photoproc.models.providers import Choice
from photoproc.parts import Face
from photoproc.recipe import Recipe
from photoproc.work import Work
from tests.models.support import weights_file
from tests.pictures import sample
from tests.pretended import CPU, CUDA, Pretended, _Session
from tests.test_child import check_files, order

SMALL = Recipe(models=("u2netp",))
PHOTOS = ("cat.png", "astronaut.png", "coffee.png", "rocket.jpg")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pretended]:
    """A child whose onnxruntime has CUDA."""
    made = Pretended(onnxruntime.InferenceSession, CUDA, CPU)
    monkeypatch.setattr(onnxruntime, "InferenceSession", made)
    monkeypatch.setattr(onnxruntime, "get_available_providers", made.get_available_providers)
    monkeypatch.setattr(child._Own, "graphs", tmp_path / "graphs")
    child._pipeline.cache_clear()
    yield made
    child._pipeline.cache_clear()


def orders(folder: Path, model_dir: Path, photos: Sequence[bytes], recipe: Recipe = SMALL) -> list[Order]:
    weights = weights_file(model_dir, "u2netp")
    made = []
    for number, photo in enumerate(photos):
        (folder / str(number)).mkdir(parents=True)
        made.append(order(folder / str(number), photo, recipe, model="u2netp", weights=weights))
    return made


def cutouts(reports: Sequence[Report]) -> list[str]:
    """The digests of what was made."""
    assert all(report.problem is None for report in reports), [report.problem for report in reports]
    return [report.pictures[0].cutout.sha256 for report in reports]


@pytest.mark.models
def test_several_orders_make_what_each_makes_alone_in_one_run_of_the_model(
    model_dir: Path, tmp_path: Path, card: Pretended
) -> None:
    photos = [sample(name) for name in PHOTOS]
    alone = [child.run(one) for one in orders(tmp_path / "alone", model_dir, photos)]
    assert {report.batch for report in alone} == {1}
    card.runs.clear()
    asked = orders(tmp_path / "together", model_dir, photos)
    reports = child.run_many(asked)
    assert card.runs[-1] == 4
    assert cutouts(reports) == cutouts(alone)
    for one, report in zip(asked, reports, strict=True):
        check_files(report, one.outbox)
        assert (report.batch, report.provider, report.limit) == (4, CUDA, None)
    shares = [report.seconds["inference"] for report in reports if report.seconds is not None]
    assert len(shares) == 4
    assert ["load" in (report.seconds or {}) for report in reports] == [True, False, False, False]


@pytest.mark.models
def test_on_the_cpu_several_orders_are_run_one_by_one(model_dir: Path, tmp_path: Path) -> None:
    reports = child.run_many(orders(tmp_path, model_dir, [sample(name) for name in PHOTOS[:2]]))
    assert len(cutouts(reports)) == 2
    assert {(report.batch, report.provider) for report in reports} == {(1, CPU)}


@pytest.mark.models
def test_a_damaged_photo_and_one_that_is_gone_cost_themselves_alone(
    model_dir: Path, tmp_path: Path, card: Pretended
) -> None:
    cat = sample("cat.png")
    asked = orders(tmp_path, model_dir, [cat, cat[: len(cat) // 2], sample("coffee.png"), cat])
    asked[3].photo.unlink()
    reports = child.run_many(asked)
    assert [report.problem and report.problem.code for report in reports] == [
        *(None, "photo_truncated", None, "not_found")
    ]
    assert card.runs[-1] == 2
    assert [report.batch for report in reports if report.problem is None] == [2, 2]


@pytest.mark.models
def test_masks_that_are_known_and_faces_that_are_not_found_need_no_run(
    model_dir: Path, tmp_path: Path, card: Pretended
) -> None:
    photos = [sample(name) for name in PHOTOS[:3]]
    first = child.run_many(orders(tmp_path / "first", model_dir, photos))
    again = orders(tmp_path / "again", model_dir, photos)
    assert first[0].mask is not None
    again[0] = replace(again[0], mask=first[0].mask.path)
    faces = Recipe(models=("u2netp",), framing=Face(no_face="skip"))
    again[2] = replace(again[2], recipe_json=faces.to_json())
    card.runs.clear()
    reports = child.run_many(again)
    assert card.runs == [1]
    assert reports[2].problem is not None
    assert reports[2].problem.code == "no_face"
    assert cutouts(reports[:2]) == cutouts(first[:2])


@pytest.mark.models
def test_a_card_without_room_for_all_runs_them_in_halves(
    model_dir: Path, tmp_path: Path, card: Pretended
) -> None:
    photos = [sample(name) for name in PHOTOS]
    child.run_many(orders(tmp_path / "first", model_dir, photos[:2]))
    card.room = 2
    card.runs.clear()
    reports = child.run_many(orders(tmp_path / "then", model_dir, photos))
    assert card.runs == [4, 2, 2]
    assert [(report.batch, report.limit and report.limit.photos) for report in reports] == [(2, 2)] * 4
    assert len(cutouts(reports)) == 4
    card.room = 0
    failed = child.run_many(orders(tmp_path / "last", model_dir, photos[:2]))
    assert [report.problem for report in failed] == [child.out_of_memory()] * 2


@pytest.mark.models
def test_a_photo_with_which_the_card_gives_up_costs_itself_alone(
    model_dir: Path, tmp_path: Path, card: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child._Own, "choice", Choice(name="cuda", required=True))
    photos = [sample(name) for name in PHOTOS]
    child.run_many(orders(tmp_path / "first", model_dir, photos[:2]))
    real, alone = _Session.run, list[int]()

    def run(session: _Session, outputs: Any, given: Mapping[str, Any], *more: Any) -> Any:
        if len(next(iter(given.values()))) == 1:
            alone.append(1)
        card.gives_up = len(alone) == 3
        return real(session, outputs, given, *more)

    card.room = 1
    monkeypatch.setattr(_Session, "run", run)
    reports = child.run_many(orders(tmp_path / "then", model_dir, photos))
    assert len(cutouts(reports)) == 4
    assert [report.provider for report in reports] == [CUDA] * 4


@pytest.mark.models
def test_what_is_tried_without_the_others_has_their_memory(
    model_dir: Path, tmp_path: Path, card: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [sample(name) for name in PHOTOS]
    child.run_many(orders(tmp_path / "first", model_dir, photos[:2]))
    card.room = 0
    real, held = child._carried_out, list[int]()

    def carried_out(group: list[Order], threads: int) -> list[Report]:
        held.append(sum(isinstance(one, Work) for one in gc.get_objects()))
        return real(group, threads)

    monkeypatch.setattr(child, "_carried_out", carried_out)
    child.run_many(orders(tmp_path / "then", model_dir, photos))
    assert held == [0] * 5


def test_a_photo_that_finds_no_room_beside_others_is_tried_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bytes] = []

    class Pipeline:
        def prepare(self, photo: bytes, *_: object, seconds: dict[str, float], **__: object) -> None:
            held.append(photo)
            if photo == b"large" and len(held) > 1:
                raise MemoryError
            raise PhotoError("photo_broken", "It is damaged.", "")

        def find_masks(self, works: list[object]) -> None:
            held.clear()

    monkeypatch.setattr(child, "_pipeline", cache(Pipeline))
    made = []
    for number, photo in enumerate((b"small", b"large")):
        (tmp_path / str(number)).mkdir()
        made.append(order(tmp_path / str(number), photo))
    codes = [report.problem and report.problem.code for report in child.run_many(made)]
    assert codes == ["photo_broken", "photo_broken"]


def test_photos_that_are_held_together_have_64_megapixels_at_the_most(tmp_path: Path) -> None:
    one = order(tmp_path, b"")
    pixels = [30_000_000, 30_000_000, 5_000_000, 50_000_000, 50_000_000, 1, 2]
    groups = child._held_together([replace(one, pixels=count) for count in pixels])
    assert [[order.pixels for order in group] for group in groups] == [
        *([30_000_000, 30_000_000], [5_000_000, 50_000_000], [50_000_000, 1, 2])
    ]
