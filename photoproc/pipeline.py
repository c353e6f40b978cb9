"""Photo bytes + recipe + model -> cutouts + timings. Runs in a child process."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import ServiceError
from photoproc.imaging import certainty, compose, decode, edges, encode, framing, profiles
from photoproc.imaging.compose import Look, Samples
from photoproc.jobs import Warn
from photoproc.models import faces
from photoproc.models.catalogue import ModelSpec
from photoproc.models.matting import Matting
from photoproc.models.providers import Choice
from photoproc.models.vitmatte import ViTMatte
from photoproc.parts import Colour, Edges, Face, Keep, Size
from photoproc.recipe import Recipe
from photoproc.rendering import Layers, Made, Stopwatch, in_print, made

U8 = NDArray[np.uint8]
Kept = TypeVar("Kept")

_KEPT = 6
"""What is kept between previews: faces, alphas and colours of small pictures."""
_LOOK_EFFORT = 0.25
"""How much of the work on edges a preview does: it is to come within half a second."""
_LARGE = 16_000_000
"""Pixels of a photo with which a child has to be careful with memory."""
_MAX_FACES = 40
"""Cutouts of one photo at most: a report of more would not fit into a pipe in one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and where its weights are on this machine."""

    spec: ModelSpec
    weights: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the pipeline makes of one photo.

    `mask_png` is the mask at the model's size where the model ran. `seconds` has a figure for each
    step that ran: decode, load, inference, certainty, edges, framing, compose, encode, preview.
    `uncertainty` is that of `imaging.certainty`, where the recipe asks for it.
    """

    pictures: tuple[Made, ...]
    mask_png: bytes | None
    seconds: Mapping[str, float]
    provider: str
    warnings: tuple[Warn, ...]
    uncertainty: float | None = None


