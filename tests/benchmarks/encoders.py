"""PNG encoders, our formats and the print sheet, on a 12-megapixel cutout: seconds and megabytes.

One thread; medians of rounds taken in turn. `error` is the root mean square difference of colours, of 255.

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

from photoproc.imaging.compose import Look, compose
from photoproc.imaging.encode import encode
from photoproc.imaging.sheet import Paper, sheet
from photoproc.parts import Colour, Output, Transparent
from tests.benchmarks.common import machine, photo, table

U8 = NDArray[np.uint8]
Encoder = Callable[[], bytes]


def cutout() -> U8:
    """A subject that fills half of a photo."""
    rgb = photo(12, seed=0)
    mask = Image.new("L", rgb.size)
    width, height = rgb.size
    ImageDraw.Draw(mask).ellipse((width * 0.12, height * 0.06, width * 0.88, height * 0.94), fill=255)
    alpha = np.asarray(mask.filter(ImageFilter.GaussianBlur(12)))
    return compose(np.asarray(rgb), alpha, Look(background=Transparent()))


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


def libraries(picture: U8) -> dict[str, Encoder]:
    """PNG encoders that could be used."""
    bgra = cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA).astype(np.uint8, copy=False)
    encoders: dict[str, Encoder] = {
        f"libvips level {level}, {how}": partial(by_vips, picture, level, how)
        for level in (1, 2, 3, 6)
        for how in ("sub", "up", "none")
    }
    encoders |= {f"OpenCV level {level}": partial(by_cv2, bgra, level) for level in (1, 3)}
    return encoders | {f"Pillow level {level}": partial(by_pillow, picture, level) for level in (1, 6)}


def formats(picture: U8) -> dict[str, Encoder]:
    """Every format as a recipe's output has it; JPEG on white, 16 bits with made-up lower ones."""
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, dtype=np.uint8)
    deep = np.where(picture > 0, picture.astype(np.uint16) * 256 + noise, 0).astype(np.uint16)
    white = Look(background=Colour(colour="#ffffff"))
    on_white = compose(np.ascontiguousarray(picture[..., :3]), picture[..., 3], white)
    outputs = {
        "PNG": Output(),
        "PNG, 16 bits": Output(),
        "TIFF": Output(format="tiff"),
        "TIFF, 16 bits": Output(format="tiff"),
        "JPEG, quality 90": Output(format="jpeg"),
        "JPEG, quality 80": Output(format="jpeg", quality=80),
        "WebP, quality 90": Output(format="webp"),
        "WebP, quality 80": Output(format="webp", quality=80),
        "WebP, lossless": Output(format="webp", lossless=True),
        "AVIF, quality 90": Output(format="avif"),
        "AVIF, quality 60": Output(format="avif", quality=60),
        "AVIF, lossless": Output(format="avif", lossless=True),
    }
    return {
        name: partial(
            encode,
            deep if "16" in name else on_white if "JPEG" in name else picture,
            output,
            icc=None,
            exif=None,
        )
        for name, output in outputs.items()
    }


def page(portrait: U8, paper: Paper) -> bytes:
    """A page of ID photos, JPEG and PDF together."""
    return b"".join(sheet(portrait, paper=paper, dpi=300))


def sheets() -> dict[str, Encoder]:
    """Pages of passport photos."""
    portrait = np.asarray(photo(12, seed=0).crop((1000, 0, 3333, 3000)).resize((413, 531)))
    papers: tuple[Paper, ...] = ("4x6in", "a4")
    return {f"sheet, {paper}, 300 dpi": partial(page, portrait, paper) for paper in papers}


def error(picture: U8, data: bytes) -> str:
    """How far an RGBA file's colours are off, where they are seen."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            again = np.asarray(image.convert("RGBA"), np.float32)
    except OSError:
        return ""
    if again.shape != picture.shape or (again[..., 3] == 255).all():
        return ""
    seen = picture[..., 3] > 0
    difference = again[seen][:, :3] - picture[seen][:, :3]
    return f"{float(np.sqrt(np.square(difference).mean())):.2f}"


def measured(encoders: dict[str, Encoder], picture: U8) -> str:
    """A table of them."""
    took: dict[str, list[float]] = {name: [] for name in encoders}
    results = {}
    for _ in range(3):
        for name, make in encoders.items():
            started = time.perf_counter()
            results[name] = make()
            took[name].append(time.perf_counter() - started)
    rows = [
        [name, f"{statistics.median(took[name]):.2f}", f"{len(data) / 1e6:.1f}", error(picture, data)]
        for name, data in results.items()
    ]
    return table(["encoder", "s", "MB", "error"], rows)


def main() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    picture = cutout()
    print(machine())
    print(measured(libraries(picture), picture), "\n")
    print(measured(formats(picture) | sheets(), picture))


if __name__ == "__main__":
    main()
