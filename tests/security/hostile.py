"""Files that somebody means badly, or that a program made badly; each with what is to become of it."""

import bz2
import io
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.imaging.test_decode import LARGE
from tests.pictures import encoded, exif_orientation, picture, raw_png, sample

DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Hostile:
    """A file, and which ends are right: `done`, `failed` (as a task) or the code it is refused with."""

    name: str
    data: bytes
    ends: tuple[str, ...]
    warning: str = ""


def _of(name: str, data: bytes, *ends: str, warning: str = "") -> Hostile:
    return Hostile(name, data, ends, warning)


def single() -> Iterator[Hostile]:
    """Files that are no ZIPs."""
    jpeg, png = sample("rocket.jpg"), encoded(picture(64, 48, seed=1), "PNG")
    yield _of("empty.jpg", b"", "empty_file")
    yield _of("page.jpg", b"<!doctype html><script>alert(1)</script>", "not_a_picture")
    yield _of("really a png.jpg", png, DONE, warning="name_mismatch")
    yield _of("truncated.jpg", jpeg[: len(jpeg) // 2], FAILED)
    for seed in range(12):
        yield _of(f"flipped {seed}.jpg", _flipped(jpeg, seed), DONE, FAILED, "photo_broken", "not_a_picture")
    for kind, data in LARGE.items():
        yield _of(f"bomb.{kind.lower()}", data, "photo_too_large")
    yield _of("ribbon.png", raw_png((6_356_992, 12), 8, 2, b"\0"), "photo_too_large")
    yield _of("dot.png", encoded(picture(1, 1), "PNG"), DONE)
    for kind in ("GIF", "WEBP", "PNG"):
        yield _of(f"animated.{kind.lower()}", _animated(kind, 1500), DONE, warning="first_frame_only")
    yield _of("pages.tiff", _animated("TIFF", 200), DONE, warning="first_frame_only")
    yield _of("document.jpg", encoded(picture(), "PDF"), "not_a_picture")
    yield _of("script.png", encoded(picture(), "EPS"), "not_a_picture")
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
    yield _of("drawing.png", drawing, "not_a_picture")
    yield _of("layers.jpg", b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 4, 8, 3) + bytes(62), "not_a_picture")
    yield _of("stars.jpg", b"SIMPLE  =                    T".ljust(2880), "not_a_picture")
    for turn in range(1, 9):
        exif = exif_orientation(turn).tobytes()
        yield _of(f"turned {turn}.jpg", encoded(picture(80, 60, seed=turn), exif=exif), DONE)
    yield _of("exif.jpg", encoded(picture(70, 50, seed=30), exif=b"Exif\0\0" + bytes(range(256)) * 20), DONE)
    yield _of("cmyk.jpg", encoded(picture(70, 50, "CMYK", seed=31)), DONE)
    deep = np.random.default_rng(1).integers(0, 65536, (40, 50), dtype=np.uint16)
    yield _of("deep.png", encoded(Image.fromarray(deep), "PNG"), DONE)
    see = picture(60, 40, seed=32).quantize(16)
    yield _of("palette.png", encoded(see, "PNG", transparency=bytes([0, 128, 255])), DONE)
    yield _of("bits.png", encoded(picture(61, 41, "1", seed=33), "PNG"), DONE)
    yield _of("profile.jpg", encoded(picture(62, 42, seed=34), icc_profile=bytes(8_000_000)), DONE)
    yield _of("notes.png", raw_png_with(b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 9_000_000), DONE)
    blown = raw_png_with(b"k\0\1\0\0\0" + zlib.compress(bytes(200_000_000), 9))
    yield _of("text.png", blown, DONE, FAILED, "photo_broken", "photo_too_large")


def raw_png_with(text: bytes) -> bytes:
    """A small PNG with an international text of this."""
    rows = b"".join(b"\0" + bytes(range(30)) for _ in range(10))
    return raw_png((10, 10), 8, 2, rows, extra=(b"iTXt", text))


def named() -> Iterator[Hostile]:
    """Good photos whose names attack what shows them."""
    for number, name in enumerate(NAMES):
        yield _of(name, encoded(picture(50, 40, seed=100 + number)), DONE)


NAMES = [
    "<img src=x onerror=window.broken=1>.jpg",
    "![x](http:§§evil.example§x.png).jpg",
    "[click](javascript:alert(1)).jpg",
    '=HYPERLINK("http:§§evil.example","x").jpg',
    "+1+cmd|' §C calc'!A0.jpg",
    "@SUM(1+1).jpg",
    "-2+3.jpg",
    "a\r\nSet-Cookie: x=1.jpg",
    "\u202egnp.exe.jpg",
    "$\\alpha$ :red[x].jpg",
    "a" * 300 + ".jpg",
    "CON.jpg",
    "..\\..\\windows.jpg",
    "nul\0byte.jpg",
]
"""A name in a form cannot have a slash before its file name: § is written instead."""


@dataclass(frozen=True)
class HostileZip:
    """A ZIP, the codes that entries of it (it itself: "") are refused with, and the photos it gives."""

    name: str
    data: bytes
    refused: dict[str, str]
    photos: tuple[str, ...] = ()

    @property
    def codes(self) -> dict[str, str]:
        """By the name it is shown with."""
        return {f"{self.name} › {one}" if one else self.name: code for one, code in self.refused.items()}


def archives() -> Iterator[HostileZip]:
    """ZIPs that no honest program packs, and some that one does."""
    jpeg, other = encoded(picture(60, 45, seed=200)), encoded(picture(61, 45, seed=201))
    good = packed([("a.jpg", jpeg), ("b.jpg", other)])
    yield HostileZip("broken.zip", good[:40] + bytes(200), {"": "archive_broken"})
    yield HostileZip("cut.zip", good[: len(good) // 2], {"": "archive_broken"})
    yield HostileZip("locked.zip", _encrypted(packed([("s.jpg", jpeg)])), {"s.jpg": "archive_encrypted"})
    nested = packed([("in.zip", good), ("c.jpg", jpeg)])
    yield HostileZip("nested.zip", nested, {"in.zip": "archive_nested"}, ("c.jpg",))
    for method, name in ((zipfile.ZIP_BZIP2, "bz2"), (zipfile.ZIP_LZMA, "lzma"), (93, "zstd")):
        yield HostileZip(f"{name}.zip", _of_method(jpeg, method), {"m.jpg": "archive_method"})
    yield HostileZip("overlap.zip", _overlapping(), {"": "archive_broken"})
    forged = {"big.jpg": "archive_entry_broken"}
    yield HostileZip("forged.zip", _forged(jpeg, other), forged, ("ok.jpg",))
    yield HostileZip("many.zip", _many(65_536), {"": "archive_too_many"})
    ratio = packed([("zeros.bmp", bytes(300_000_000)), ("d.jpg", jpeg)])
    yield HostileZip("ratio.zip", ratio, {"zeros.bmp": "archive_ratio"}, ("d.jpg",))
    outside = ["../up.jpg", "/abs.jpg", "C:\\drive.jpg", "..\\back.jpg"]
    pointing = packed([(name, jpeg) for name in outside])
    yield HostileZip("outside.zip", pointing, dict.fromkeys(outside, "archive_unsafe_name"))
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = 0o120777 << 16
    yield HostileZip("link.zip", packed([(link, b"/etc/passwd")]), {"link.jpg": "archive_link"})
    same = ("same/x.jpg", "Same/X.jpg", "same/é.jpg", "same/e\u0301.jpg", "same/x.jpg")
    made: list[Named] = [(name, encoded(picture(50, 50, seed=300 + n))) for n, name in enumerate(same)]
    yield HostileZip("same.zip", packed(made), {}, same)
    litter: list[Named] = [("__MACOSX/._a.jpg", b"x"), ("e.jpg", jpeg), ("Thumbs.db", b"y")]
    yield HostileZip("litter.zip", packed(litter), {}, ("e.jpg",))
    crc = {"bad.jpg": "archive_entry_broken"}
    yield HostileZip("crc.zip", _bad_crc(jpeg, other), crc, ("fine.jpg",))
    strange: list[Named] = [("f" * 299 + ".jpg", jpeg), ("\u202egpj.jpg", other)]
    yield HostileZip("strange.zip", packed(strange), {}, ("f" * 100 + "…" + "f" * 195 + ".jpg", "�gpj.jpg"))


Named = tuple[str | zipfile.ZipInfo, bytes]


def packed(entries: Sequence[Named], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as made:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in entries:
            made.writestr(name, data)
    return out.getvalue()


def _flipped(data: bytes, seed: int) -> bytes:
    rng, found = np.random.default_rng(seed), bytearray(data)
    for place in rng.integers(2, len(found), 40):
        found[place] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _animated(kind: str, count: int) -> bytes:
    frames = [picture(8, 8, seed=seed % 50) for seed in range(count)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def _encrypted(data: bytes) -> bytes:
    found = bytearray(data)
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        found[data.index(magic) + flags] |= 1
    return bytes(found)


def _of_method(data: bytes, method: int) -> bytes:
    """A ZIP with one entry, which says that it is compressed so."""
    packers: dict[int, Callable[[bytes], bytes]] = {12: bz2.compress, 14: lzma.compress}
    body = packers.get(method, bytes)(data)
    return _raw([(b"m.jpg", body, len(data), zlib.crc32(data), method, None)])


def _overlapping() -> bytes:
    """Two hundred entries that are all the same few bytes, which unpack to ten megabytes each."""
    data = bytes(10_000_000)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    crc = zlib.crc32(data)
    entries = [(f"{n}.bmp".encode(), b"" if n else body, len(data), crc, 8, 0) for n in range(200)]
    return _raw(entries, same_size=len(body))


def _forged(jpeg: bytes, other: bytes) -> bytes:
    """An entry that claims to be smaller than it is, beside a good one."""
    data = bytearray(packed([("big.jpg", jpeg), ("ok.jpg", other)]))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (100).to_bytes(4, "little")
    return bytes(data)


def _bad_crc(jpeg: bytes, other: bytes) -> bytes:
    data = bytearray(packed([("bad.jpg", jpeg), ("fine.jpg", other)], zipfile.ZIP_STORED))
    data[data.index(jpeg) + len(jpeg) // 2] ^= 0xFF
    return bytes(data)


def _many(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in range(count):
            made.writestr(f"{number}", b"")
    return out.getvalue()


def _raw(
    entries: Sequence[tuple[bytes, bytes, int, int, int, int | None]], *, same_size: int | None = None
) -> bytes:
    """A ZIP written by hand: name, body, unpacked size, CRC, method, and where its header claims to be."""
    out, listing = bytearray(), bytearray()
    for name, body, size, crc, method, offset in entries:
        packed_size = len(body) if same_size is None else same_size
        at = len(out) if offset is None else offset
        head = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0, crc, packed_size, size, len(name), 0)
        if offset is None or not out:
            out += b"PK\x03\x04" + head + name + body
        listing += b"PK\x01\x02" + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, 0, at) + name
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(listing), len(out), 0)
    return bytes(out + listing + b"PK\x05\x06" + end)
