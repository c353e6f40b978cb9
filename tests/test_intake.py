"""Intake: what is accepted, what is refused and how it is told, and that nothing is left lying about."""

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from photoproc.blobs import Blobs
from photoproc.errors import PhotoError, ServiceError, TaskError
from photoproc.intake import Accepted, Intake
from photoproc.settings import Settings
from tests.fakes import FakeEngine
from tests.pictures import encoded, exif_orientation, picture, raw_png

Answer = TypeVar("Answer")
Entry = tuple[str | zipfile.ZipInfo, bytes]

JPEG = encoded(picture(24, 16), "JPEG")
PNG = encoded(picture(20, 30), "PNG")
BATCH = "batch"


class Door:
    """An intake over a fresh data folder, that checks what must hold of every answer."""

    def __init__(self, settings: Settings, inspector: FakeEngine | None = None) -> None:
        self.root = settings.data_dir
        self.blobs = Blobs(self.root, min_free_bytes=0)
        self.intake = Intake(self.blobs, inspector or FakeEngine(immediate=True), settings)

    def accept(self, name: str, data: bytes | BinaryIO) -> Accepted:
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        accepted = self.intake.accept(BATCH, name, stream)
        for photo in accepted.photos:
            kept = self.blobs.staged(BATCH, photo.sha256).read_bytes()
            assert hashlib.sha256(kept).hexdigest() == photo.sha256
            assert len(kept) == photo.byte_count
        for refusal in accepted.refused:
            assert refusal.name.isprintable()
            assert refusal.problem.code.isidentifier()
            assert refusal.problem.message.endswith((".", ")."))
            assert refusal.problem.advice.endswith(".")
        assert self.leftovers() == []
        return accepted

    def leftovers(self) -> list[str]:
        return [path.name for path in (self.root / "tmp").iterdir()]


@pytest.fixture
def door(settings: Settings) -> Door:
    return Door(settings)


def limited(settings: Settings, **limits: float) -> Door:
    return Door(settings.model_copy(update=limits))


