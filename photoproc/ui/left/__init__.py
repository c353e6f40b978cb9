"""What a tab of the browser had uploaded before its page was loaded again."""

from collections.abc import Callable

import streamlit as st

from photoproc.ui.component import component


def left(*, key: str, on_batch: Callable[[str], None]) -> None:
    """Ask the tab, which answers where it knows of an upload; it shows nothing."""
    component("left")(data=None, key=key, on_batch_change=lambda: on_batch(str(st.session_state[key].batch)))
