"""What runs in a child: orders carried out onto disk, and every problem reported rather than raised."""

import hashlib
import io
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import pytest
import pyvips
from PIL import Image

from photoproc import child, child_files
from photoproc.child import Order, Report, Written
from photoproc.errors import Problem
from photoproc.imaging.decode import PhotoInfo
from photoproc.models.catalogue import CATALOGUE
from photoproc.parts import Face, Keep
from photoproc.recipe import Recipe
from tests.models.support import weights_file
from tests.pictures import encoded, picture, sample, srgb_profile

KEEP = Recipe(background=Keep())


def order(folder: Path, photo: bytes, recipe: Recipe = KEEP, **fields: Path | str | None) -> Order:
    """An order for a photo on disk, whose outbox is empty."""
    path, outbox = folder / "photo", folder / "outbox"
    path.write_bytes(photo)
    outbox.mkdir()
    model, weights, mask = fields.get("model"), fields.get("weights"), fields.get("mask")
    assert model is None or isinstance(model, str)
    assert weights is None or isinstance(weights, Path)
    assert mask is None or isinstance(mask, Path)
    return Order(
        photo=path,
        recipe_json=recipe.to_json(),
        model=None if model is None else CATALOGUE[model],
        weights=weights,
        mask=mask,
        outbox=outbox,
        max_pixels=50_000_000,
    )


def files_of(report: Report) -> list[Written]:
    """Every file a report tells of."""
    found = [] if report.mask is None else [report.mask]
    for made in report.pictures:
        found += [made.cutout, made.preview, made.before, *(file for _, file in made.extras)]
    return found


def check_files(report: Report, outbox: Path) -> None:
    """Every file told of is there as told, and no other one is."""
    assert {file.path for file in files_of(report)} == set(outbox.iterdir())
    for file in files_of(report):
        data = file.path.read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.byte_count)


@pytest.mark.models
def test_an_order_leaves_the_cutout_previews_and_mask_on_disk(model_dir: Path, tmp_path: Path) -> None:
    recipe = Recipe(models=("u2netp",))
    asked = order(
        tmp_path, sample("cat.png"), recipe, model="u2netp", weights=weights_file(model_dir, "u2netp")
    )
    report = child.run(asked)
    assert report.problem is None
    check_files(report, asked.outbox)
    assert len(files_of(report)) == 4
    (made,) = report.pictures
    with Image.open(io.BytesIO(made.cutout.path.read_bytes())) as cutout:
        assert (cutout.format, cutout.mode, cutout.size) == ("PNG", "RGBA", made.size_wh)
    assert report.provider == "CPUExecutionProvider"
    assert report.seconds is not None
    assert report.seconds["inference"] > 0
    assert report.threads == 1
    assert report.peak_bytes is not None
    assert report.peak_bytes > 100_000_000
    assert len(pickle.dumps(report)) < 4096, "it must fit a pipe in one piece"


@pytest.mark.models
def test_a_mask_that_is_gone_meanwhile_is_made_again(model_dir: Path, tmp_path: Path) -> None:
    recipe = Recipe(models=("u2netp",))
    weights = weights_file(model_dir, "u2netp")
    asked = order(
        tmp_path, sample("cat.png"), recipe, model="u2netp", weights=weights, mask=tmp_path / "gone"
    )
    assert child.run(asked).mask is not None


def test_keeping_the_background_leaves_no_mask(tmp_path: Path) -> None:
    asked = order(tmp_path, encoded(picture(), "PNG"))
    report = child.run(asked)
    assert report.mask is None
    assert report.threads is None
    assert report.peak_bytes
    assert len(files_of(report)) == 3
    check_files(report, asked.outbox)


