"""Photo bytes + recipe + model -> cutouts + timings. Runs in a child process."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar, Unpack, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import PhotoprocError, ServiceError
from photoproc.imaging import certainty, compose, decode, edges, encode, profiles
from photoproc.imaging.compose import Look, Samples
from photoproc.jobs import Warn
from photoproc.models import faces
from photoproc.models.matting import Matting
from photoproc.models.providers import Choice, Limit
from photoproc.models.vitmatte import ViTMatte
from photoproc.parts import Colour, Edges, Face, Keep
from photoproc.recipe import Recipe
from photoproc.rendering import Layers, Made, Stopwatch, in_print, made
from photoproc.work import Model, Options, Work, decoded, frames

U8 = NDArray[np.uint8]
Kept = TypeVar("Kept")

_KEPT = 6
"""What is kept between previews: faces, alphas and colours of small pictures."""
_LOOK_EFFORT = 0.25
"""How much of the work on edges a preview does: it is to come within half a second."""
_LARGE = 16_000_000
"""Pixels of a photo with which a child has to be careful with memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the pipeline makes of one photo.

    `mask_png` is the mask at the model's size where the model ran. `seconds` has a figure for each
    step that ran: decode, load, inference, certainty, edges, framing, compose, encode, preview.
    `uncertainty` is that of `imaging.certainty`, where the recipe asks for it. `batch` is how many photos
    shared the run of the model, `limit` how many it takes where that was found out.
    """

    pictures: tuple[Made, ...]
    mask_png: bytes | None
    seconds: Mapping[str, float]
    provider: str
    warnings: tuple[Warn, ...]
    uncertainty: float | None = None
    batch: int = 1
    limit: Limit | None = None


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

    def run(self, photo: bytes, recipe: Recipe, model: Model | None, **options: Unpack[Options]) -> Result:
        """Make the cutouts of a photo: one, or one a face.

        `model` is None where the recipe keeps the background. Raises PhotoError, ModelError, and TaskError:
        `no_face` where the recipe skips photos without one, and what the recipe asks for in vain.
        """
        work = self.prepare(photo, recipe, model, **options)
        self.find_masks([work])
        return self.finish(work)

    def prepare(self, photo: bytes, recipe: Recipe, model: Model | None, **options: Unpack[Options]) -> Work:
        """The first third of `run`: decode the photo, and look for faces where the recipe wants any."""
        given = options.get("seconds")
        clock = Stopwatch({} if given is None else given)
        self._matting.threads = options.get("threads") or self._threads
        longest = options.get("longest")
        with clock.step("decode"):
            asked = recipe.size
            pixels, recipe, scale = decoded(photo, recipe, max_pixels=options["max_pixels"], longest=longest)
        seen = None if longest is None else hashlib.blake2b(photo).digest()
        found: list[faces.Face] = []
        if isinstance(recipe.framing, Face):
            with clock.step("framing"):
                thorough = recipe.framing.which != "largest"
                look = partial(self._faces.find, pixels.rgb, thorough=thorough)
                found = self._once(("faces", seen, thorough), look)
                if not found and recipe.framing.no_face != "keep":  # then it needs no mask either
                    frames(recipe, pixels, found, None, scale, asked)
        known = options.get("mask_png")
        return Work(
            photo=photo,
            recipe=recipe,
            model=model,
            options=options,
            clock=clock,
            pixels=pixels,
            scale=scale,
            asked=asked,
            seen=seen,
            faces=found,
            mask=None if known is None or model is None else encode.from_mask_png(known),
        )

    def find_masks(self, works: Sequence[Work]) -> None:
        """The second third: run the model, which is one and the same, where a mask is not known yet.

        Where it can it runs once for all of them; each has its share of the time. What goes wrong is kept in
        the work as its problem.
        """
        waiting = [work for work in works if work.model is not None and work.mask is None]
        if not waiting or waiting[0].model is None:
            return
        model, lean = waiting[0].model, False
        try:
            self._load(model, waiting[0].clock, batch=len(waiting) > 1)
            small = []
            for work in waiting:
                with work.clock.step("inference"):
                    # A preview's mask is kept for the job: it is made of the whole photo all the same.
                    max_pixels = work.options["max_pixels"]
                    whole = decode.decode(work.photo, max_pixels=max_pixels) if work.seen else work.pixels
                    small.append(compose.shrink_for_model(whole.rgb, model.spec.input_wh))
                    # Of a large photo, or what the model ran in would be there beside its cutout.
                    lean = lean or whole.rgb.shape[0] * whole.rgb.shape[1] >= _LARGE
                    del whole
            began = time.perf_counter()
            found = self._matting.predict_each(small, model.spec, lean=lean)
            share_s = (time.perf_counter() - began) / len(waiting)
        except (PhotoprocError, MemoryError) as error:
            for work in waiting:
                work.problem = error
            return
        for work, one in zip(waiting, found, strict=True):
            work.clock.add("inference", share_s)
            if isinstance(one, Exception):
                work.problem = one
            else:
                work.mask, work.made = one.mask, one

    def finish(self, work: Work) -> Result:
        """The last third: from the mask to the files."""
        if work.problem is not None:
            raise work.problem
        pixels, recipe, clock, seen = work.pixels, work.recipe, work.clock, work.seen
        model, mask, uncertainty = work.model, work.mask, work.options.get("uncertainty")
        warnings = list(pixels.warnings)
        alpha = pixels.alpha
        if model is not None and mask is not None:
            if not recipe.certainty or seen:
                uncertainty = None
            elif uncertainty is None:
                uncertainty = self._uncertainty(pixels, model, mask, clock)
            if uncertainty is not None and uncertainty >= certainty.NEEDS_LOOK:
                warnings.append(_uncertain(uncertainty))
            effort = _LOOK_EFFORT if seen else 1.0
            refiner = work.options.get("refiner")
            edged = partial(self._edged, pixels, mask, recipe.edges, refiner, clock, effort)
            alpha = self._once(("edges", seen, recipe.edges, model.spec), edged)
            if alpha.max() <= 127:
                warnings.append(
                    Warn(code="nothing_left", message="The model found no subject; the cutout is empty.")
                )
        pictures = self._pictures(work, alpha, warnings)
        return Result(
            pictures=tuple(pictures),
            mask_png=None if work.made is None else encode.to_png(work.made.mask),
            seconds=clock.seconds,
            provider="" if work.made is None else work.made.provider,
            warnings=tuple(warnings),
            uncertainty=uncertainty if model is not None else None,
            batch=1 if work.made is None else work.made.batch,
            limit=None if model is None else self._matting.limit(model.spec),
        )

    def _pictures(self, work: Work, alpha: U8 | None, warnings: list[Warn]) -> list[Made]:
        """The cutouts of a photo with this alpha of its subject."""
        pixels, recipe, clock = work.pixels, work.recipe, work.clock
        with clock.step("framing"):
            planned = frames(recipe, pixels, work.faces, alpha, work.scale, work.asked)
        with clock.step("compose"):
            background = work.options.get("background")
            layers = self._layers(pixels, recipe, alpha, background, work.seen, work.model)
        small, several = work.seen is not None, len(recipe.models) > 1
        has_cores = (work.options.get("threads") or self._threads) > 1
        pictures = []
        with ThreadPoolExecutor(1) if has_cores and not small else nullcontext() as aside:
            for frame in planned:
                warnings += [warning for warning in frame.warnings if warning not in warnings]
                output, how = in_print(recipe, frame), {"small": small, "compared": several}
                pictures.append(made(layers, frame, output, clock, warnings, aside=aside, **how))
        return pictures

    def _load(self, model: Model, clock: "Stopwatch", *, batch: bool = False) -> None:
        if not self._matting.has(model.spec, batch=batch):
            with clock.step("load"):
                self._matting.load(model.spec, model.weights, batch=batch)

    def _uncertainty(self, pixels: decode.Pixels, model: Model, mask: U8, clock: "Stopwatch") -> float:
        """How much the model disagrees with itself: it looks twice more."""
        self._load(model, clock)
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


def _colours(pixels: decode.Pixels) -> Samples:
    """All the bits there are."""
    return pixels.rgb if pixels.deep is None else cast(Samples, pixels.deep)


def _opaque_srgb(data: bytes) -> U8:
    pixels = decode.decode(data, max_pixels=100_000_000)
    white = Look(background=Colour())
    return profiles.to_srgb(encode.to_8bit(compose.compose(pixels.rgb, pixels.alpha, white)), pixels.icc)
