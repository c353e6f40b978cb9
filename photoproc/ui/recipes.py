"""Recipes that people keep: to choose, to save under a name, to share as a link or JSON."""

from contextlib import suppress
from typing import NoReturn
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from photoproc import presets
from photoproc.errors import PhotoprocError, RecipeError
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui.control import chosen, key_of, renew
from photoproc.ui.options_form import Form
from photoproc.ui.options_values import fields_of, values_of
from photoproc.ui.text import escaped, said

_CUSTOM = "Custom"
_NAME = "recipe"
"""The form's value that is the name of the chosen recipe, or that there is none."""
IN_ADDRESS = "recipe"
_TAKEN = "recipe-taken"
_SAVING = "recipe-saving"
"""Whether what saves a recipe is open."""


def take_from_address(form: Form) -> None:
    """Fill the options as the address says, once; a broken link says so."""
    word = st.query_params.get(IN_ADDRESS)
    taken = form.key(_TAKEN)
    if word is None or st.session_state.get(taken) == word:
        return
    try:
        _fill(form, presets.from_link(word))
        form.values.pop(_NAME, None)
    except RecipeError as error:
        st.query_params.pop(IN_ADDRESS)
        st.warning(said(error.problem), icon=":material/link_off:")
    st.session_state[taken] = word  # last, since the next click may end this run before


def go_to_process(recipe: Recipe, *, again: str = "") -> NoReturn:
    """Show the Process page with these options, for new photos or those of a job `again`."""
    query = {"again": again} if again else {}
    st.session_state.pop(_TAKEN + (f"-{again}" if again else ""), None)  # to fill them anew
    st.switch_page("process.py", query_params={**query, IN_ADDRESS: presets.to_link(recipe)})


def take_chosen(photos: PhotoService, form: Form) -> None:
    """Fill the options with the recipe that was just chosen by its name."""
    if _NAME not in form.values:
        form.fill({_NAME: _name_of(photos, form)})
    before = form.values[_NAME]
    name = chosen(form.key(_NAME), before)
    try:
        recipe = None if name in (before, _CUSTOM) else photos.recipe(name)
        if recipe is not None:
            _fill(form, recipe, models=name not in presets.BUILT_IN)
        form.values[_NAME] = name  # last, since the next click may end this run before
    except PhotoprocError as error:  # deleted in another window
        st.toast(said(error.problem), icon=":material/error:")


def choose(photos: PhotoService, form: Form, recipe: Recipe | None) -> None:
    """The row with the recipe's name, and what can be done with it; `recipe` is what the options say."""
    word = st.query_params.get(IN_ADDRESS)
    if word is not None and (recipe is None or presets.to_link(recipe) != word):
        st.query_params.pop(IN_ADDRESS)  # the address says it only as long as it is true
    saved, name = photos.recipes(), form.values[_NAME]
    if name != _CUSTOM and (recipe is None or _called(saved, name, recipe) != recipe):
        name = _CUSTOM
        form.fill({_NAME: name})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.control(_NAME, st.selectbox, "Recipe", [_CUSTOM, *sorted(saved), *presets.BUILT_IN])
        with st.popover(
            "Save",
            icon=":material/bookmark:",
            disabled=recipe is None,
            key=key_of(form.key(_SAVING)),
        ):
            if recipe is not None:
                _save(photos, form, recipe, name)
        with st.popover("Share", icon=":material/share:", disabled=recipe is None):
            _share(form, recipe)


def _name_of(photos: PhotoService, form: Form) -> str:
    """What a recipe is called that the options begin with."""
    saved = photos.recipes()
    with suppress(RecipeError):  # the options are not right yet
        recipe = Recipe.of_fields(fields_of(form.values))
        for name in (*sorted(saved), *presets.BUILT_IN):
            if _called(saved, name, recipe) == recipe:
                return name
    return _CUSTOM


def _called(saved: dict[str, Recipe], name: str, now: Recipe) -> Recipe | None:
    """The recipe of a name; one without models of its own has those that are chosen now."""
    built_in = presets.BUILT_IN.get(name)
    if built_in is None:
        return saved.get(name)
    return Recipe.of_fields({**built_in, "models": now.models}) if now.models else None


