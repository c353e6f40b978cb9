"""The controls of the options: what they show, kept for a session, and where their errors are said."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from photoproc.errors import Problem
from photoproc.recipe import Recipe
from photoproc.ui.control import draw, turns
from photoproc.ui.options_values import Values, values_of
from photoproc.ui.text import escaped

_NAMED = re.compile(r"(^|; )([a-z_]+(?:\.[a-z_0-9]+)*): ")
"""The fields that the error of a recipe names, one for each mistake."""

_CHOICES = {"background": "background", "framing": "crop"}
"""The controls that choose between the kinds of a part."""

PICKER = "-pick"
"""What the picker beside a colour's text is called more than the text."""


class Form:
    """The values of the options under a `scope`, and the controls that show and change them.

    Values are kept exactly; a control shows one as a person reads it, and changes it only when it is used.
    """

    def __init__(self, scope: str, begin: Recipe) -> None:
        self.scope = scope
        self._kept = f"options{scope}"
        if self._kept not in st.session_state:
            st.session_state[self._kept] = values_of(begin)
        self._places: dict[str, DeltaGenerator] = {}
        self._labels: dict[str, str] = {}

    @property
    def values(self) -> Values:
        """What is chosen, by part and field."""
        values: Values = st.session_state[self._kept]
        return values

    def key(self, name: str) -> str:
        """What a control is called in this scope."""
        return f"{name}{self.scope}"

    def fill(self, values: Mapping[str, Any]) -> None:
        """Show other values, before the controls are drawn."""
        self._put(values, self.values, turns())

    def _put(self, values: Mapping[str, Any], kept: Values, known: dict[str, int]) -> None:
        """Keep values, and have all that shows them begin anew: in one moment, without a look into
        `st.session_state`, at which the next click may end the run."""
        kept.update(values)
        for key in (self.key(f"{name}{part}") for name in values for part in ("", PICKER)):
            known[key] = known.get(key, 0) + 1

    def control(
        self,
        name: str,
        widget: Callable[..., Any],
        label: str,
        *args: Any,
        shown: Callable[[Any], Any] = lambda value: value,
        meant: Callable[[Any], Any] = lambda value: value,
        follows: Callable[[Any, Any], Mapping[str, Any]] = lambda before, after: {},
        **options: Any,
    ) -> Any:
        """A control of a value, and the value: `shown` is what it shows for it, `meant` the way back.

        What `follows` from another value in place of the one before is filled in with it, and a colour's
        picker begins anew, in the same moment: were the run to end between, the next one would not know.
        """
        self._labels[name] = label
        kept, known = self.values, turns()
        before = kept[name]
        got = draw(widget, label, *args, name=self.key(name), begin=shown(before), **options)
        if got != shown(before):
            after = meant(got)
            picker = self.key(f"{name}{PICKER}")
            known[picker] = known.get(picker, 0) + 1
            self._put(follows(before, after), kept, known)
            kept[name] = after
        return kept[name]

    def choice(
        self,
        name: str,
        label: str,
        words: Mapping[str, Any],
        *,
        widget: Callable[..., Any] = st.segmented_control,
        **options: Any,
    ) -> Any:
        """One of a few values, each with its word."""
        word_of = {value: word for word, value in words.items()}
        more: dict[str, Any] = {"required": True} if widget is st.segmented_control else {}
        return self.control(
            name,
            widget,
            label,
            list(words),
            shown=lambda value: word_of.get(value, next(iter(words))),
            meant=lambda word: words[word],
            **more,
            **options,
        )

    def percent(self, name: str, label: str, low: int, high: int, step: int = 1, **options: Any) -> Any:
        """A share, as a slider of percent that reaches as far as the value does."""
        now = round(self.values[name] * 100)
        return self.control(
            name,
            st.slider,
            label,
            min(low, now),
            max(high, now),
            step=step,
            shown=lambda share: round(share * 100),
            meant=lambda percent: percent / 100,
            format="%d%%",
            **options,
        )

    def slider(self, name: str, label: str, low: float, high: float, step: float, **options: Any) -> Any:
        """A number, as a slider that reaches as far as the value does."""
        kind = type(step)  # all numbers of a slider are of one
        now = kind(self.values[name])
        return self.control(
            name, st.slider, label, min(low, now), max(high, now), step=step, shown=kind, **options
        )

    def whole(self, name: str, label: str, placeholder: str) -> Any:
        """A whole number, or none where nothing is written; what is no number stays as it is, for the recipe
        to refuse. Streamlit's own field for numbers can be emptied only where it begins empty."""
        return self.control(
            name,
            st.text_input,
            label,
            shown=lambda value: "" if value is None else str(value),
            meant=_whole,
            max_chars=9,
            placeholder=placeholder,
        )

    def switch(self, name: str, label: str, *, on: Any = True, off: Any = False, **options: Any) -> Any:
        """One of two values, as a switch."""
        return self.control(
            name,
            st.toggle,
            label,
            shown=lambda value: value == on,
            meant=lambda yes: on if yes else off,
            **options,
        )

    def place(self, *fields: str) -> None:
        """Here is said what is wrong with these fields."""
        spot = st.empty()
        self._places |= dict.fromkeys(fields, spot)

    def tell(self, problem: Problem) -> None:
        """Say what is wrong where the first field that it names is, by the labels of the controls."""
        named = problem.message.partition(":")[0]
        while named and named not in self._places:
            named = named.rpartition(".")[0]
        spot = self._places.get(named) or st.empty()
        message = _NAMED.sub(lambda found: f"{found[1]}{self._label(found[2])}: ", problem.message)
        spot.error(escaped(message), icon=":material/error:")

    def _label(self, field: str) -> str:
        """What a field of a recipe is called on the page."""
        part, _, rest = field.partition(".")
        choice = _CHOICES.get(part)
        kept = field.removeprefix("output.") if choice is None else f"{self.values[choice]}.{rest}"
        names = (name for name in (kept, field, choice or part) if name in self._labels)
        return next((self._labels[name] for name in names), part.capitalize())


def _whole(text: str) -> int | str | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text or None
