"""What the camera wrote: kept field by field as it was, and never with a place."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.ExifTags import IFD, Base

from photoproc.imaging import metadata
from tests.pictures import encoded, picture

PLACE = b"Ober-Ramstadt"
THUMBNAIL = b"\xff\xd8an uncut picture\xff\xd9"


def from_camera(order: str = "<") -> bytes:
    """A block as phones write it: turned, with place, maker notes, comments and a thumbnail."""
    exif = Image.Exif()
    exif.endian = order
    exif[Base.Make], exif[Base.Model], exif[Base.Orientation] = "ACME", "Camera 3000 Pro", 6
    exif[Base.XResolution], exif[Base.XMLPacket] = 72.0, b"<xmp>" + PLACE
    exif.get_ifd(IFD.Exif).update(
        {
            Base.ExposureTime: 1 / 125,
            Base.FNumber: 2.8,
            Base.ISOSpeedRatings: 400,
            Base.ExposureBiasValue: -0.5,
            Base.DateTimeOriginal: "2024:05:06 07:08:09",
            Base.LensModel: "50mm F1.8",
            Base.LensSpecification: (24.0, 70.0, 2.8, 4.0),
            Base.UserComment: b"ASCII\0\0\0" + PLACE,
            Base.MakerNote: b"Panasonic\0" + PLACE,
            Base.ExifImageWidth: 4000,
            Base.ColorSpace: 65535,
        }
    )
    exif.get_ifd(IFD.GPSInfo).update({1: "N", 2: (49.0, 50.0, 1.0), 3: "E", 28: PLACE})
    return exif.tobytes()


def with_thumbnail(block: bytes) -> bytes:
    """The block with a second directory behind the first, as cameras keep their thumbnails."""
    tiff = block.removeprefix(b"Exif\0\0")
    (start,) = struct.unpack_from("<I", tiff, 4)
    link = start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0]
    at = len(tiff) + len(tiff) % 2
    directory = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at + 30, 0x0202, 4, 1, len(THUMBNAIL), 0)
    return (
        tiff[:link]
        + struct.pack("<I", at)
        + tiff[link + 4 :].ljust(at - link - 4, b"\0")
        + directory
        + THUMBNAIL
    )


def read(block: bytes | None) -> Image.Exif:
    assert block is not None
    exif = Image.Exif()
    exif.load(block)
    return exif


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_the_camera_wrote_is_kept_as_it_was(order: str) -> None:
    exif = read(metadata.clean(from_camera(order)))
    assert dict(exif) == {Base.Make: "ACME", Base.Model: "Camera 3000 Pro", 0x8769: exif[0x8769]}
    assert exif.get_ifd(IFD.Exif) == {
        Base.ExposureTime: pytest.approx(1 / 125),
        Base.FNumber: pytest.approx(2.8),
        Base.ISOSpeedRatings: 400,
        Base.ExposureBiasValue: -0.5,
        Base.DateTimeOriginal: "2024:05:06 07:08:09",
        Base.LensModel: "50mm F1.8",
        Base.LensSpecification: pytest.approx((24.0, 70.0, 2.8, 4.0)),
    }


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_place_is_nowhere_in_what_is_kept(order: str) -> None:
    block = from_camera(order)
    assert PLACE in block
    assert read(block).get_ifd(IFD.GPSInfo)
    kept = metadata.clean(block)
    assert kept is not None
    assert PLACE not in kept
    assert not read(kept).get_ifd(IFD.GPSInfo)
    assert ExifTags.Base.GPSInfo not in read(kept)


def test_a_thumbnail_of_the_uncut_photo_is_not_kept() -> None:
    block = with_thumbnail(from_camera())
    assert read(block).get_ifd(IFD.IFD1)[0x0202] == len(THUMBNAIL)
    kept = metadata.clean(block)
    assert kept is not None
    assert THUMBNAIL not in kept
    assert not read(kept).get_ifd(IFD.IFD1)


def test_a_density_is_written_in_inches_with_or_without_a_camera() -> None:
    for block in (None, from_camera()):
        exif = read(metadata.clean(block, dpi=300))
        assert [exif[tag] for tag in (Base.XResolution, Base.YResolution, Base.ResolutionUnit)] == [
            300,
            300,
            2,
        ]


@pytest.mark.parametrize(
    "block", [None, b"", b"Exif\0\0", b"II*\0", b"no EXIF at all", b"II*\0\xff\xff\xff\xff"]
)
def test_where_there_is_nothing_to_keep_there_is_no_block(block: bytes | None) -> None:
    assert metadata.clean(block) is None


def test_cleaning_twice_changes_nothing() -> None:
    once = metadata.clean(from_camera(), dpi=200)
    assert metadata.clean(metadata.clean(once), dpi=200) == once


def full_block(size: int) -> bytes:
    """A block of text of so many bytes in every tag there is, in both directories."""
    tags = sorted(set(ExifTags.TAGS) - {IFD.Exif})
    exif_at = 8 + 2 + 12 * (len(tags) + 1) + 4
    text_at = exif_at + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 2, size, text_at) for tag in tags)
    pointer = struct.pack("<HHII", IFD.Exif, 4, 1, exif_at)
    counts = (struct.pack("<H", count) for count in (len(tags) + 1, len(tags)))
    head = struct.pack("<2sHI", b"II", 42, 8)
    return (
        head + next(counts) + entries + pointer + bytes(4) + next(counts) + entries + bytes(4) + b"x" * size
    )


def test_what_is_kept_always_fits_into_a_jpeg() -> None:
    kept = metadata.clean(full_block(1000), dpi=300)
    assert kept is not None
    assert 30_000 < len(kept) < 65_000
    with Image.open(io.BytesIO(encoded(picture(), "JPEG", exif=b"Exif\0\0" + kept))) as image:
        assert image.getexif().get_ifd(IFD.Exif)[Base.LensModel] == "x" * 1000
    assert metadata.clean(full_block(1001)) is None


@settings(deadline=None)
@given(block=st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(block: bytes) -> None:
    for head in (b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0"):
        metadata.clean(head + block)


@settings(deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    end=st.integers(0, 10_000),
)
def test_damaged_blocks_give_what_is_whole_or_nothing(changes: list[tuple[int, int]], end: int) -> None:
    block = bytearray(from_camera(">").removeprefix(b"Exif\0\0"))
    for at, value in changes:
        block[at % len(block)] = value
    kept = metadata.clean(bytes(block[: end % len(block) + 1]))
    if kept is not None:
        assert not read(kept).get_ifd(IFD.GPSInfo)


def test_the_fields_of_a_tiff_are_read_from_the_file_itself() -> None:
    exif = read(from_camera())
    file = encoded(picture(), "TIFF", exif=exif)
    kept = read(metadata.clean(file))
    assert (kept[Base.Make], kept.get_ifd(IFD.Exif)[Base.ISOSpeedRatings]) == ("ACME", 400)
    assert not {*kept} & {256, 257, 273, 279, Base.GPSInfo}


def test_a_tiff_gets_its_fields_and_density_and_stays_the_same_picture() -> None:
    plain = encoded(picture(), "TIFF", compression="tiff_adobe_deflate", dpi=(25, 25))
    with Image.open(io.BytesIO(metadata.into_tiff(plain, metadata.clean(from_camera()), dpi=300))) as image:
        assert image.tobytes() == picture().tobytes()
        assert image.info["dpi"] == (300, 300)
        exif = image.getexif()
        assert (exif[Base.Make], exif.get_ifd(IFD.Exif)[Base.FNumber]) == ("ACME", pytest.approx(2.8))
    with Image.open(io.BytesIO(metadata.into_tiff(plain, None, dpi=None))) as image:
        assert image.tobytes() == picture().tobytes()
        assert not {*image.getexif()} & {282, 283, 296, 0x8769, Base.Make}