class Pipeline:
    """The steps, with the models this process has loaded."""

    def __init__(self, *, threads: int, graphs: Path | None = None, choice: Choice | None = None) -> None:
        """`graphs` is the folder of prepared models, see `models.graphs`; `choice` what models run on."""
        self._threads = threads
        self._choice = choice
        self._matting = Matting(threads=threads, graphs=graphs, choice=choice)
        self._backgrounds: dict[Path, U8] = {}
        self._refiner: ViTMatte | None = None
        self._kept: dict[tuple[object, ...], object] = {}

    @cached_property
    def _faces(self) -> faces.FaceFinder:
        return faces.FaceFinder()

    def run(
        self,
        photo: bytes,
        recipe: Recipe,
        model: Model | None,
        *,
        max_pixels: int,
        mask_png: bytes | None = None,
        background: Path | None = None,
        refiner: Path | None = None,
        uncertainty: float | None = None,
        longest: int | None = None,
        threads: int | None = None,
        seconds: dict[str, float] | None = None,
    ) -> Result:
        """Make the cutouts of a photo: one, or one a face.

        `model` is None where the recipe keeps the background; `mask_png` is this model's mask of
        this photo where it is known already (a damaged one is made again); `background` and `refiner`
        are the files of the recipe's background picture and of ViTMatte's weights. `uncertainty` is what is
        known already of this model and photo. With `longest` the photo is taken that small and only previews
        are made, without a check of certainty. `threads` are the model's now. `seconds` is filled
        step by step, for who wants to know them also of a run that fails. Raises PhotoError, ModelError, and
        TaskError: `no_face` where the recipe skips photos without one, and what the recipe asks for in vain.
        """
        clock = Stopwatch({} if seconds is None else seconds)
        self._matting.threads = threads or self._threads
        with clock.step("decode"):
            asked = recipe.size
            pixels, recipe, scale = _decoded(photo, recipe, max_pixels=max_pixels, longest=longest)
        seen = None if longest is None else hashlib.blake2b(photo).digest()
        warnings = list(pixels.warnings)
        found: list[faces.Face] = []
        if isinstance(recipe.framing, Face):
            with clock.step("framing"):
                thorough = recipe.framing.which != "largest"
                look = partial(self._faces.find, pixels.rgb, thorough=thorough)
                found = self._once(("faces", seen, thorough), look)
                if not found and recipe.framing.no_face != "keep":  # then it needs no mask either
                    _frames(recipe, pixels, found, None, scale, asked)
        alpha, fresh_mask, provider = pixels.alpha, None, ""
        if model is not None:
            # A preview's mask is kept for the job: it is made of the whole photo all the same.
            whole = partial(decode.decode, photo, max_pixels=max_pixels) if seen else lambda: pixels
            mask, fresh_mask, provider = self._mask_of(whole, model, mask_png, clock)
            if not recipe.certainty or seen:
                uncertainty = None
            elif uncertainty is None:
                uncertainty = self._uncertainty(pixels, model, mask, clock)
            if uncertainty is not None and uncertainty >= certainty.NEEDS_LOOK:
                warnings.append(_uncertain(uncertainty))
            effort = _LOOK_EFFORT if seen else 1.0
            edged = partial(self._edged, pixels, mask, recipe.edges, refiner, clock, effort)
            alpha = self._once(("edges", seen, recipe.edges, model.spec), edged)
            if not (alpha > 127).any():
                warnings.append(
                    Warn(code="nothing_left", message="The model found no subject; the cutout is empty.")
                )
        with clock.step("framing"):
            frames = _frames(recipe, pixels, found, alpha, scale, asked)
        with clock.step("compose"):
            layers = self._layers(pixels, recipe, alpha, background, seen, model)
        pictures = []
        for frame in frames:
            warnings += [warning for warning in frame.warnings if warning not in warnings]
            output = in_print(recipe, frame)
            several = len(recipe.models) > 1
            pictures.append(
                made(layers, frame, output, clock, warnings, small=longest is not None, compared=several)
            )
        return Result(
            pictures=tuple(pictures),
            mask_png=fresh_mask,
            seconds=clock.seconds,
            provider=provider,
            warnings=tuple(warnings),
            uncertainty=uncertainty if model is not None else None,
        )

    def _mask_of(
        self,
        whole: Callable[[], decode.Pixels],
        model: Model,
        known_png: bytes | None,
        clock: "Stopwatch",
    ) -> tuple[U8, bytes | None, str]:
        """The mask at the model's size, its PNG if it was made now, and the provider that made it."""
        known = None if known_png is None else encode.from_mask_png(known_png)
        if known is not None:
            return known, None, ""
        self._loaded(model, clock)
        with clock.step("inference"):
            rgb = whole().rgb
            small = compose.shrink_for_model(rgb, model.spec.input_wh)
            # Of a large photo, or what the model ran in would be there beside its cutout.
            found = self._matting.predict(small, model.spec, lean=rgb.shape[0] * rgb.shape[1] >= _LARGE)
        return found.mask, encode.to_png(found.mask), found.provider

    def _loaded(self, model: Model, clock: "Stopwatch") -> None:
        if not self._matting.has(model.spec):
            with clock.step("load"):
                self._matting.load(model.spec, model.weights)

    def _uncertainty(self, pixels: decode.Pixels, model: Model, mask: U8, clock: "Stopwatch") -> float:
        """How much the model disagrees with itself: it looks twice more."""
        self._loaded(model, clock)
        with clock.step("certainty"):
            small = np.asarray(compose.shrink_for_model(pixels.rgb, model.spec.input_wh))

            def look(picture: U8) -> U8:
                return self._matting.predict(Image.fromarray(picture), model.spec).mask

            return certainty.uncertainty(small, mask, look)

    def _edged(
        self,
        pixels: decode.Pixels,
        mask: U8,
        options: Edges,
        refiner: Path | None,
        clock: "Stopwatch",
        effort: float,
    ) -> U8:
        """The subject's alpha at the photo's size, its edge as the recipe wants it."""
        with clock.step("compose"):
            alpha = compose.scale_mask(mask, (pixels.rgb.shape[1], pixels.rgb.shape[0]))
        if options.method != "model" or options.shrink_px or options.feather_px:
            with clock.step("edges"):
                wanted = options.method == "vitmatte" and refiner is not None
                refine = self._vitmatte(refiner).refine if wanted and refiner else None
                alpha = edges.refined(pixels.rgb, alpha, options, refiner=refine, effort=effort)
        return compose.combine_alpha(alpha, pixels.alpha)

    def _vitmatte(self, weights: Path) -> ViTMatte:
        if self._refiner is None:
            self._refiner = ViTMatte(weights, threads=self._threads, choice=self._choice)
        return self._refiner

    def _layers(
        self,
        pixels: decode.Pixels,
        recipe: Recipe,
        alpha: U8 | None,
        background: Path | None,
        seen: bytes | None,
        model: Model | None,
    ) -> Layers:
        icc, photo = pixels.icc, _colours(pixels)
        if recipe.output.profile == "srgb":
            photo, icc = profiles.to_srgb(photo, icc), None
        if pixels.alpha is not None:  # what the photo itself hides stays hidden
            photo = np.where(pixels.alpha[..., None] > 0, photo, 0).astype(photo.dtype)
        own = photo
        if recipe.edges.decontaminate and alpha is not None and not isinstance(recipe.background, Keep):
            place = ("colours", seen, recipe.edges, recipe.output.profile, model)
            effort = _LOOK_EFFORT if seen else 1.0
            own = self._once(place, partial(edges.decontaminated, photo, alpha, effort=effort))
        look = Look(
            background=recipe.background,
            shadow=recipe.shadow,
            icc=icc,
            picture=None if recipe.picture is None else self._background(background),
        )
        return Layers(colours=own, photo=photo, own=pixels.alpha, alpha=alpha, look=look, exif=pixels.exif)

    def _once(self, place: tuple[object, ...], make: Callable[[], Kept]) -> Kept:
        """What is costly in a preview is kept for the next ones of the same photo (`place[1]`)."""
        if place[1] is None:
            return make()
        if place not in self._kept:
            self._kept = {**dict(list(self._kept.items())[1 - _KEPT :]), place: make()}
        return cast(Kept, self._kept[place])

    def _background(self, path: Path | None) -> U8:
        """The recipe's background picture in sRGB; the last one is kept."""
        if path not in self._backgrounds:
            try:
                data = b"" if path is None else path.read_bytes()
            except FileNotFoundError:
                data = b""
            if path is None or not data:
                raise ServiceError(
                    "background_missing", "The background picture is gone.", "Upload it again."
                )
            self._backgrounds = {path: _opaque_srgb(data)}
        return self._backgrounds[path]


