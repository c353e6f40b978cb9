"""What the benchmarks share: photos, the machine, a table."""

import io
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from PIL import Image

from photoproc.models.providers import build
from tests.pictures import sample

RUNS_HERE = os.environ | {
    # `import rembg` would compile alpha matting's kernels for a minute; nothing measured here uses them.
    "NUMBA_DISABLE_JIT": "1",
}


def photo(megapixels: float, seed: int) -> Image.Image:
    """A sample photo scaled to a 4:3 size with the fine noise of a camera; each seed differs."""
    name = ("astronaut.png", "cat.png", "coffee.png", "rocket.jpg")[seed % 4]
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    with Image.open(io.BytesIO(sample(name))) as small:
        large = small.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 1))
    return Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8))


def jpeg(megapixels: float, seed: int) -> bytes:
    """The same as a JPEG."""
    out = io.BytesIO()
    photo(megapixels, seed).save(out, "JPEG", quality=92)
    return out.getvalue()


def machine() -> str:
    """What it was measured on."""
    packages = ("rembg", build(), "pillow", "numpy", "opencv-python-headless", "pyvips")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; {versions}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, aligned; the first to the left, figures to the right."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        parts = [
            first.ljust(widths[0]),
            *(cell.rjust(wide) for cell, wide in zip(rest, widths[1:], strict=True)),
        ]
        return "  ".join(parts)

    return "\n".join([line(head), line(["-" * wide for wide in widths]), *map(line, rows)])
