"""What a form takes beside its original, on this machine: both in one process, in turn. Run in a child."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.models.catalogue import ModelSpec
from photoproc.models.matting import Matting
from photoproc.models.providers import Choice
from photoproc.samples import form_photos

_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds of a photo, one a turn, and the mean soft IoU of both's masks."""

    original_s: tuple[float, ...]
    form_s: tuple[float, ...]
    soft_iou: float


def measure(
    original: ModelSpec,
    weights: Path,
    form: ModelSpec,
    file: Path,
    *,
    threads: int,
    choice: Choice,
    graphs: Path,
) -> Measured:
    """Run both on photos that the form was not made with, in turn, every other turn the form first.

    As the children that run tasks do it: so many threads, models prepared in `graphs`, with all that making a
    mask takes. Raises ModelError and MemoryError.
    """
    matting = Matting(threads=threads, choice=choice, graphs=graphs)
    matting.load(original, weights)
    matting.load(form, file)
    photos = [
        Image.open(path).convert("RGB").resize(original.input_wh, Image.Resampling.LANCZOS)
        for path in form_photos()[1]
    ]
    alike = [_soft_iou(*(matting.predict(photo, spec).mask for spec in (original, form))) for photo in photos]
    took: dict[str, list[float]] = {original.name: [], form.name: []}
    for turn, photo in enumerate(photos * _ROUNDS):
        for spec in (original, form) if turn % 2 else (form, original):
            began = perf_counter()
            matting.predict(photo, spec)
            took[spec.name].append(round(perf_counter() - began, 4))
    return Measured(
        original_s=tuple(took[original.name]),
        form_s=tuple(took[form.name]),
        soft_iou=round(float(np.mean(alike)), 4),
    )


def _soft_iou(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Σ min / Σ max, as comparisons show it; 1 where both are empty."""
    most = float(np.maximum(one, other).sum(dtype=np.float64))
    return float(np.minimum(one, other).sum(dtype=np.float64)) / most if most else 1.0
