"""What the camera wrote (EXIF), without the place it was in.

An EXIF block is a small TIFF: a header, a directory of fields (IFD0), and in it a pointer to a second
directory (Exif). Only fields named here are ever kept, as they were written; so places (the GPS
directory, maker notes with town names, XMP, free comments), thumbnails of the uncut photo and sizes
that are no longer true cannot come along.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from PIL.ExifTags import Base

_PREFIX = b"Exif\0\0"
_EXIF_IFD = 0x8769
_RESOLUTION = (Base.XResolution, Base.YResolution, Base.ResolutionUnit)

_CAMERA = frozenset(
    {
        *(Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime),
        *(Base.Artist, Base.HostComputer, Base.Copyright),
    }
)
_EXPOSURE = frozenset(
    {
        *(Base.ExifVersion, Base.DateTimeOriginal, Base.DateTimeDigitized),
        *(Base.OffsetTime, Base.OffsetTimeOriginal, Base.OffsetTimeDigitized),
        *(Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized),
        *(Base.ExposureTime, Base.FNumber, Base.ExposureProgram, Base.ISOSpeedRatings),
        *(Base.SensitivityType, Base.StandardOutputSensitivity, Base.RecommendedExposureIndex),
        *(Base.ISOSpeed, Base.ISOSpeedLatitudeyyy, Base.ISOSpeedLatitudezzz, Base.SpectralSensitivity),
        *(Base.ShutterSpeedValue, Base.ApertureValue, Base.BrightnessValue, Base.ExposureBiasValue),
        *(Base.MaxApertureValue, Base.SubjectDistance, Base.MeteringMode, Base.LightSource, Base.Flash),
        *(Base.FocalLength, Base.FocalLengthIn35mmFilm, Base.FlashEnergy, Base.ExposureIndex),
        *(Base.SensingMethod, Base.FileSource, Base.SceneType, Base.CustomRendered, Base.ExposureMode),
        *(Base.WhiteBalance, Base.DigitalZoomRatio, Base.SceneCaptureType, Base.GainControl),
        *(Base.Contrast, Base.Saturation, Base.Sharpness, Base.SubjectDistanceRange),
        *(Base.ImageUniqueID, Base.CameraOwnerName, Base.BodySerialNumber, Base.LensSpecification),
        *(Base.LensMake, Base.LensModel, Base.LensSerialNumber),
    }
)

_LONGEST = 1000
"""Bytes of a field; all of those above then fit the 64 KB that a JPEG has for them."""
_BYTES_OF_KIND = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_WORD_OF_KIND = _BYTES_OF_KIND | {5: 4, 10: 4}
_SHORT, _LONG, _RATIONAL = 3, 4, 5


@dataclass(frozen=True, slots=True)
class _Field:
    """A value of a directory, in little-endian order."""

    kind: int
    count: int
    value: bytes


_Fields = dict[int, _Field]


def clean(exif: bytes | None, *, dpi: int | None = None) -> bytes | None:
    """An EXIF block of what the camera wrote and of the density in dots per inch; None where that is nothing.

    `exif` is a block with or without the `Exif` prefix, or a whole TIFF file. Damaged parts are left
    out. The answer has no prefix, and nothing in it about orientation: the pixels are upright.
    """
    camera, exposure = ({}, {}) if exif is None else _kept(exif.removeprefix(_PREFIX))
    if dpi is not None:
        camera |= _density(dpi)
    if not camera and not exposure:
        return None
    head = struct.pack("<2sHI", b"II", 42, 8)
    if not exposure:
        return head + _directory(camera, at=len(head))
    behind = len(head) + len(_directory(camera | _pointer(0), at=len(head)))
    return head + _directory(camera | _pointer(behind), at=len(head)) + _directory(exposure, at=behind)


def into_tiff(tiff: bytes, exif: bytes | None, *, dpi: int | None) -> bytes:
    """A little-endian TIFF file of one page with a clean EXIF block and a density, or without either.

    Its first directory is written anew behind everything else.
    """
    (start,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, start)
    records = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        records[int.from_bytes(tiff[at : at + 2], "little")] = tiff[at : at + 12]
    for tag in (*_RESOLUTION, Base.Orientation):
        records.pop(tag, None)
    camera, exposure = ({}, {}) if exif is None else _kept(exif)
    if dpi is not None:
        camera |= _density(dpi)
    body = tiff + bytes(len(tiff) % 2)
    if exposure:
        camera |= _pointer(len(body))
        body += _directory(exposure, at=len(body))
    return body[:4] + struct.pack("<I", len(body)) + body[8:] + _directory(camera, records, at=len(body))


def _kept(block: bytes) -> tuple[_Fields, _Fields]:
    """The fields of IFD0 and of Exif that we know."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return {}, {}
    first = _read(block, order, struct.unpack_from(order + "I", block, 4)[0], _CAMERA | {_EXIF_IFD})
    pointer = first.pop(_EXIF_IFD, None)
    if pointer is None or pointer.kind != _LONG:
        return first, {}
    return first, _read(block, order, int.from_bytes(pointer.value, "little"), _EXPOSURE)


def _read(block: bytes, order: str, start: int, wanted: Iterable[int]) -> _Fields:
    """The wanted fields of the directory at `start`; whatever lies beyond the block is not there."""
    fields: _Fields = {}
    if start + 2 > len(block):
        return fields
    (count,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, number, offset = struct.unpack_from(order + "HHII", block, at)
        size = _BYTES_OF_KIND.get(kind, 0) * number
        if tag not in wanted or tag in fields or not 0 < size <= _LONGEST:
            continue
        place = at + 8 if size <= 4 else offset
        value = block[place : place + size]
        if len(value) == size:
            fields[tag] = _Field(kind, number, value if order == "<" else _swapped(kind, value))
    return fields


def _swapped(kind: int, value: bytes) -> bytes:
    word = _WORD_OF_KIND[kind]
    return b"".join(value[at : at + word][::-1] for at in range(0, len(value), word))


def _density(dpi: int) -> _Fields:
    ratio, inch = struct.pack("<II", dpi, 1), struct.pack("<H", 2)
    values = (_Field(_RATIONAL, 1, ratio), _Field(_RATIONAL, 1, ratio), _Field(_SHORT, 1, inch))
    return dict(zip(_RESOLUTION, values, strict=True))


def _pointer(at: int) -> _Fields:
    return {_EXIF_IFD: _Field(_LONG, 1, struct.pack("<I", at))}


def _directory(fields: _Fields, records: Mapping[int, bytes] | None = None, *, at: int) -> bytes:
    """A directory to stand at an (even) offset, with its long values behind it.

    `records` are entries as they are, of 12 bytes, that `fields` go before.
    """
    entries = dict(records or {}) | dict.fromkeys(fields, b"")
    behind = at + 2 + 12 * len(entries) + 4
    values = b""
    for tag, field in fields.items():
        inline = field.value.ljust(4, b"\0")
        if len(inline) > 4:
            inline = struct.pack("<I", behind + len(values))
            values += field.value + bytes(len(field.value) % 2)
        entries[tag] = struct.pack("<HHI", tag, field.kind, field.count) + inline
    listed = b"".join(entries[tag] for tag in sorted(entries))
    return struct.pack("<H", len(entries)) + listed + bytes(4) + values
