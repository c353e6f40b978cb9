"""Photos to try the tool with: pictures that scikit-image ships (it comes with rembg)."""

import importlib.util
from pathlib import Path

_FILES = {
    "astronaut.png": "astronaut.png",
    "cat.png": "chelsea.png",
    "coffee.png": "coffee.png",
    "rocket.jpg": "rocket.jpg",
}


def sample_photos() -> list[tuple[str, Path]]:
    """Names and files of the samples; empty where scikit-image is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "data"
    found = [(name, folder / file) for name, file in _FILES.items()]
    return [(name, file) for name, file in found if file.is_file()]
