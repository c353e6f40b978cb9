"""The quieter options: crop, edges and shadow, size, output."""

from datetime import UTC, datetime

import streamlit as st

from photoproc.names import filled, safe_path
from photoproc.parts import NAME_FIELDS, Output
from photoproc.ui.options_background import choose_colour
from photoproc.ui.options_form import Form
from photoproc.ui.options_values import DEEP, LOSSLESS_TOO, LOSSY, Values, preset_values
from photoproc.ui.text import escaped

CROPS = {"None": "none", "Subject": "subject", "Face": "face"}
PRESETS: dict[str, str | None] = {
    "My own": None,
    "Headshot": "headshot",
    "Half body": "half_body",
    "Passport (35 × 45 mm)": "passport",
    "US passport (2 × 2 in)": "us_passport",
    "Avatar": "avatar",
}
_WHICH = {"The largest": "largest", "Each on its own": "each", "All together": "together"}
_NO_FACE = {"Keep the whole picture": "keep", "Skip the photo": "skip", "Fail": "fail"}
EDGES = {"As the model": "model", "Finer": "matting", "Hair": "vitmatte"}
SHAPES = {
    "As it is cut": None,
    "As the photo": "original",
    **{ratio: ratio for ratio in ("1:1", "4:5", "3:4", "2:3", "9:16", "5:4", "4:3", "3:2", "16:9")},
}
_FITS = {"Pad": "pad", "Cut": "cut"}
SHOWN = {"Cutout": "cutout", "Mask": "mask", "Photo and mask": "pair"}
_PROFILES = {"As the photo": "keep", "sRGB": "srgb"}
_CAMERA = {"Removed": "strip", "Kept": "keep"}
_PAPERS = {"10 × 15 cm (4 × 6 in)": "4x6in", "A4": "a4"}
FORMATS = {"PNG": "png", "WebP": "webp", "JPEG": "jpeg", "AVIF": "avif", "TIFF": "tiff"}


def choose_certainty(form: Form) -> None:
    """Whether the models look again."""
    form.switch(
        "certainty",
        "Check certainty",
        help="Each model looks twice more, at the mirrored photo and at a shifted one, which takes two to "
        "three times as long. Photos about which it disagrees with itself need a look, and come first.",
    )
    form.place("certainty")


def choose_crop(form: Form) -> None:
    """Where to cut."""
    preset = form.values["face.preset"]

    def follows(before: str, after: str) -> Values:
        if after == "face":
            return preset_values(preset, None)
        return preset_values(None, preset) if before == "face" else {}

    crop = form.choice("crop", "Crop", CROPS, follows=follows)
    if crop == "subject":
        form.percent("subject.margin", "Space around the subject", 0, 50, help="Of its longer side.")
    elif crop == "face":
        _choose_face(form)
    form.place("framing")


def _choose_face(form: Form) -> None:
    left, right = st.columns(2)
    with left:
        form.choice(
            "face.preset",
            "Portrait",
            PRESETS,
            widget=st.selectbox,
            follows=lambda before, after: preset_values(after, before),
        )
    with right:
        form.choice("face.which", "Faces", _WHICH, widget=st.selectbox)
    with left:
        form.percent("face.head", "Head", 10, 90, help="Crown to chin, as a share of the picture’s height.")
    with right:
        form.percent("face.eye_line", "Eyes from the top", 10, 70)
    with left:
        form.choice("face.no_face", "Where there is no face", _NO_FACE, widget=st.selectbox)
    with right:
        st.space("small")
        form.switch("face.align", "Level the eyes", help="Turns the picture until the eyes are level.")


def choose_format(form: Form) -> None:
    """The kind of file."""
    form.choice("output.format", "Format", FORMATS)
    form.place("output", "recipe")


