"""PNG encoders on a 12-megapixel cutout: seconds and megabytes, medians of rounds taken in turn.

python -m tests.benchmarks.encoders
"""

import io
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

os.environ["VIPS_CONCURRENCY"] = "1"

import cv2
import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from photoproc.imaging.compose import compose
from photoproc.recipe import Transparent
from tests.benchmarks.common import machine, photo, table

U8 = NDArray[np.uint8]


def cutout() -> U8:
    """A subject that fills half of a photo."""
    rgb = photo(12, seed=0)
    mask = Image.new("L", rgb.size)
    width, height = rgb.size
    ImageDraw.Draw(mask).ellipse((width * 0.12, height * 0.06, width * 0.88, height * 0.94), fill=255)
    alpha = np.asarray(mask.filter(ImageFilter.GaussianBlur(12)))
    return compose(np.asarray(rgb), alpha, Transparent())


def by_vips(picture: U8, level: int, how: str) -> bytes:
    """libvips with libspng."""
    data: bytes = pyvips.Image.new_from_array(picture).pngsave_buffer(compression=level, filter=how)
    return data


def by_cv2(picture: U8, level: int) -> bytes:
    """OpenCV."""
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def by_pillow(picture: U8, level: int) -> bytes:
    """Pillow."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=level)
    return out.getvalue()


def main() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    picture = cutout()
    encoders: dict[str, Callable[[], bytes]] = {
        f"libvips level {level}, {how}": partial(by_vips, picture, level, how)
        for level in (1, 2, 3, 6)
        for how in ("sub", "up", "none")
    }
    encoders |= {f"OpenCV level {level}": partial(by_cv2, picture, level) for level in (1, 3)}
    encoders |= {f"Pillow level {level}": partial(by_pillow, picture, level) for level in (1, 6)}
    took: dict[str, list[float]] = {name: [] for name in encoders}
    sizes = {}
    for _ in range(3):
        for name, encode in encoders.items():
            started = time.perf_counter()
            sizes[name] = len(encode())
            took[name].append(time.perf_counter() - started)
    rows = [[name, f"{statistics.median(took[name]):.2f}", f"{sizes[name] / 1e6:.1f}"] for name in encoders]
    print(machine())
    print(table(["encoder", "s", "MB"], rows))


if __name__ == "__main__":
    main()
