"""Errors of ours, shown where they happen instead of ending the page."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.ui.text import said

P = ParamSpec("P")


def guarded(function: Callable[P, None]) -> Callable[P, None]:
    """The same part of a page, which says what went wrong where a call to the service fails.

    Needed inside every fragment: what a fragment raises never reaches the script around it.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except PhotoprocError as error:
            st.error(said(error.problem), icon=":material/error:")

    return run
