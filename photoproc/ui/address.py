"""What a page shows, kept in its address: a link opens the same again, and Back goes back."""

from collections.abc import Mapping
from typing import NoReturn

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from photoproc.ui.control import chosen, draw, renew

SEARCH, LIST_PAGE, PAGE = "search", "list-page", "page"
"""What the search, the page of the list of jobs and the page of a gallery are called in the address."""
_LEFT = "list as it was left"


def go(query: Mapping[str, str]) -> NoReturn:
    """Show the same page with this in its address, and nothing else."""
    st.query_params.from_dict(query)
    st.rerun()


def remember_list(search: str, page: int) -> None:
    """Keep how the list of jobs is shown, for `go_to_list`."""
    st.session_state[_LEFT] = {SEARCH: search, LIST_PAGE: str(page) if page > 1 else ""}


def go_to_list() -> NoReturn:
    """Show the list of jobs again, as it was left."""
    go({name: value for name, value in st.session_state.get(_LEFT, {}).items() if value})


def page_of(count: int, per_page: int, *, key: str, view: str = "") -> int:
    """The number of the page to show of so many things, of which `view` is one of several; `key` is its name
    in the address, which alone keeps it."""
    pages = max(1, -(-count // per_page))
    if pages == 1:
        return 1
    name, asked = _pager(key, view), min(_asked(key), pages)
    now = chosen(name, asked)
    if now > pages or (came_back() and now != asked):
        renew(name)
    page = int(draw(st.pagination, pages, name=name, begin=asked))
    if page != _asked(key):
        _keep(page, key)
    return page


def turn_to(page: int, *, key: str, view: str = "") -> None:
    """Have another page shown from now on, whatever the browser still says of the one before."""
    _keep(page, key)
    renew(_pager(key, view))


def _pager(key: str, view: str) -> str:
    """What the control is called."""
    return f"{key}{view}"


def _asked(key: str) -> int:
    """The page that the address says."""
    asked = st.query_params.get(key, "")
    return max(1, int(asked)) if asked.isdecimal() else 1


def _keep(page: int, key: str) -> None:
    """Have the address say a page."""
    if page == 1:
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = str(page)


def came_back() -> bool:
    """Whether this run shows an earlier address again, so that the address decides and not the widgets."""
    return bool(getattr(get_script_run_ctx(), "is_history_navigation", False))
