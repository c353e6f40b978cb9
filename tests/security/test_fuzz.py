"""Damaged bytes into all that reads what people send: each is read or refused, and nothing else happens.

A second each in CI, ten minutes each with PHOTOPROC_TEST_LONG=1.
"""

import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from photoproc import presets
from photoproc.blobs import Blobs
from photoproc.errors import PhotoError, RecipeError
from photoproc.imaging import decode
from photoproc.intake import Intake
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.fakes import FakeEngine
from tests.long import LONG
from tests.pictures import encoded, exif_orientation, picture, srgb_profile
from tests.security.fuzzing import Make, Read, fuzz

SECONDS = 600.0 if LONG else 1.0
MAX_PIXELS = 250_000
KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF")


def pictures(folder: Path) -> tuple[Read, Sequence[bytes]]:
    """The decoder, as a child enters it: header, thumbnail, pixels."""
    sound = [encoded(picture(40, 30, seed=number), kind) for number, kind in enumerate(KINDS)]
    sound += [
        encoded(picture(40, 30), "JPEG", exif=exif_orientation(6).tobytes(), icc_profile=srgb_profile()),
        encoded(picture(40, 30, "CMYK"), "JPEG"),
        encoded(picture(40, 30, "I;16"), "PNG"),
        encoded(picture(40, 30, "I;16"), "TIFF", compression="tiff_lzw"),
        encoded(picture(40, 30).quantize(16), "PNG", transparency=bytes([0, 128, 255])),
        encoded(picture(40, 30), "GIF", save_all=True, append_images=[picture(40, 30, seed=1)]),
    ]
    path = folder / "photo"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(PhotoError):
            info = decode.inspect(path, "photo.jpg", max_pixels=MAX_PIXELS)
            assert info.size_wh[0] * info.size_wh[1] <= MAX_PIXELS
        with suppress(PhotoError):
            decode.thumbnail(data, longest=24, max_pixels=MAX_PIXELS)
        with suppress(PhotoError):
            pixels = decode.decode(data, max_pixels=MAX_PIXELS, deep=True)
            assert 0 < pixels.rgb.shape[0] * pixels.rgb.shape[1] <= MAX_PIXELS

    return read, sound


def zips(folder: Path) -> tuple[Read, Sequence[bytes]]:
    """The intake of ZIPs: what is in them is staged or refused by name, and nothing is left lying about."""
    photo = encoded(picture(12, 8), "PNG")
    sound = [
        zipped({"a.png": photo, "folder/b.png": photo, "notes.txt": b"no photo"}, method)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ]
    sound.append(zipped({"nested.zip": sound[0], "c.png": photo}, zipfile.ZIP_STORED))
    settings = Settings(data_dir=folder / "data", max_archive_mb=1, max_file_mb=1)
    blobs = Blobs(settings.data_dir, min_free_bytes=0)
    intake = Intake(blobs, FakeEngine(immediate=True), settings)

    def read(data: bytes) -> None:
        accepted = intake.accept("batch", "photos.zip", io.BytesIO(data))
        for one in accepted.refused:
            assert one.problem.message, one
            assert one.problem.advice, one
        for taken in accepted.photos:
            assert blobs.staged("batch", taken.sha256).stat().st_size == taken.byte_count
        assert accepted.photos or accepted.refused or not data.startswith(b"PK"), "dropped silently"
        blobs.drop_batch("batch")
        assert list((settings.data_dir / "tmp").iterdir()) == []

    return read, sound


def zipped(files: dict[str, bytes], method: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


RECIPES = [recipe for name in presets.BUILT_IN if (recipe := presets.built_in(name, "u2netp")) is not None]


def recipes(folder: Path) -> tuple[Read, Sequence[bytes]]:
    """The parser of recipes: what it takes, it writes and takes again as the same."""

    def read(data: bytes) -> None:
        with suppress(RecipeError):
            recipe = Recipe.from_json(data)
            assert Recipe.from_json(recipe.to_json()) == recipe

    return read, [recipe.to_json().encode() for recipe in RECIPES]


def links(folder: Path) -> tuple[Read, Sequence[bytes]]:
    """The words that stand for recipes in addresses."""

    def read(data: bytes) -> None:
        with suppress(RecipeError):
            recipe = presets.from_link(data.decode("utf-8", "replace"))
            assert presets.from_link(presets.to_link(recipe)) == recipe

    return read, [presets.to_link(recipe).encode() for recipe in RECIPES]


@pytest.mark.parametrize("make", [pictures, zips, recipes, links], ids=lambda make: make.__name__)
def test_what_is_damaged_is_read_or_refused(make: Make, tmp_path: Path) -> None:
    fuzzed = fuzz(make, tmp_path, SECONDS)
    print(f"{make.__name__}: {fuzzed.tries:,} tries, memory +{fuzzed.grown_mb:.0f} MB")
    assert fuzzed.tries > 20
    assert fuzzed.grown_mb < 100
