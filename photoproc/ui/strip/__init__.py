"""Small pictures of photos, each with its name, to choose one; one that cannot be shown says why."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from photoproc.ui.component import component


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """A photo in the strip. `source` is the address of its small picture, or `reason` why it has none."""

    name: str
    about: str
    source: str = ""
    reason: str = ""
    id: str = ""


def strip(
    thumbs: Sequence[Thumb],
    *,
    key: str,
    chosen: str = "",
    on_choose: Callable[[str], None],
    label: str = "Photos",
    upload: str = "",
) -> None:
    """Show these photos; `chosen` is the id of the one that is marked.

    The browser's tab remembers the batch `upload`, for `left`.
    """
    data = {
        "photos": [asdict(thumb) for thumb in thumbs],
        "chosen": chosen,
        "label": label,
        "upload": upload,
    }
    component("strip")(
        data=data, key=key, on_choose_change=lambda: on_choose(str(st.session_state[key].choose))
    )
