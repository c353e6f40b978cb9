"""File names: what a user sent, made safe for every file system and unique within a job."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from pathvalidate import sanitize_filename

_MAX_PART = 120
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn")


def display_name(name: str) -> str:
    """A name fit to be shown: no control or direction-changing characters, at most 300 of them."""
    shown = "".join("�" if unicodedata.category(char) in _INVISIBLE else char for char in name)
    return shown[:300] or "(no name)"


def safe_path(name: str) -> str:
    """A relative path with `/` between folders, without the suffix, that any file system takes.

    Folders are kept; `..`, drives, reserved names and odd characters are not. Never empty.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        return "photo"
    stem = PurePosixPath(parts[-1]).stem or parts[-1]
    return "/".join([*(_safe_part(part, "folder") for part in parts[:-1][-8:]), _safe_part(stem, "photo")])


def output_paths(names: Iterable[str]) -> list[tuple[str, bool]]:
    """A distinct safe path for each name, in order, and whether it differs from the name's own.

    Two paths that differ only in case or Unicode form count as the same, because some file systems
    say so; the later ones are numbered.
    """
    taken: set[str] = set()
    found = []
    for name in names:
        wanted = safe_path(name)
        path, number = wanted, 1
        while _folded(path) in taken:
            number += 1
            path = f"{wanted} ({number})"
        taken.add(_folded(path))
        own = str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name
        found.append((path, path != own))
    return found


def _safe_part(part: str, otherwise: str) -> str:
    text = unicodedata.normalize("NFC", part)
    text = "".join("_" if unicodedata.category(char) in _INVISIBLE else char for char in text)
    text = sanitize_filename(text, replacement_text="_", platform="universal").strip(" .")
    while len(text.encode()) > _MAX_PART:
        text = text[:-1].rstrip(" .")
    return text or otherwise


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", path).casefold()
