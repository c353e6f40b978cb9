"""Photos to try the tool with: pictures that scikit-image ships (it comes with rembg)."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

_FILES = {
    "astronaut.png": "astronaut.png",
    "cat.png": "chelsea.png",
    "coffee.png": "coffee.png",
    "rocket.jpg": "rocket.jpg",
}
_TAUGHT = ("astronaut.png", "coffee.png", "motorcycle_left.png", "logo.png")
_HELD_OUT = ("chelsea.png", "rocket.jpg", "camera.png", "horse.png")


def sample_photos() -> list[tuple[str, Path]]:
    """Names and files of the samples; empty where scikit-image is not installed."""
    return [(name, path) for name, file in _FILES.items() for path in _there([file])]


def form_photos() -> tuple[list[Path], list[Path]]:
    """Pictures that forms of models are made with, and others that they are measured with."""
    return _there(_TAUGHT), _there(_HELD_OUT)


def _there(files: Iterable[str]) -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [folder / file for file in files if (folder / file).is_file()]
