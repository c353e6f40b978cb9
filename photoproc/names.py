"""File names: what a user sent, made safe for every file system and unique within a job."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from pathvalidate import sanitize_filename

_MAX_PART_BYTES = 120
_MAX_FOLDERS = 8
_MAX_SHOWN = 300
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Invisible, but parts of ordinary words and of emojis."""
_DEVICES = {
    *("CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"),
    *(f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"),
}
"""Names that Windows keeps for devices, whatever follows their first dot."""
_OUR_SUFFIXES = (".png", ".webp", ".jpg", ".avif", ".tif", ".pdf", ".csv", ".json")


def display_name(name: str) -> str:
    """A name fit to be shown: no control or direction-changing characters, at most 300 of them.

    A longer one is shortened in the middle, so that what a path ends with stays.
    """
    shown = "".join("�" if _is_invisible(char) else char for char in name)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[: _MAX_SHOWN // 3]}…{shown[1 - _MAX_SHOWN * 2 // 3 :]}"
    return shown or "(no name)"


def safe_path(name: str) -> str:
    """A relative path with `/` between folders, without the suffix, that any file system takes.

    Folders are kept; `..`, drives, reserved names and odd characters are not. Never empty.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        return "photo"
    stem = PurePosixPath(parts[-1]).stem or parts[-1]
    folders = [_safe_folder(part) for part in parts[:-1][-_MAX_FOLDERS:]]
    return "/".join([*folders, _safe_part(stem, "photo")])


def output_paths(names: Iterable[str]) -> list[tuple[str, bool]]:
    """A distinct safe path for each name, in order, and whether it differs from the name's own.

    Two paths that differ only in case or Unicode form count as the same, because some file systems
    say so; the later ones are numbered.
    """
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    found = []
    for name in names:
        path = wanted = safe_path(name)
        number = numbers.get(wanted, 1)
        while _folded(path) in taken:
            number += 1
            path = f"{wanted} ({number})"
        numbers[wanted] = number
        taken.add(_folded(path))
        given = PurePosixPath(name)
        own = unicodedata.normalize("NFC", str(given.parent / given.stem))
        found.append((path, path != own))
    return found


def filled(template: str, fields: Mapping[str, str]) -> str:
    """A template of names with its fields, as a safe relative path without a suffix.

    A `/` of the template parts folders, one of a field does not. What is too long for a file name ends
    with a hash of all of it, so that two of them stay two.
    """
    parts = [
        part.format_map({name: value.replace("/", "_").replace("\\", "_") for name, value in fields.items()})
        for part in template.replace("\\", "/").split("/")
        if part.strip(" .")
    ]
    *folders, last = [_bounded(part) for part in parts or ["photo"]]
    return "/".join([*(_safe_folder(part) for part in folders), _safe_part(last, "photo")])


def distinct(path: str, taken: set[str]) -> str:
    """The path, numbered where one that counts as the same is taken; it is taken then."""
    found, number, given = path, 1, PurePosixPath(path)
    while _folded(found) in taken:
        number += 1
        found = str(given.with_name(f"{given.stem} ({number}){given.suffix}"))
    taken.add(_folded(found))
    return found


def _bounded(part: str) -> str:
    if len(part.encode()) <= _MAX_PART_BYTES:
        return part
    kept = part.encode()[: _MAX_PART_BYTES - 9].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(part.encode()).hexdigest()[:8]}"


def _safe_folder(part: str) -> str:
    """A folder's name that no cutout or manifest beside it can have."""
    text = _safe_part(part, "folder")
    stem, dot, suffix = text.rpartition(".")
    return f"{stem}_{suffix}" if (dot + suffix).casefold() in _OUR_SUFFIXES else text


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE and char not in _JOINERS


@lru_cache(maxsize=8192)  # a page of a job asks for the same names again and again
def _safe_part(part: str, otherwise: str) -> str:
    text = unicodedata.normalize("NFC", part)
    text = "".join("_" if _is_invisible(char) else char for char in text)
    text = sanitize_filename(text, replacement_text="_", platform="universal").strip(" .")
    device = text.partition(".")[0].rstrip()
    if device.upper() in _DEVICES:
        text = f"{device}_{text[len(device) :]}"
    while len(text.encode()) > _MAX_PART_BYTES:
        text = text[:-1].rstrip(" .")
    return text or otherwise


def _folded(path: str) -> str:
    once = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", path).casefold())
    return unicodedata.normalize("NFKD", once.casefold())
