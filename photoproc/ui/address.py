"""What a page shows, kept in its address: a link opens the same again, and Back goes back."""

from collections.abc import Mapping
from typing import NoReturn

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

SEARCH, LIST_PAGE, PAGE = "search", "list-page", "page"
"""What the search, the page of the list of jobs and the page of a gallery are called in the address.

Two names for pages, because widgets of one name are one widget to Streamlit, also on different views.
"""


def go(query: Mapping[str, str]) -> NoReturn:
    """Show the same page with this in its address, and nothing else."""
    st.query_params.from_dict(query)
    st.rerun()


def go_to_list() -> NoReturn:
    """Show the list of jobs again, as it was left."""
    left = {name: st.session_state.get(name) for name in (SEARCH, LIST_PAGE)}
    go({name: str(value) for name, value in left.items() if value and value != 1})


def page_of(count: int, per_page: int, *, key: str, view: str = "") -> int:
    """The number of the page to show of so many things; `key` is its name in the address.

    Where `view` is another one than before, the page chosen there is forgotten.
    """
    if st.session_state.get(f"{key}-of", view) != view or key not in st.session_state:
        asked = st.query_params.get(key, "")
        st.session_state[key] = max(1, int(asked)) if asked.isdecimal() else 1
    st.session_state[f"{key}-of"] = view
    pages = max(1, -(-count // per_page))
    if st.session_state[key] > pages:
        st.session_state[key] = pages
    return st.pagination(pages, key=key, bind="query-params") if pages > 1 else 1


def came_back() -> bool:
    """Whether this run shows an earlier address again, so that the address decides and not the widgets."""
    return bool(getattr(get_script_run_ctx(), "is_history_navigation", False))
