"""Photo bytes + recipe + model -> cutout + timings. Runs in a child process."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoproc.errors import TaskError
from photoproc.imaging import compose, decode, encode, framing
from photoproc.jobs import Warn
from photoproc.models.catalogue import ModelSpec
from photoproc.models.faces import FaceFinder
from photoproc.models.matting import Matting
from photoproc.recipe import Background, FaceCrop, Recipe

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and where its weights are on this machine."""

    spec: ModelSpec
    weights: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the pipeline makes of one photo.

    `png` is the cutout, `preview` and `before` are small WebPs of the cutout and of the same part of
    the photo; `mask_png` is the mask at the model's size where the model ran. `seconds` has a figure
    for each step that ran: decode, load, inference, framing, compose, encode, preview.
    """

    png: bytes
    size_wh: tuple[int, int]
    preview: bytes
    before: bytes
    mask_png: bytes | None
    seconds: Mapping[str, float]
    provider: str
    warnings: tuple[Warn, ...]


class Pipeline:
    """The steps, with the models this process has loaded."""

    def __init__(self, *, threads: int) -> None:
        self._matting = Matting(threads=threads)

    @cached_property
    def _faces(self) -> FaceFinder:
        return FaceFinder()

    def run(
        self,
        photo: bytes,
        recipe: Recipe,
        model: Model | None,
        *,
        max_pixels: int,
        mask_png: bytes | None = None,
        seconds: dict[str, float] | None = None,
    ) -> Result:
        """Make the cutout of a photo.

        `model` is None where the recipe keeps the background; `mask_png` is this model's mask of
        this photo where it is known already (a damaged one is made again); `seconds` is filled step
        by step, for who wants to know them also of a run that fails. Raises PhotoError, ModelError,
        and TaskError `no_face` where the recipe skips photos without one.
        """
        clock = _Stopwatch({} if seconds is None else seconds)
        warnings: list[Warn] = []
        with clock.step("decode"):
            pixels = decode.decode(photo, max_pixels=max_pixels)
        rgb, alpha = pixels.rgb, pixels.alpha
        with clock.step("framing"):  # before the model runs: a photo that is skipped needs no mask
            box = self._frame(rgb, recipe, warnings)
        fresh_mask, provider = None, ""
        if model is not None:
            mask, fresh_mask, provider = self._mask_of(rgb, model, mask_png, clock)
            with clock.step("compose"):
                full = compose.scale_mask(mask, (rgb.shape[1], rgb.shape[0]))
                alpha = compose.combine_alpha(full, alpha)
        if box is not None:
            rgb = framing.cut(rgb, box)
            alpha = None if alpha is None else framing.cut(alpha, box)
        if model is not None and alpha is not None and not (alpha > 127).any():
            warnings.append(
                Warn(code="nothing_left", message="The model found no subject; the cutout is empty.")
            )
        background = compose.in_profile(recipe.background, pixels.icc)
        with clock.step("compose"):
            picture = compose.compose(rgb, alpha, background)
        with clock.step("encode"):
            png = encode.to_png(picture, pixels.icc)
        with clock.step("preview"):
            preview, before = _previews(rgb, alpha, background, pixels.icc)
        return Result(
            png=png,
            size_wh=(picture.shape[1], picture.shape[0]),
            preview=preview,
            before=before,
            mask_png=fresh_mask,
            seconds=clock.seconds,
            provider=provider,
            warnings=tuple(warnings),
        )

    def _mask_of(
        self, rgb: U8, model: Model, known_png: bytes | None, clock: "_Stopwatch"
    ) -> tuple[U8, bytes | None, str]:
        """The mask at the model's size, its PNG if it was made now, and the provider that made it."""
        known = None if known_png is None else encode.from_mask_png(known_png)
        if known is not None:
            return known, None, ""
        if not self._matting.has(model.spec):
            with clock.step("load"):
                self._matting.load(model.spec, model.weights)
        with clock.step("inference"):
            small = compose.shrink_for_model(rgb, model.spec.input_wh)
            found = self._matting.predict(small, model.spec)
        return found.mask, encode.to_png(found.mask), found.provider

    def _frame(self, rgb: U8, recipe: Recipe, warnings: list[Warn]) -> framing.Box | None:
        if not isinstance(recipe.framing, FaceCrop):
            return None
        faces = self._faces.find(rgb)
        if not faces:
            if recipe.framing.no_face == "skip":
                raise TaskError(
                    "no_face", "No face was found.", "Choose “keep the whole picture” to get it uncropped."
                )
            warnings.append(Warn(code="no_face", message="No face was found; the whole picture is kept."))
            return None
        if len(faces) > 1:
            warnings.append(
                Warn(code="several_faces", message=f"{len(faces)} faces were found; the largest is used.")
            )
        return framing.face_square(faces[0].box_xyxy, (rgb.shape[1], rgb.shape[0]), recipe.framing.margin)


def _previews(rgb: U8, alpha: U8 | None, background: Background, icc: bytes | None) -> tuple[bytes, bytes]:
    """Previews of the cutout and of the photo, composed small rather than shrunk from the large one."""
    size_wh = encode.preview_size((rgb.shape[1], rgb.shape[0]))
    small = compose.shrink_picture(rgb, size_wh)
    small_alpha = None if alpha is None else compose.shrink_picture(alpha, size_wh)
    after = compose.compose(small, small_alpha, background)
    return encode.to_preview(after, icc), encode.to_preview(small, icc)


class _Stopwatch:
    """Seconds by step; a step timed twice adds up."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
