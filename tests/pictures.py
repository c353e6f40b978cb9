"""Pictures the tests use: those scikit-image ships, and small ones made here."""

import io

import numpy as np
from PIL import Image

from photoproc.samples import sample_photos


def sample(name: str) -> bytes:
    """The bytes of a built-in sample, such as `astronaut.png`."""
    return dict(sample_photos())[name].read_bytes()


def picture(width: int = 64, height: int = 48, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A busy little picture."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
