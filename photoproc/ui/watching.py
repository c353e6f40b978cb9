"""A part of a page that is drawn again when what it shows has changed, and not before.

Streamlit sends whatever a fragment draws with every run of it. So a second fragment, which draws nothing,
looks every second whether there is anything new: a look costs what Streamlit says of any run, under 1 KB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import streamlit as st

from photoproc.errors import PhotoprocError, Problem
from photoproc.ui.guard import guarded
from photoproc.ui.text import said
from photoproc.ui.timer import redraw_soon, stop_timer, this_fragment

T = TypeVar("T")

_LOOK_EVERY_S = 1.0
_DRAW_AFTER_S = 0.2


@dataclass(slots=True)
class _Shown(Generic[T]):
    """What is on the screen, and the fragment that drew it."""

    found: T | Problem | None = None
    fragment: str | None = None


def show_live(look: Callable[[], T], draw: Callable[[T], None], *, over: Callable[[T], bool]) -> None:
    """Draw what `look` finds, and draw it again whenever that is no longer equal, until it is `over`.

    What `look` raises is shown instead.
    """
    shown = _Shown[T]()

    @st.fragment
    @guarded
    def live() -> None:
        stop_timer()  # drawn once for each time it was asked for
        found, shown.fragment = _found(look), this_fragment()
        if isinstance(found, Problem):
            st.error(said(found), icon=":material/error:")
        else:
            draw(found)
        shown.found = found  # last: a run that was cut short has not shown it

    live()

    @st.fragment(run_every=None if _is_over(shown.found, over) else _LOOK_EVERY_S)
    def watch() -> None:
        if _found(look) != shown.found:
            redraw_soon(shown.fragment, every_s=_DRAW_AFTER_S)
        elif _is_over(shown.found, over):
            stop_timer()

    watch()


def _found(look: Callable[[], T]) -> T | Problem:
    try:
        return look()
    except PhotoprocError as error:
        return error.problem


def _is_over(found: T | Problem | None, over: Callable[[T], bool]) -> bool:
    return not (found is None or isinstance(found, Problem)) and over(found)
