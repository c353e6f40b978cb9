"""Where a server cannot start: what is said, and what to do about it."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from photoproc.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_FULL = "its disk is full", "Make room on it, then start again."
_NO_FOLDER = "it, or a folder above it, is a file and not a folder", "Name another folder."
_NOT_ALLOWED = (
    "this user may not write there",
    "Give the folder to the user that runs Photoproc, or name another.",
)
_FOLDER: Mapping[int, tuple[str, str]] = {
    errno.EEXIST: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EROFS: ("its disk is read-only", "Name a folder on a disk that can be written."),
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
}
_KINDS = {
    "int_parsing": "write a whole number, such as {default}",
    "int_from_float": "write a whole number, such as {default}",
    "float_parsing": "write a number, such as {default}",
    "bool_parsing": "write 1 for yes or 0 for no",
    "less_than_equal": "write {le} or less",
    "greater_than_equal": "write {ge} or more",
    "greater_than": "write more than {gt}",
}


def load_settings(*, sign_in: bool = False) -> Settings:
    """The settings from the environment; where they are not valid, ends the program saying why."""
    try:
        return Settings(sign_in=sign_in)
    except ValidationError as error:
        fields = Settings.model_fields
        wrong = [
            _setting(one, fields[str(one["loc"][0])].get_default(call_default_factory=True))
            for one in error.errors()
        ]
        raise SystemExit("Photoproc cannot start.\n" + "\n".join(wrong)) from error


def check_address(settings: Settings, address: str | None) -> None:
    """End the program where it would listen for others than this machine, and nothing keeps anybody out."""
    if (
        address in ("localhost", "127.0.0.1", "::1")
        or settings.keys
        or settings.sign_in
        or settings.allow_anonymous
    ):
        return
    raise SystemExit(
        f"Photoproc cannot start: on {address or 'all addresses'} anybody who reaches this machine could "
        "use it.\nHave people sign in (.streamlit/secrets.toml), set PHOTOPROC_API_KEYS (the dashboard stays "
        "open), or PHOTOPROC_ALLOW_ANONYMOUS=1 where that is meant."
    )


def data_folder(folder: Path, error: OSError) -> str:
    """Why the data folder cannot be used; what is wrong elsewhere as the system says it."""
    place = None if error.filename is None else Path(str(error.filename))
    if place is not None and folder != place and folder not in place.parents and place not in folder.parents:
        return str(error)
    why, advice = _FOLDER.get(error.errno or 0, (error.strerror or str(error), "Name another folder."))
    return f"PHOTOPROC_DATA_DIR: the folder {folder} cannot be used: {why}. {advice}"


def full_disk(folder: Path) -> str:
    """That the data folder's disk has no room, not even to look at its jobs."""
    return data_folder(folder, OSError(errno.ENOSPC, ""))


def _setting(wrong: "ErrorDetails", default: object) -> str:
    """What is wrong with a setting, and what to write."""
    example = f"{default:g}" if isinstance(default, float) else default
    asked = _KINDS.get(wrong["type"])
    told = (
        wrong["msg"].removeprefix("Value error, ")
        if asked is None
        else asked.format(**{"default": example, **wrong.get("ctx", {})})
    )
    return f"PHOTOPROC_{str(wrong['loc'][0]).upper()}: {told}"
