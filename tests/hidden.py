"""Photos of one subject, and ways to take the subject from sight.

Photos are RGB (height × width × 3), masks (height × width) say where the subject is; all uint8.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]

CLEAR = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png")
"""Of the pictures that scikit-image ships, the photos of one subject."""


def clear(name: str) -> U8:
    """One of them, small: models look at less."""
    return opened(Path(skimage.__file__).parent / "data" / name)


def opened(path: Path) -> U8:
    """A photo of 512 pixels at most."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((512, 512))
    return np.asarray(small)


def in_pieces(photo: U8, mask: U8) -> U8 | None:
    """The subject covered with pieces of the photo's own background, drawn at random; None without any."""
    covered, side = _covered(photo, mask), max(8, round(max(photo.shape) / 16))
    high, wide = (length // side * side for length in photo.shape[:2])
    places = [(y, x) for y in range(0, high, side) for x in range(0, wide, side)]
    free = [(y, x) for y, x in places if not covered[y : y + side, x : x + side].any()]
    if not free:
        return None
    out, rng = photo[:high, :wide].copy(), np.random.default_rng(0)
    for y, x in places:
        if (y, x) not in free:
            from_y, from_x = free[rng.integers(len(free))]
            out[y : y + side, x : x + side] = photo[from_y : from_y + side, from_x : from_x + side]
    return out


def cut_away(photo: U8, mask: U8) -> U8 | None:
    """The largest part beside the subject; None where there is next to nothing."""
    rows, columns = (np.flatnonzero(_covered(photo, mask).any(axis=axis)) for axis in (1, 0))
    high, wide = photo.shape[:2]
    parts = [
        photo[: rows[0]],
        photo[rows[-1] + 1 :],
        photo[:, : columns[0]],
        photo[:, columns[-1] + 1 :],
    ]
    largest = max(parts, key=lambda part: part.shape[0] * part.shape[1])
    enough = min(largest.shape[:2]) > 0.1 * min(high, wide)
    return np.ascontiguousarray(largest) if enough else None


def in_noise(photo: U8, mask: U8) -> U8:
    """The whole photo covered with noise that has its colours."""
    rng = np.random.default_rng(0)
    mean, deviation = photo.mean(axis=(0, 1)), photo.std(axis=(0, 1))
    return rng.normal(mean, deviation, photo.shape).clip(0, 255).astype(np.uint8)


def blurred(share: float) -> Callable[[U8, U8], U8]:
    """The whole photo out of focus: the deviation is this share of its longer side."""

    def blur(photo: U8, mask: U8) -> U8:
        return np.asarray(cv2.GaussianBlur(photo, (0, 0), share * max(photo.shape)), np.uint8)

    return blur


def subject_blurred(photo: U8, mask: U8) -> U8:
    """Only the subject out of focus, in a sharp background."""
    soft = cv2.GaussianBlur(_covered(photo, mask).astype(np.float32), (0, 0), 0.01 * max(photo.shape))
    share = np.asarray(soft)[..., None]
    return np.asarray(blurred(0.06)(photo, mask) * share + photo * (1 - share), np.uint8)


def behind_a_patch(photo: U8, mask: U8) -> U8:
    """The subject's outline filled with the mean colour of the background."""
    covered = _covered(photo, mask)
    return np.where(covered[..., None], photo[~covered].mean(axis=0), photo).astype(np.uint8)


HIDDEN: Mapping[str, Callable[[U8, U8], U8 | None]] = {
    "covered with pieces of its background": in_pieces,
    "cut away": cut_away,
    "the photo covered with noise": in_noise,
}
BLURRED: Mapping[str, Callable[[U8, U8], U8 | None]] = {
    "blurred, 3 %": blurred(0.03),
    "blurred, 6 %": blurred(0.06),
    "blurred, 10 %": blurred(0.1),
    "only the subject blurred, 6 %": subject_blurred,
}


def auc(hidden: list[float], clean: list[float]) -> float:
    """How often a hidden one has the larger value of a pair, ties half: the area under the ROC curve."""
    pairs = [(one, other) for one in hidden for other in clean]
    return sum((one > other) + 0.5 * (one == other) for one, other in pairs) / len(pairs)


def _covered(photo: U8, mask: U8) -> NDArray[np.bool_]:
    """Where the subject is, and a little around it; a twentieth of the height stays free at the top."""
    high, wide = photo.shape[:2]
    large = cv2.resize(mask, (wide, high), interpolation=cv2.INTER_LINEAR)
    reach = 2 * round(0.02 * max(high, wide)) + 1
    grown = cv2.dilate((large > 60).astype(np.uint8), np.ones((reach, reach), np.uint8))
    found = np.asarray(grown, np.bool_)
    found[: max(1, high // 20)] &= not found.all()
    return found