def _uncertain(uncertainty: float) -> Warn:
    message = (
        f"Uncertainty {uncertainty:.2f}: the model disagrees with itself about this photo. Mirrored, or a "
        "little shifted, it gets another mask."
    )
    return Warn(code="uncertain", message=message)


def _decoded(
    photo: bytes, recipe: Recipe, *, max_pixels: int, longest: int | None
) -> tuple[decode.Pixels, Recipe, float]:
    """The photo's pixels, its recipe, and how small both are, which is less than 1 for a preview."""
    if longest is None:
        wide = recipe.output.depth == "input" and recipe.output.format in ("png", "tiff")
        return decode.decode(photo, max_pixels=max_pixels, deep=wide), recipe, 1.0
    pixels, (width, _) = decode.decode_small(photo, longest=longest, max_pixels=max_pixels)
    scale = pixels.rgb.shape[1] / width

    def side(px: int | None) -> int | None:
        return None if px is None else max(1, round(px * scale))

    size = recipe.size
    sides: dict[str, object] = {"width": side(size.width), "height": side(size.height)}
    if size.width is not None and size.height is not None:  # exactly of that shape
        sides = {"width": side(size.width), "height": None, "aspect": f"{size.width}:{size.height}"}
    parts = {
        "edges": {"shrink_px": recipe.edges.shrink_px * scale, "feather_px": recipe.edges.feather_px * scale},
        "size": sides,
        "output": {"longest": side(recipe.output.longest)},
    }
    changed = {part: getattr(recipe, part).model_copy(update=fields) for part, fields in parts.items()}
    return pixels, recipe.model_copy(update=changed), scale


def _colours(pixels: decode.Pixels) -> Samples:
    """All the bits there are."""
    return pixels.rgb if pixels.deep is None else cast(Samples, pixels.deep)


def _opaque_srgb(data: bytes) -> U8:
    pixels = decode.decode(data, max_pixels=100_000_000)
    white = Look(background=Colour())
    return profiles.to_srgb(encode.to_8bit(compose.compose(pixels.rgb, pixels.alpha, white)), pixels.icc)


def _frames(
    recipe: Recipe,
    pixels: decode.Pixels,
    found: list[faces.Face],
    alpha: U8 | None,
    scale: float,
    asked: Size,
) -> list[framing.Frame]:
    """Where to cut; the largest faces where there are too many. `asked` is the size before it was scaled."""
    frames = framing.plan(
        recipe.framing,
        recipe.size,
        longest=recipe.output.longest,
        photo_wh=(pixels.rgb.shape[1], pixels.rgb.shape[0]),
        faces=found,
        alpha=alpha,
        told_as=1 / scale,
        told_size=asked,
    )
    if len(frames) > _MAX_FACES:
        message = f"{len(frames)} faces were found; the {_MAX_FACES} largest have a cutout."
        warning = Warn(code="too_many_faces", message=message)
        frames = [
            replace(frames[0], warnings=(*frames[0].warnings, warning)),
            *frames[1:_MAX_FACES],
        ]
    return frames
