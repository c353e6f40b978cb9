"""Forms of a model on the System page: which there are, what they take, and buttons to make them."""

from collections.abc import Callable, Mapping

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.models.forms import FED, KINDS, Kind, can_make, form_name, times
from photoproc.models.weights import Phase
from photoproc.overview import ModelState
from photoproc.service import PhotoService
from photoproc.ui.text import escaped, said

_ALIKE = 0.95
"""Below this soft IoU a form's masks are others to the eye."""
_HELP: Mapping[Kind, str] = {
    "bf16": "The same file, computed in bfloat16 by OpenVINO: half the time where the processor can.",
    "int8": "A smaller file in whole numbers of 8 bits: fastest, and its masks differ most.",
    "fp16": "A file of half the size in floats of 16 bits: faster on some machines only.",
}


def show_forms(photos: PhotoService, model: ModelState) -> None:
    """Beneath a model: its forms that were made, and buttons for those that can be."""
    forms = photos.forms()
    there = model.weights.phase is Phase.READY
    kinds = [kind for kind in KINDS if model.spec.name in FED]
    for kind in kinds:
        if form_name(model.spec.name, kind) in forms.made:
            show_form(photos, model.spec.name, kind)
    missing = [
        kind for kind in kinds if can_make(kind) and form_name(model.spec.name, kind) not in forms.made
    ]
    if not (there and missing):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind in missing:
            name = form_name(model.spec.name, kind)
            if forms.at_work == name:
                st.caption(f":material/progress_activity: Making {name} …")
            elif forms.at_work is None:
                button(photos, f"Make {'a' if kind == 'bf16' else 'an'} {kind} form", model.spec.name, kind)
            if (problem := forms.problems.get(name)) is not None:
                st.caption(f":red[{said(problem)}]")


def show_form(photos: PhotoService, model: str, kind: Kind) -> None:
    """A form that was made: what it takes, how like its original it is, or why it is not offered."""
    forms = photos.forms()
    name = form_name(model, kind)
    state = forms.made[name]
    like = f"soft IoU {state.form.soft_iou:.3f} with {escaped(model)}"
    if state.form.soft_iou < _ALIKE:
        like = f":orange[{like}: look at its masks before you use it]"
    told = said(state.problem) if state.problem is not None else f"{times(state.form)}, faster here."
    about, actions = st.columns([5, 2], vertical_alignment="center")
    about.markdown(f":small[:gray[{escaped(name)} · {like} · {told}]]")
    if (problem := forms.problems.get(name)) is not None:
        about.markdown(f":small[:red[{said(problem)}]]")
    with actions.container(horizontal=True):
        if forms.at_work == name:
            st.caption(":material/progress_activity: Measuring …" if state.sound else "Making …")
            return
        if forms.at_work is None and (state.sound or can_make(kind)):
            button(photos, "Measure again" if state.sound else "Make again", model, kind)
        with st.popover("Delete", icon=":material/delete:", type="tertiary", key=f"delete-{name}"):
            st.markdown(f"Delete {escaped(name)}? Its jobs stay; it can be made again here.")
            if st.button("Delete for good", key=f"gone-{name}"):
                asked(lambda: photos.delete_form(name))


def button(photos: PhotoService, label: str, model: str, kind: Kind) -> None:
    """A button that has a form made or measured."""
    key = f"form-{form_name(model, kind)}"
    if st.button(label, key=key, type="tertiary", icon=":material/compress:", help=_HELP[kind]):
        asked(lambda: photos.make_form(model, kind))


def asked(act: Callable[[], None]) -> None:
    """Do it and look again, or say why not."""
    try:
        act()
    except PhotoprocError as error:
        st.error(said(error.problem), icon=":material/error:")
    else:
        st.rerun()
