"""How uncertain models are about photos whose subject is hidden or blurred, beside the clean ones.

python -m tests.benchmarks.certainty [folder with photos of your own]
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from photoproc.imaging import certainty, compose
from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.matting import Matting
from photoproc.models.weights import Weights
from tests.benchmarks.common import machine, table
from tests.hidden import BLURRED, CLEAR, HIDDEN, U8, auc, behind_a_patch, clear, opened

MODELS = ("u2netp", "u2net")
WAYS: Mapping[str, Callable[[U8, U8], U8 | None]] = {
    **HIDDEN,
    **BLURRED,
    "its outline filled with one colour": behind_a_patch,
}


def main() -> None:
    """Measure and print."""
    photos = {name: clear(name) for name in CLEAR} | _own(sys.argv[1:])
    print(machine())
    for name in MODELS:
        matting, spec = Matting(threads=1), CATALOGUE[name]
        matting.load(spec, _weights(name))
        took: list[tuple[float, float]] = []
        measured = partial(_measured, matting, spec, took)
        clean = {title: measured(photo) for title, photo in photos.items()}
        rows, values = [], {}
        for way, hide in WAYS.items():
            shown = {title: hide(photo, clean[title][1]) for title, photo in photos.items()}
            values[way] = {title: measured(photo)[0] for title, photo in shown.items() if photo is not None}
        sure = {title: found for title, (found, _) in clean.items()}
        for way, found in {"clean": sure, **values}.items():
            above = sum(value > sure[title] for title, value in found.items())
            rows.append(
                [
                    way,
                    *(f"{found[title]:.2f}" if title in found else "" for title in photos),
                    "" if way == "clean" else f"{auc(list(found.values()), list(sure.values())):.2f}",
                    "" if way == "clean" else f"{above} of {len(found)}",
                    f"{sum(value >= certainty.NEEDS_LOOK for value in found.values())} of {len(found)}",
                ]
            )
        inference, looks = (statistics.median(part) for part in zip(*took, strict=True))
        print(f"\n{name}: inference {inference:.2f} s, two more looks {looks:.2f} s")
        titles = [Path(title).stem[:9] for title in photos]
        print(table(["subject", *titles, "AUC", "above its clean one", "needs a look"], rows))


def _measured(
    matting: Matting, spec: ModelSpec, took: list[tuple[float, float]], photo: U8
) -> tuple[float, U8]:
    """How uncertain the model is about a photo, and its mask; what both took goes to `took`."""
    small = np.asarray(compose.shrink_for_model(photo, spec.input_wh))

    def look(picture: U8) -> U8:
        return matting.predict(Image.fromarray(picture), spec).mask

    started = time.perf_counter()
    mask = look(small)
    once = time.perf_counter()
    found = certainty.uncertainty(small, mask, look)
    took.append((once - started, time.perf_counter() - once))
    return found, mask


def _weights(name: str) -> Path:
    places = (
        place
        for folder in Weights(None).folders()
        for place in (
            folder / "models" / name / f"{name}.onnx",
            folder / name / f"{name}.onnx",
            folder / f"{name}.onnx",
        )
    )
    return next(path for path in places if path.is_file())


def _own(folders: list[str]) -> dict[str, U8]:
    return {path.name: opened(path) for folder in folders for path in sorted(Path(folder).glob("*.jpg"))}


if __name__ == "__main__":
    main()
