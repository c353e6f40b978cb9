"""What is put behind the subject."""

from typing import BinaryIO, cast

import streamlit as st
from pydantic import TypeAdapter, ValidationError

from photoproc.errors import PhotoprocError, Problem
from photoproc.parts import CssColour
from photoproc.service import PhotoService
from photoproc.ui.control import chosen, draw
from photoproc.ui.links import link_token
from photoproc.ui.options_form import PICKER, Form
from photoproc.ui.strip import Thumb, strip
from photoproc.ui.text import escaped, said

_KINDS = {
    "Transparent": "transparent",
    "Colour": "colour",
    "Gradient": "gradient",
    "Picture": "picture",
    "Blur": "blur",
    "Keep": "keep",
}
_FITS = {"Fill": "cover", "Show whole": "contain"}
_SHAPES = {"Straight": "linear", "From the middle": "radial"}
_NOTHING = Problem(code="no_picture", message="There is no picture in this file.", advice="")
_COLOUR: TypeAdapter[str] = TypeAdapter(CssColour)


def choose_background(photos: PhotoService, form: Form) -> None:
    """Which background, and what it needs."""
    kind = form.choice("background", "Background", _KINDS)
    if kind == "colour":
        choose_colour(form, "colour.colour", "Background colour")
    elif kind == "gradient":
        _choose_gradient(form)
    elif kind == "picture":
        _choose_picture(photos, form)
    elif kind == "blur":
        form.percent("blur.radius", "Strength", 1, 10, help="As a share of the photo’s longer side.")
    elif kind == "keep":
        st.caption("The background stays, so no model runs.")
    form.place("background")


def choose_colour(form: Form, name: str, label: str) -> None:
    """A colour: picked, or written as CSS has it."""
    picker = form.key(f"{name}{PICKER}")
    shown = _solid(form.values[name])
    picked = chosen(picker, shown)
    if picked != shown:
        form.fill({name: picked})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        form.control(
            name,
            st.text_input,
            label,
            help="Any CSS colour: #0b6e6e, white, rgb(0 0 0 / 50%), oklch(70% 0.1 200).",
            max_chars=100,
        )
        draw(
            st.color_picker,
            f"Pick {label[:1].lower()}{label[1:]}",
            name=picker,
            begin=_solid(form.values[name]),
            label_visibility="collapsed",
        )


def _solid(text: str) -> str:
    """A colour as pickers take it; black for what is none, as pickers have it."""
    try:
        return _COLOUR.validate_python(text)[:7]
    except ValidationError:
        return "#000000"


def _choose_gradient(form: Form) -> None:
    left, right = st.columns(2)
    with left:
        choose_colour(form, "gradient.start", "From")
    with right:
        choose_colour(form, "gradient.end", "To")
    if form.choice("gradient.shape", "Direction", _SHAPES, label_visibility="collapsed") == "linear":
        form.slider(
            "gradient.angle_deg", "Angle", 0.0, 360.0, 5.0, format="%d°", help="180° is downwards, as in CSS."
        )


def _choose_picture(photos: PhotoService, form: Form) -> None:
    """One of the pictures that are kept, or a new one."""
    turn = form.key("background-turn")
    key = form.key(f"background-file-{st.session_state.get(turn, 0)}")
    st.file_uploader(
        "Background picture", key=key, on_change=_take_in, args=(photos, form, key, turn), max_upload_size=100
    )
    kept = photos.backgrounds()
    if kept and not form.values["picture.picture"]:
        form.fill({"picture.picture": kept[0]})
    if kept:
        token = link_token(photos, "backgrounds")
        thumbs = [
            Thumb(
                id=picture,
                name=f"Picture {place}",
                about="Added before",
                source=f"/api/v1/backgrounds/{picture}/thumbnail?token={token}",
            )
            for place, picture in enumerate(kept, 1)
        ]
        strip(
            thumbs,
            key=form.key("backgrounds"),
            label="Background pictures",
            chosen=form.values["picture.picture"],
            on_choose=lambda picture: form.fill({"picture.picture": picture}),
        )
        fit = form.choice("picture.fit", "Fit", _FITS, label_visibility="collapsed")
        if fit == "contain":
            choose_colour(form, "picture.colour", "Colour around it")
    else:
        st.caption("Add a picture to go on, or choose another background.")
    refused = st.session_state.get(form.key("background-refused"))
    if refused is not None:
        name, problem = refused
        st.error(f"{escaped(name)}: {said(problem)}", icon=":material/error:")


def _take_in(photos: PhotoService, form: Form, key: str, turn: str) -> None:
    """Keep what was just added, and choose it; or remember why that is not possible."""
    file = st.session_state[key]
    refused = form.key("background-refused")
    st.session_state[refused] = None
    if file is None:
        return
    batch = photos.new_batch()
    try:
        taken = photos.accept(batch, file.name, cast(BinaryIO, file))
        if taken.photos:
            form.fill({"picture.picture": photos.keep_background(batch, taken.photos[0])})
            st.session_state[turn] = st.session_state.get(turn, 0) + 1  # a new uploader, without the file
        else:
            problem = taken.refused[0].problem if taken.refused else _NOTHING
            st.session_state[refused] = file.name, problem
    except PhotoprocError as error:
        st.session_state[refused] = file.name, error.problem
