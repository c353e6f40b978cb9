"""Controls whose value the program sets as well as the person who uses them.

What a control begins with is told in every run. A value that is written into `st.session_state` reaches the
page in one run only, and not at all where the next run interrupts that one: then the page has another value
than the program, and says so with the next click anywhere. A control that is to show another value
is a new one, under a new key. What was chosen is compared with what was told, not left to `on_change`: a
click that crosses such a change on its way would have Streamlit call it for the control that is gone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

_BEGINS_WITH: Mapping[Callable[..., Any], str] = {
    st.color_picker: "value",
    st.multiselect: "default",
    st.pagination: "default",
    st.segmented_control: "default",
    st.selectbox: "index",
    st.slider: "value",
    st.text_input: "value",
    st.toggle: "value",
}
"""The controls that are drawn so, and which of its parameters tells each what it begins with."""


def key_of(name: str) -> str:
    """The key of a control now."""
    return f"{name}#{turns().get(name, 0)}"


def chosen(name: str, now: Any) -> Any:
    """What was chosen with a control that is drawn later in this run; `now` where nothing was."""
    return st.session_state.get(key_of(name), now)


def renew(name: str) -> None:
    """Have the control begin anew, with the value it is told then."""
    known = turns()
    known[name] = known.get(name, 0) + 1


def turns() -> dict[str, int]:
    """How often each control has begun anew: one object, since the next click may end a run at every
    look into `st.session_state`, and never between changes of this."""
    found: dict[str, int] = st.session_state.setdefault("turns of controls", {})
    return found


def draw(
    widget: Callable[..., Any], label: str | int, *args: Any, name: str, begin: Any, **options: Any
) -> Any:
    """Draw a control that begins with a value, until it is renewed; returns its value.

    `label` is whatever the control takes first: of pages it is their number.
    """
    begin = chosen(name, begin)  # so that a page that is drawn anew has it as well
    told = _BEGINS_WITH[widget]
    if told == "index":
        choices = list(args[0])
        choices += [begin] * (begin not in choices)  # where a person may write what is not there
        args, begin = (choices, *args[1:]), choices.index(begin)
    return widget(label, *args, key=key_of(name), **{told: begin}, **options)