def choose_edges(form: Form) -> None:
    """The mask's edge, and a shadow."""
    form.place("edges", "shadow")
    with st.expander("Edges and shadow", key=form.key("more-edges")):
        method = form.choice(
            "edges.method",
            "Edge",
            EDGES,
            help="“Finer” looks for hair and fur with closed-form matting, “Hair” with the ViTMatte network.",
        )
        if method == "vitmatte":
            st.caption("Needs ViTMatte’s weights; they are fetched when they are first asked for.")
        form.switch("edges.decontaminate", "Remove the old background’s colour from the edge")
        left, right = st.columns(2)
        with left:
            form.slider("edges.shrink_px", "Shrink", 0.0, 10.0, 0.5, format="%g px")
        with right:
            form.slider("edges.feather_px", "Feather", 0.0, 10.0, 0.5, format="%g px")
        if form.switch("shadow", "Shadow"):
            _choose_shadow(form)


def _choose_shadow(form: Form) -> None:
    choose_colour(form, "shadow.colour", "Shadow colour")
    left, right = st.columns(2)
    with left:
        form.percent("shadow.opacity", "Opacity", 0, 100)
        form.percent("shadow.right", "To the right", -20, 20)
    with right:
        form.percent("shadow.blur", "Softness", 0, 15)
        form.percent("shadow.down", "Down", -20, 20)


def choose_size(form: Form) -> None:
    """The shape and the pixels of the cutout."""
    form.place("size", "output.longest")
    with st.expander("Size", key=form.key("more-size")):
        shape = form.control(
            "size.aspect",
            st.selectbox,
            "Shape",
            list(SHAPES),
            shown=lambda aspect: next((word for word, one in SHAPES.items() if one == aspect), aspect),
            meant=lambda word: SHAPES.get(word, word),
            accept_new_options=True,
            help="Or write your own, such as 7:5.",
        )
        left, middle, right = st.columns(3)
        with left:
            wide = form.whole("size.width", "Width, px", "any")
        with middle:
            high = form.whole("size.height", "Height, px", "any")
        with right:
            form.whole("output.longest", "Longest, px", "any")
        if shape or (wide and high):
            form.choice(
                "size.fit",
                "What does not fit",
                _FITS,
                help="Padded with nothing, or with the background; or cut away.",
            )
        if wide or high:
            form.switch("size.enlarge", "Enlarge smaller cutouts")


def choose_output(form: Form, example: str) -> None:
    """The file itself; `example` is the name of a photo."""
    form.place("output.name", "output.sheet", "output.dpi")
    with st.expander("Output", key=form.key("more-output")):
        kind = form.values["output.format"]
        if form.values["background"] != "keep":
            form.choice("output.show", "Picture", SHOWN)
        lossless = kind in LOSSLESS_TOO and form.switch("output.lossless", "Lossless")
        if kind in LOSSY and not lossless:
            form.slider("output.quality", "Quality", 1, 100, 1, format="%d")
        _choose_name(form, example)
        left, right = st.columns(2)
        with left:
            form.choice("output.profile", "Colour profile", _PROFILES, widget=st.selectbox)
            form.whole("output.dpi", "Print density, dpi", "none")
        with right:
            form.choice(
                "output.metadata",
                "Camera data",
                _CAMERA,
                widget=st.selectbox,
                help="What the camera wrote; the place is removed always.",
            )
            if kind in DEEP:
                st.space("small")
                form.switch("output.depth", "16 bits a channel stay", on="input", off="8")
        if form.switch("sheet", "Sheet to print", help="The picture several times on a page: JPEG and PDF."):
            _choose_sheet(form)


def _choose_sheet(form: Form) -> None:
    left, right = st.columns(2)
    with left:
        form.choice("sheet.paper", "Paper", _PAPERS, widget=st.selectbox)
    with right:
        form.whole("sheet.copies", "Copies", "as many as fit")


def _choose_name(form: Form, example: str) -> None:
    """The template of names, with what it makes of a photo."""
    known = " ".join(f"{{{field}}}" for field in NAME_FIELDS)
    template = form.control(
        "output.name", st.text_input, "File names", max_chars=100, help=f"With {known}, and / for folders."
    )
    output = Output.model_construct(format=form.values["output.format"])
    fields = {
        "stem": safe_path(example).rpartition("/")[2],
        "model": next(iter(form.values["models"]), "none"),
        "n": "1",
        "face": "1",
        "job": example,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    try:
        st.caption(f"For example {escaped(filled(template, fields) + output.suffix)}")
    except (KeyError, ValueError, IndexError, AttributeError):
        st.caption(" ")  # the template is not right yet, which is said above
