"""Small pictures of photos, each with its name; one that cannot be shown says why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from photoproc.ui.component import component


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """A photo in the strip. `source` is the address of its small picture, or `reason` why it has none."""

    name: str
    about: str
    source: str = ""
    reason: str = ""


def strip(thumbs: Sequence[Thumb], *, key: str) -> None:
    """Show these photos."""
    photos = [{"id": place, **asdict(thumb)} for place, thumb in enumerate(thumbs)]
    component("strip")(data={"photos": photos}, key=key)