def zipped(entries: Sequence[Entry], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, data in entries:
            packed.writestr(name, data)
    return out.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


def encrypted(data: bytes) -> bytes:
    """A ZIP with the bits set that say its entries are encrypted."""
    marked = bytearray(data)
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(magic)
        while at >= 0:
            marked[at + flags] |= 1
            at = data.find(magic, at + 4)
    return bytes(marked)


def entry(name: str) -> str:
    """What a refused entry of `x.zip` is called."""
    return f"x.zip › {name}"


def codes(accepted: Accepted) -> list[tuple[str, str]]:
    return [(refusal.name, refusal.problem.code) for refusal in accepted.refused]


def names(accepted: Accepted) -> list[str]:
    return [photo.name for photo in accepted.photos]


# Single files


def test_a_good_photo_is_staged_with_what_its_header_says(door: Door) -> None:
    data = encoded(picture(24, 16), "JPEG", exif=exif_orientation(6).tobytes())
    accepted = door.accept("IMG 1.jpg", data)
    [photo] = accepted.photos
    assert (photo.name, photo.format, photo.size_wh) == ("IMG 1.jpg", "JPEG", (16, 24))
    assert photo.warnings == ()
    assert accepted.refused == ()
    assert accepted.batch == BATCH


def test_a_wrong_suffix_is_a_warning_not_a_refusal(door: Door) -> None:
    [photo] = door.accept("x.jpg", PNG).photos
    assert (photo.format, [warning.code for warning in photo.warnings]) == ("PNG", ["name_mismatch"])


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "empty_file", "empty"),
        (b"Dear all,\nplease find attached", "not_a_picture", "text"),
        (b"<!DOCTYPE html><title>404</title>", "not_a_picture", "HTML"),
        (raw_png((10_000, 6_000), 8, 2, b""), "photo_too_large", "60 megapixels"),
        (JPEG[:100], "photo_truncated", "ends before"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(50), "archive_unsupported", "RAR"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "archive_unsupported", "7z"),
        (b"\x1f\x8b\x08" + bytes(50), "archive_unsupported", "gzip"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_own_name(
    door: Door, data: bytes, code: str, words: str
) -> None:
    accepted = door.accept("holiday.jpg", data)
    assert codes(accepted) == [("holiday.jpg", code)]
    assert words in accepted.refused[0].problem.message
    assert accepted.photos == ()


def test_a_file_over_the_byte_limit_is_refused(settings: Settings) -> None:
    door = limited(settings, max_file_mb=1)
    assert codes(door.accept("x.bmp", encoded(picture(700, 700), "BMP"))) == [("x.bmp", "file_too_large")]


def test_names_are_shown_harmless(door: Door) -> None:
    [photo] = door.accept("a\u202egpj\x00.\u2028\x1b[31m.jpg", JPEG).photos
    assert photo.name == "a�gpj�.��[31m.jpg"
    [(shown, _)] = codes(door.accept("\ud800\n<b>.jpg", b""))
    assert shown == "��<b>.jpg"


def test_one_photo_uploaded_twice_is_staged_once(door: Door) -> None:
    door.accept("a.jpg", JPEG)
    door.accept("b.jpg", JPEG)
    assert len(list((door.root / "staging" / BATCH).iterdir())) == 1


# ZIPs


def test_a_zip_gives_its_photos_with_their_folders_in_order(door: Door) -> None:
    accepted = door.accept(
        "shoot.zip", zipped([("b/2.png", PNG), ("b/1.jpg", JPEG), ("top.jpg", JPEG), ("c/", b"")])
    )
    assert names(accepted) == ["b/2.png", "b/1.jpg", "top.jpg"]
    assert accepted.refused == ()


def test_a_zip_is_known_by_its_content(door: Door) -> None:
    assert names(door.accept("photo.jpg", zipped([("a.jpg", JPEG)]))) == ["a.jpg"]


def test_what_systems_add_to_zips_is_ignored(door: Door) -> None:
    junk = ["__MACOSX/._a.jpg", "x/._b.jpg", ".DS_Store", "x/Thumbs.db", "desktop.ini", "folder\\"]
    accepted = door.accept("mac.zip", zipped([*((name, b"junk") for name in junk), ("x/a.jpg", JPEG)]))
    assert names(accepted) == ["x/a.jpg"]
    assert accepted.refused == ()


def test_entries_of_the_same_name_are_all_accepted(door: Door) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([("a.jpg", JPEG), ("a.jpg", PNG)])
    accepted = door.accept("x.zip", data)
    assert [(photo.name, photo.format) for photo in accepted.photos] == [("a.jpg", "JPEG"), ("a.jpg", "PNG")]


def test_a_bad_entry_costs_only_itself(door: Door) -> None:
    bad: list[Entry] = [
        ("empty.jpg", b""),
        ("notes.txt", b"hello"),
        ("huge.png", raw_png((10_000, 6_000), 8, 2, b"")),
        ("inner.zip", zipped([("a.jpg", JPEG)])),
        ("inner.rar", b"Rar!\x1a\x07\x01\x00"),
        ("../up.jpg", JPEG),
        ("a/../../up.jpg", JPEG),
        ("..\\up.jpg", JPEG),
        ("/etc/abs.jpg", JPEG),
        ("\\\\host\\share.jpg", JPEG),
        ("C:/drive.jpg", JPEG),
        ("c:drive.jpg", JPEG),
        (link("link.jpg"), b"/etc/passwd"),
    ]
    accepted = door.accept("x.zip", zipped([("first.jpg", JPEG), *bad, ("last.png", PNG)]))
    assert names(accepted) == ["first.jpg", "last.png"]
    assert codes(accepted) == [
        (entry("empty.jpg"), "empty_file"),
        (entry("notes.txt"), "not_a_picture"),
        (entry("huge.png"), "photo_too_large"),
        (entry("inner.zip"), "archive_nested"),
        (entry("inner.rar"), "archive_unsupported"),
        (entry("../up.jpg"), "archive_unsafe_name"),
        (entry("a/../../up.jpg"), "archive_unsafe_name"),
        (entry("..\\up.jpg"), "archive_unsafe_name"),
        (entry("/etc/abs.jpg"), "archive_unsafe_name"),
        (entry("\\\\host\\share.jpg"), "archive_unsafe_name"),
        (entry("C:/drive.jpg"), "archive_unsafe_name"),
        (entry("c:drive.jpg"), "archive_unsafe_name"),
        (entry("link.jpg"), "archive_link"),
    ]


def test_a_wrong_checksum_costs_one_entry(door: Door) -> None:
    data = bytearray(zipped([("a.jpg", JPEG), ("b.png", PNG), ("c.jpg", JPEG)], zipfile.ZIP_STORED))
    data[data.index(PNG) + len(PNG) // 2] ^= 0xFF
    accepted = door.accept("x.zip", bytes(data))
    assert names(accepted) == ["a.jpg", "c.jpg"]
    assert codes(accepted) == [(entry("b.png"), "archive_entry_broken")]


def test_encrypted_entries_are_refused_each_by_name(door: Door) -> None:
    accepted = door.accept("x.zip", encrypted(zipped([("a.jpg", JPEG), ("b.jpg", JPEG)])))
    assert codes(accepted) == [(entry("a.jpg"), "archive_encrypted"), (entry("b.jpg"), "archive_encrypted")]


def test_unusual_compression_is_refused(door: Door) -> None:
    accepted = door.accept("x.zip", zipped([("a.bmp", encoded(picture(), "BMP"))], zipfile.ZIP_LZMA))
    assert codes(accepted) == [(entry("a.bmp"), "archive_method")]


def test_names_in_a_zip_are_shown_harmless(door: Door) -> None:
    accepted = door.accept("x.zip", zipped([("d/\u202egpj.exe", JPEG), ("d/\x1b[2J.jpg", b"")]))
    assert names(accepted) == ["d/�gpj.exe"]
    assert codes(accepted) == [(entry("d/�[2J.jpg"), "empty_file")]


def _broken_listing(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[:at] + b"XX" + data[at + 2 :]


def _empty_name(data: bytes) -> bytes:
    """The one entry's name turned into its comment in the list."""
    at = data.index(b"PK\x01\x02")
    fields = bytearray(data)
    fields[at + 28 : at + 30], fields[at + 32 : at + 34] = data[at + 32 : at + 34], data[at + 28 : at + 30]
    return bytes(fields)


def _moved(offset: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a.jpg", JPEG)
        packed.writestr("b.jpg", PNG)
        packed.filelist[1].header_offset = offset
    return out.getvalue()


WHOLE = zipped([("a.jpg", JPEG), ("d/b.png", PNG)])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (WHOLE[: len(WHOLE) // 2], "archive_broken"),
        (WHOLE[:-10], "archive_broken"),
        (WHOLE[:4], "archive_broken"),
        (_broken_listing(WHOLE), "archive_broken"),
        (_moved(0), "archive_broken"),
        (zipped([]), "archive_empty"),
        (zipped([("folder/", b""), ("__MACOSX/x", b"y")]), "archive_empty"),
    ],
)
def test_a_zip_that_cannot_be_read_is_refused_as_a_whole(door: Door, data: bytes, code: str) -> None:
    accepted = door.accept("x.zip", data)
    assert codes(accepted) == [("x.zip", code)]
    assert accepted.photos == ()


@pytest.mark.parametrize(
    ("data", "good"),
    [
        (_moved(10_000_000), ["a.jpg"]),
        (_moved(2**63), ["a.jpg"]),
        (_empty_name(zipped([("abcd", JPEG)])), []),
        (zipped([("é.jpg", JPEG)]).replace("é".encode(), b"\xe9.", 1), []),
    ],
    ids=["offset past the end", "offset of 64 bits", "no name", "name is not UTF-8"],
)
def test_a_lying_entry_is_damaged_and_its_siblings_are_not(door: Door, data: bytes, good: list[str]) -> None:
    accepted = door.accept("x.zip", data)
    assert names(accepted) == good
    assert [code for _, code in codes(accepted)] == ["archive_entry_broken"]


def test_an_entry_larger_than_it_claims_is_damaged(door: Door) -> None:
    data = bytearray(zipped([("a.bmp", encoded(picture(), "BMP")), ("b.jpg", JPEG)]))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (200).to_bytes(4, "little")
    accepted = door.accept("x.zip", bytes(data))
    assert names(accepted) == ["b.jpg"]
    assert codes(accepted) == [(entry("a.bmp"), "archive_entry_broken")]


def test_too_many_entries_are_refused_at_once(settings: Settings) -> None:
    door = limited(settings, max_archive_entries=3)
    accepted = door.accept("x.zip", zipped([(f"{number}.jpg", JPEG) for number in range(4)]))
    assert codes(accepted) == [("x.zip", "archive_too_many")]
    assert len(door.accept("y.zip", zipped([(f"{number}.jpg", JPEG) for number in range(3)])).photos) == 3


def test_an_endless_list_of_entries_is_not_read_into_memory(settings: Settings) -> None:
    listing = 3_000_000
    end = b"PK\x05\x06" + bytes(8) + listing.to_bytes(4, "little") + (30).to_bytes(4, "little") + bytes(2)
    asked: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    door = limited(settings, max_archive_entries=100)
    accepted = door.accept("x.zip", Watched(b"PK\x03\x04" + bytes(26 + listing) + end))
    assert codes(accepted) == [("x.zip", "archive_too_many")]
    assert max(asked) < 1_000_000


def test_what_unpacks_over_the_limit_is_refused_and_what_fits_is_not(settings: Settings) -> None:
    door = limited(settings, max_archive_expanded_mb=1)
    large = encoded(picture(500, 400), "BMP")
    accepted = door.accept("x.zip", zipped([("a.bmp", large), ("b.bmp", large), ("c.jpg", JPEG)]))
    assert names(accepted) == ["a.bmp", "c.jpg"]
    assert codes(accepted) == [(entry("b.bmp"), "archive_too_large")]


def test_a_decompression_bomb_is_refused_before_it_unpacks(door: Door) -> None:
    black = encoded(Image.new("RGB", (3000, 3000)), "BMP")
    data = zipped([("bomb.bmp", black), ("a.jpg", JPEG)])
    assert len(data) < 100_000
    accepted = door.accept("x.zip", data)
    assert codes(accepted) == [(entry("bomb.bmp"), "archive_ratio")]
    assert names(accepted) == ["a.jpg"]


def test_an_even_picture_of_ordinary_size_is_no_bomb(door: Door) -> None:
    white = encoded(Image.new("RGB", (500, 500), "white"), "BMP")
    assert names(door.accept("x.zip", zipped([("white.bmp", white)]))) == ["white.bmp"]


@examples(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(4, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    end=st.integers(len(WHOLE) - 120, len(WHOLE)),
    on_disk=st.booleans(),
)
def test_no_damage_to_a_zip_is_a_traceback(
    door: Door, changes: list[tuple[int, int]], end: int, on_disk: bool
) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    if not on_disk:
        door.accept("x.zip", bytes(data[:end]))
        return
    with tempfile.TemporaryFile() as file:
        file.write(data[:end])
        file.seek(0)
        door.accept("x.zip", cast(BinaryIO, file))


# Children


class Breaking(FakeEngine):
    """An engine whose child meets its end on the files of some names, at most `times` for each."""

    def __init__(
        self, breaks: Callable[[str], bool], *, code: str = "child_crashed", times: int = 99
    ) -> None:
        super().__init__(immediate=True)
        self._breaks = breaks
        self._code = code
        self._times = times
        self.tries: dict[str, int] = {}

    def submit(self, function: Callable[..., Answer], *args: object, parts: int = 1) -> "Future[Answer]":
        name = str(args[1])
        self.tries[name] = self.tries.get(name, 0) + 1
        if self._breaks(name) and self.tries[name] <= self._times:
            future: Future[Answer] = Future()
            future.set_exception(TaskError(self._code, self._code, ""))
            return future
        return super().submit(function, *args)


def test_a_file_that_kills_the_child_is_refused_and_its_siblings_are_not(settings: Settings) -> None:
    door = Door(settings, Breaking(lambda name: name == "bad.jpg"))
    accepted = door.accept("x.zip", zipped([("a.jpg", JPEG), ("bad.jpg", JPEG), ("b.png", PNG)]))
    assert names(accepted) == ["a.jpg", "b.png"]
    assert codes(accepted) == [(entry("bad.jpg"), "photo_broken")]


def test_a_file_whose_neighbour_killed_the_child_is_read_again(settings: Settings) -> None:
    inspector = Breaking(lambda _: True, times=2)
    accepted = Door(settings, inspector).accept("x.zip", zipped([("a.jpg", JPEG), ("b.png", PNG)]))
    assert names(accepted) == ["a.jpg", "b.png"]
    assert inspector.tries == {"a.jpg": 3, "b.png": 3}


def test_a_file_that_hangs_the_child_is_not_tried_again(settings: Settings) -> None:
    inspector = Breaking(lambda name: name == "slow.jpg", code="task_timeout")
    accepted = Door(settings, inspector).accept("x.zip", zipped([("slow.jpg", JPEG), ("a.jpg", JPEG)]))
    assert codes(accepted) == [(entry("slow.jpg"), "photo_broken")]
    assert names(accepted) == ["a.jpg"]
    assert inspector.tries["slow.jpg"] == 1


def test_a_full_disk_ends_the_upload_and_leaves_nothing_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(settings)
    free = iter([True, True, False])

    def check_space() -> None:
        if not next(free):
            raise ServiceError("disk_full", "The disk is full.", "Make room.")

    monkeypatch.setattr(door.blobs, "check_space", check_space)
    data = zipped([("a.jpg", JPEG), ("b.png", PNG), ("c.jpg", JPEG)])
    with pytest.raises(ServiceError, match="disk_full"):
        door.intake.accept(BATCH, "x.zip", io.BytesIO(data))
    assert door.leftovers() == []


# Thumbnails


def test_a_staged_photo_has_a_thumbnail_made_once(door: Door) -> None:
    [photo] = door.accept("a.png", encoded(picture(600, 300), "PNG")).photos
    path = door.intake.thumbnail(BATCH, photo.sha256)
    with Image.open(path) as small:
        assert (small.format, small.size) == ("WEBP", (240, 120))
    made = path.stat().st_mtime_ns
    assert door.intake.thumbnail(BATCH, photo.sha256).stat().st_mtime_ns == made


def test_a_photo_that_turns_out_damaged_has_no_thumbnail(door: Door) -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)), "JPEG")
    [photo] = door.accept("a.jpg", whole[:-3000]).photos
    with pytest.raises(PhotoError, match="photo_truncated"):
        door.intake.thumbnail(BATCH, photo.sha256)


def test_an_unknown_photo_has_no_thumbnail(door: Door) -> None:
    with pytest.raises(ServiceError, match="not_found"):
        door.intake.thumbnail(BATCH, "0" * 64)


def test_a_data_folder_holds_only_what_was_staged(door: Door, tmp_path: Path) -> None:
    door.accept("x.zip", zipped([("a.jpg", JPEG), ("../b.jpg", PNG), ("c.txt", b"text")]))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {hashlib.sha256(JPEG).hexdigest()}