@pytest.mark.parametrize(
    ("photo", "recipe", "model", "code", "steps"),
    [
        (b"no picture", KEEP, None, "not_a_picture", ["decode"]),
        (encoded(picture(300, 300), "JPEG")[:-5000], KEEP, None, "photo_truncated", ["decode"]),
        (
            encoded(picture(), "PNG"),
            Recipe(background=Keep(), framing=Face(no_face="skip")),
            None,
            "no_face",
            ["decode", "framing"],
        ),
        (
            encoded(picture(), "PNG"),
            Recipe(models=("silueta",)),
            "silueta",
            "weights_unreadable",
            ["decode", "load"],
        ),
    ],
)
def test_a_problem_is_reported_with_the_time_of_the_steps_so_far_and_leaves_no_files(
    photo: bytes, recipe: Recipe, model: str | None, code: str, steps: list[str], tmp_path: Path
) -> None:
    asked = order(tmp_path, photo, recipe, model=model, weights=tmp_path / "no weights")
    report = child.run(asked)
    assert report.problem is not None
    assert report.problem.code == code
    assert report.seconds is not None
    assert list(report.seconds) == steps
    assert all(seconds > 0 for seconds in report.seconds.values())
    assert files_of(report) == []
    check_files(report, asked.outbox)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        cv2.error("OpenCV(4.14.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
        pyvips.Error("unable to call pngsave_buffer", "out of memory --- size == 300MB"),
    ],
    ids=lambda error: type(error).__module__,
)
def test_running_out_of_memory_is_a_problem_with_advice(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pipeline:
        def prepare(self, *_: object, seconds: dict[str, float], **__: object) -> None:
            seconds["decode"] = 1.5
            raise error

        def find_masks(self, works: list[object]) -> None:
            assert not works

    kept = cache(Pipeline)
    monkeypatch.setattr(child, "_pipeline", kept)
    report = child.run(order(tmp_path, b""))
    assert report.problem == child.out_of_memory()
    assert report.seconds == {"decode": 1.5}
    assert "PHOTOPROC_MAX_CONCURRENT" in report.problem.advice
    assert kept.cache_info().currsize == 0  # the next photo has the room that the models took


def test_an_error_nobody_knows_is_raised_and_not_taken_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pipeline:
        def prepare(self, *_: object, **__: object) -> None:
            raise cv2.error("OpenCV(4.14.0) resize.cpp:1: error: (-215:Assertion failed)")

    monkeypatch.setattr(child, "_pipeline", Pipeline)
    with pytest.raises(cv2.error):
        child.run(order(tmp_path, b""))


def test_reading_a_header_answers_with_the_photo_or_the_problem(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encoded(picture(20, 10), "PNG"))
    assert child_files.inspect(path, "a.png", 1000) == PhotoInfo(format="PNG", size_wh=(20, 10), warnings=())
    problem = child_files.inspect(path, "a.png", 100)
    assert isinstance(problem, Problem)
    assert problem.code == "photo_too_large"


def test_a_thumbnail_has_the_photos_profile(tmp_path: Path) -> None:
    photo, target = tmp_path / "photo", tmp_path / "small.webp"
    profile = srgb_profile()  # which has the second it was made in
    photo.write_bytes(encoded(picture(500, 300), "JPEG", icc_profile=profile))
    assert child_files.thumbnail(photo, target, 240, 1_000_000) is None
    with Image.open(target) as small:
        assert small.info["icc_profile"] == profile


def test_a_thumbnail_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    photo, target = tmp_path / "photo", tmp_path / "small.webp"
    photo.write_bytes(encoded(picture(500, 300), "JPEG"))
    assert child_files.thumbnail(photo, target, 240, 1_000_000) is None
    with Image.open(target) as small:
        assert max(small.size) == 240
    photo.write_bytes(b"no picture")
    problem = child_files.thumbnail(photo, tmp_path / "other.webp", 240, 1_000_000)
    assert problem is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo", "small.webp"]


def test_a_thumbnail_of_a_photo_that_was_dropped_meanwhile_is_not_found(tmp_path: Path) -> None:
    gone = child_files.thumbnail(tmp_path / "photo", tmp_path / "small.webp", 240, 1_000_000)
    photo = tmp_path / "photo"
    photo.write_bytes(encoded(picture()))
    homeless = child_files.thumbnail(photo, tmp_path / "dropped" / "small.webp", 240, 1_000_000)
    assert [problem and problem.code for problem in (gone, homeless)] == ["not_found", "not_found"]


@pytest.mark.models
@pytest.mark.parametrize("limited", [False, True])
def test_a_lone_photo_has_all_cores_unless_that_would_need_more_memory_than_a_child_may_use(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, limited: bool
) -> None:
    monkeypatch.setattr("photoproc.machine.cores", lambda: 2)
    monkeypatch.setattr(child._Own, "is_limited", limited)
    weights = weights_file(model_dir, "u2netp")
    asked = order(tmp_path, sample("cat.png"), Recipe(models=("u2netp",)), model="u2netp", weights=weights)
    assert child.run(replace(asked, alone=True)).threads == (1 if limited else 2)
    assert asked.model is not None
    large = replace(asked.model, download_mb=700)  # which is not loaded twice
    assert child.run(replace(asked, model=large, alone=True)).threads == 1