def _fill(form: Form, recipe: Recipe, *, models: bool = True) -> None:
    values = values_of(recipe)
    if not (models and values["models"]):
        del values["models"]
    form.fill(values)


def _save(photos: PhotoService, form: Form, recipe: Recipe, used: str) -> None:
    """Save under a name; delete the saved one that is chosen."""
    saved, field = photos.recipes(), form.key("recipe-name")

    with st.form(form.key("recipe-form"), border=False):  # in which Enter saves
        st.text_input("Name", key=field, max_chars=80, placeholder="For example Shop, white")
        if saved:
            st.caption("One of the same name is replaced.")
        pressed = st.form_submit_button("Save recipe", type="primary", width="stretch")
    if pressed:  # and not when it is called back, where the recipe is one of the run before
        try:
            name = photos.save_recipe(st.session_state[field], recipe)
        except PhotoprocError as error:
            st.session_state[form.key("recipe-refused")] = said(error.problem)
        else:
            st.session_state[form.key("recipe-refused")] = ""
            renew(form.key(_SAVING))  # another one, which is closed
            form.fill({_NAME: name})
            st.toast(f"Saved as “{escaped(name)}”", icon=":material/bookmark:")
            st.rerun()
    refused = st.session_state.get(form.key("recipe-refused"))
    if refused:
        st.error(refused, icon=":material/error:")
    if used in saved:
        _offer_to_delete(photos, form, used)


def _offer_to_delete(photos: PhotoService, form: Form, name: str) -> None:
    asked = form.key("recipe-deleting")

    def ask(what: str) -> None:
        st.session_state[asked] = what

    def delete() -> None:
        ask("")
        try:
            photos.forget_recipe(name)
        except PhotoprocError as error:
            st.toast(said(error.problem), icon=":material/error:")

    if st.session_state.get(asked) != name:
        st.button(
            f"Delete “{escaped(name)}”", icon=":material/delete:", on_click=ask, args=(name,), width="stretch"
        )
        return
    st.markdown(f"Delete the recipe “{escaped(name)}”? Jobs keep theirs.")
    with st.container(horizontal=True):
        st.button("Delete recipe", on_click=delete)
        st.button("Keep it", on_click=ask, args=("",), type="tertiary")


def _share(form: Form, recipe: Recipe | None) -> None:
    """As a link, as JSON, and from JSON."""
    with st.container(width=320):
        link, told, back = st.tabs(["Link", "JSON", "From JSON"])
        with link:
            if recipe is not None:
                st.code(_link(recipe), language=None)
            st.caption("Whoever opens it finds these options.")
        with told:
            if recipe is not None:
                text = recipe.model_dump_json(indent=2)
                st.code(text, language="json", height=200)
                st.download_button(
                    "Download JSON",
                    text,
                    "recipe.json",
                    "application/json",
                    icon=":material/download:",
                    on_click="ignore",
                )
        with back:
            _take_json(form)


def _take_json(form: Form) -> None:
    """Fill the options from JSON, pasted or from a file."""
    field, file, refused = form.key("recipe-json"), form.key("recipe-file"), form.key("recipe-json-refused")

    def use(text: str | bytes) -> None:
        try:
            _fill(form, Recipe.from_json(text))
            form.values.pop(_NAME, None)
        except RecipeError as error:
            st.session_state[refused] = said(error.problem)
        else:
            st.session_state[refused] = st.session_state[field] = ""

    def use_file() -> None:
        given = st.session_state[file]
        if given is not None:
            use(given.getvalue())

    st.text_area("Use a recipe’s JSON", key=field, height=100, placeholder='{"models": ["u2net"], …}')
    st.button("Use this JSON", on_click=lambda: use(st.session_state[field]))
    st.file_uploader("Or a file", type="json", key=file, on_change=use_file, max_upload_size=1)
    if st.session_state.get(refused):
        st.error(st.session_state[refused], icon=":material/error:")


def _link(recipe: Recipe) -> str:
    here = urlsplit(st.context.url or "")
    return urlunsplit((here.scheme, here.netloc, "/", urlencode({IN_ADDRESS: presets.to_link(recipe)}), ""))
