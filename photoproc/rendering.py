"""A photo and its alpha, already at their best, to the files of a cutout."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from photoproc.errors import TaskError
from photoproc.imaging import compose, encode, framing, sheet
from photoproc.imaging.compose import Look, OnNothing, Samples
from photoproc.jobs import LEVEL_SIDE, ExtraKind, Warn
from photoproc.parts import Colour, Keep, Output
from photoproc.recipe import Recipe

U8 = NDArray[np.uint8]

_SHEET_DPI = 300
_PREVIEW_SIDE = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One cutout as a file (empty where only a preview was wanted), with small WebPs of it and of the
    same part of the photo, its level where it has one, and what goes with it."""

    data: bytes
    size_wh: tuple[int, int]
    preview: bytes
    before: bytes
    face: int = 0
    level: bytes | None = None
    extras: Mapping[ExtraKind, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """A photo ready to be cut: `colours` (8 or 16 bits; at the soft edge the subject's own), `photo` as it
    was with its `own` alpha, `alpha` of the subject (None: opaque), what they look like on a background,
    and the camera's EXIF."""

    colours: Samples
    photo: Samples
    own: U8 | None
    alpha: U8 | None
    look: Look
    exif: bytes | None


def in_print(recipe: Recipe, frame: framing.Frame) -> Output:
    """The output with fewer dots an inch where the cutout has fewer pixels than asked for.

    So a passport photo has its millimetres all the same.
    """
    output, (wide, high), size = recipe.output, frame.out_wh, recipe.size
    share = wide / size.width if size.width is not None else high / (size.height or high)
    if share >= 1 or (output.dpi is None and output.sheet is None):
        return output
    return output.model_copy(update={"dpi": max(1, round((output.dpi or _SHEET_DPI) * share))})


def made(
    layers: Layers,
    frame: framing.Frame,
    output: Output,
    clock: "Stopwatch",
    warnings: list[Warn],
    *,
    small: bool,
    compared: bool = False,
    aside: Executor | None = None,
) -> Made:
    """One cutout in its files; `small` makes previews only, `compared` a level of what is large.

    `aside` makes the previews while the file is written, where there is a core for that; the step is then
    how much longer they take.
    """
    icc = layers.look.icc
    if small:  # at the photo's own pixels, however few the file is to have
        own = (max(1, round(frame.size_wh[0])), max(1, round(frame.size_wh[1])))
        frame = replace(frame, out_wh=max(own, frame.out_wh))
        with clock.step("preview"):
            preview, before, _ = _previews(layers, frame, output, None, leveled=False)
            return Made(data=b"", size_wh=frame.out_wh, preview=preview, before=before, face=frame.face)
    with clock.step("compose"):
        picture, alpha = _by_rows(layers, frame, output) or _dressed(layers, frame, output)
        if output.format == "jpeg" and isinstance(picture, np.ndarray) and picture.shape[2:] == (4,):
            picture = _on_white(picture)
            _warn(warnings, "made_opaque", "JPEG cannot be transparent: there it is white.")
    leveled = compared and max(frame.out_wh) > LEVEL_SIDE
    looks: Callable[[], tuple[bytes, bytes, bytes | None]]
    looks = partial(_previews, layers, frame, output, picture, leveled=leveled)
    if aside is not None:
        looks = aside.submit(looks).result
    with clock.step("encode"):
        extras = dict[ExtraKind, bytes]()
        data = encode.encode(picture, output, icc=icc, exif=layers.exif)
        if output.show == "pair":
            extras["mask"] = encode.encode(alpha, output, icc=None, exif=None)
        if output.sheet is not None:
            assert not isinstance(picture, OnNothing)  # see _by_rows
            extras |= _sheet(picture, output, icc, warnings)
    with clock.step("preview"):
        preview, before, level = looks()
    return Made(
        data=data,
        size_wh=frame.out_wh,
        preview=preview,
        before=before,
        face=frame.face,
        level=level,
        extras=extras,
    )


def _previews(
    layers: Layers,
    frame: framing.Frame,
    output: Output,
    picture: Samples | OnNothing | None,
    *,
    leveled: bool,
) -> tuple[bytes, bytes, bytes | None]:
    """Small WebPs of a cutout and of the same part of the photo, and its level where it is to have one."""
    icc, level = layers.look.icc, None
    if picture is not None and leveled:
        picture = compose.shrink_cutout(picture, encode.preview_size(frame.out_wh, LEVEL_SIDE))
        level = encode.to_preview(encode.to_8bit(picture), icc)
    size_wh = encode.preview_size(frame.out_wh, _PREVIEW_SIDE)
    preview, before = (encode.to_8bit(one) for one in _looks(layers, frame, output, size_wh, picture))
    return encode.to_preview(preview, icc), encode.to_preview(before, icc), level


def _looks(
    layers: Layers,
    frame: framing.Frame,
    output: Output,
    size_wh: tuple[int, int],
    picture: Samples | OnNothing | None,
) -> tuple[Samples, Samples]:
    """A small cutout, of `picture` where it was made, and the same part of the photo as it was."""
    photo_wh = (layers.photo.shape[1], layers.photo.shape[0])
    if picture is not None and frame.box is not None and layers.own is None and frame.inside(photo_wh):
        left, top, right, bottom = frame.box
        photo = layers.photo[top:bottom, left:right]
        return compose.shrink_cutout(picture, size_wh), compose.shrink_cutout(photo, size_wh)
    coarse, little = _coarse(layers, frame, size_wh)
    made = _dressed(coarse, little, output)[0] if picture is None else compose.shrink_cutout(picture, size_wh)
    before, inside = _cut(coarse.photo, coarse.own, little)
    if inside is not None:  # nothing is beyond the photo
        before = compose.compose(before, inside, Look(background=Keep()))
    return made, before


def _coarse(layers: Layers, frame: framing.Frame, size_wh: tuple[int, int]) -> tuple[Layers, framing.Frame]:
    """For a preview: rows and columns are skipped down to about twice its size, only the rest is averaged."""
    step = int(min(own / (2 * out) for own, out in zip(frame.size_wh, size_wh, strict=True)))
    if step < 2:
        return layers, replace(frame, out_wh=size_wh)
    photo = compose.every(layers.photo, step)
    same = layers.colours is layers.photo
    coarse = replace(
        layers,
        photo=photo,
        colours=photo if same else compose.every(layers.colours, step),
        own=None if layers.own is None else compose.every(layers.own, step),
        alpha=None if layers.alpha is None else compose.every(layers.alpha, step),
    )
    across, down = frame.centre_xy
    wide, high = frame.size_wh
    return coarse, replace(
        frame,
        centre_xy=(across / step, down / step),
        size_wh=(wide / step, high / step),
        out_wh=size_wh,
    )


def _by_rows(layers: Layers, frame: framing.Frame, output: Output) -> tuple[OnNothing, U8] | None:
    """What `_dressed` makes, made while it is written, where nothing else needs it as a whole."""
    plain = output.format == "png" and output.show == "cutout" and output.sheet is None
    look = layers.look
    if not plain or look.background.kind != "transparent" or look.shadow is not None or layers.alpha is None:
        return None
    colours, alpha = _cut(layers.colours, layers.alpha, frame)
    assert alpha is not None
    return OnNothing(colours if output.depth == "input" else encode.to_8bit(colours), alpha), alpha


def _dressed(layers: Layers, frame: framing.Frame, output: Output) -> tuple[Samples, U8]:
    """What the recipe wants to see of a frame, and the alpha there."""
    colours, alpha = _cut(layers.colours, layers.alpha, frame)
    seen = np.full(colours.shape[:2], 255, np.uint8) if alpha is None else alpha
    if output.show == "mask":
        return seen, seen
    if output.show == "pair":
        return framing.render(layers.photo, frame), seen
    before = inside = None
    if layers.look.background.kind == "blur":
        before, inside = _cut(layers.photo, layers.own, frame)
    return compose.compose(colours, alpha, layers.look, before=before, inside=inside), seen


def _cut(colours: Samples, alpha: U8 | None, frame: framing.Frame) -> tuple[Samples, U8 | None]:
    """Colours and alpha (of 8 bits also where the colours have 16) in a frame."""
    cut, seen = framing.render_cutout(colours, alpha, frame)
    return cut, None if seen is None else encode.to_8bit(seen)


def _warn(warnings: list[Warn], code: str, message: str) -> None:
    """Say it once, however many faces it is true of."""
    if (warning := Warn(code=code, message=message)) not in warnings:
        warnings.append(warning)


def _on_white(picture: Samples) -> Samples:
    alpha = encode.to_8bit(np.ascontiguousarray(picture[..., 3]))
    colours = np.ascontiguousarray(picture[..., :3])
    return compose.compose(colours, alpha, Look(background=Colour()))


def _sheet(
    picture: Samples, output: Output, icc: bytes | None, warnings: list[Warn]
) -> dict[ExtraKind, bytes]:
    """A page of the picture, on white."""
    assert output.sheet is not None
    eight = encode.to_8bit(picture)
    if eight.ndim == 2:
        eight = np.repeat(eight[..., None], 3, axis=2)
    elif eight.shape[2] == 4:
        eight = encode.to_8bit(_on_white(eight))
    dpi, asked = output.dpi or _SHEET_DPI, output.sheet
    size_wh = (eight.shape[1], eight.shape[0])
    try:
        plan = sheet.layout(size_wh, paper=asked.paper, dpi=dpi, copies=asked.copies)
    except TaskError as error:  # the cutout is good all the same
        _warn(warnings, error.problem.code, f"There is no sheet. {error.problem.message}")
        return {}
    if asked.copies is not None and plan.holds < asked.copies:
        _warn(warnings, "fewer_copies", f"The sheet holds {plan.holds} of the {asked.copies} copies.")
    jpeg, pdf = sheet.sheet(eight, paper=asked.paper, dpi=dpi, copies=asked.copies, icc=icc)
    return {"sheet": jpeg, "sheet_pdf": pdf}


class Stopwatch:
    """Seconds by step; a step timed twice adds up."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, took_s: float) -> None:
        """Count in what was timed elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + took_s
