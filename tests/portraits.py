"""Pictures of people whose eyes, crown and chin are known: the astronaut, placed, turned and mirrored.

All places are continuous: a picture's first pixel covers 0 to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.pictures import opened_sample

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Point = tuple[float, float]

# Read off the sample (512 × 512) at five times its size.
RIGHT_EYE, LEFT_EYE = (202.3, 101.2), (247.3, 103.4)
CROWN = (236.0, 15.3)
CHIN = (223.5, 178.4)
SIDES = (153.5, 301.5)
"""Where her hair ends to the left and to the right."""
# Where u2net sees her edge, without the flag, the table and the hole above the lower edge.
OUTLINE = (
    *((198, 24), (188, 34), (160, 53), (153, 65), (155, 100), (173, 126), (182, 133), (183, 146), (181, 148)),
    *(
        (155, 150),
        (140, 157),
        (128, 169),
        (120, 183),
        (113, 186),
        (114, 199),
        (107, 210),
        (64, 247),
        (43, 285),
    ),
    *((25, 344), (24, 374), (19, 391), (18, 413), (26, 512), (504, 512), (508, 509), (511, 504), (511, 485)),
    *(
        (508, 483),
        (503, 457),
        (496, 451),
        (495, 430),
        (489, 406),
        (476, 382),
        (456, 362),
        (425, 347),
        (390, 344),
    ),
    *(
        (364, 349),
        (361, 344),
        (361, 330),
        (357, 321),
        (352, 292),
        (341, 263),
        (320, 243),
        (304, 232),
        (300, 219),
    ),
    *(
        (290, 203),
        (275, 187),
        (255, 172),
        (266, 139),
        (274, 135),
        (291, 116),
        (300, 96),
        (300, 75),
        (295, 55),
    ),
    *((289, 43), (277, 31), (245, 17), (229, 15)),
)
HEAD = 163.0
"""From her crown to her chin, along the axis of her head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Where the astronaut is to be: midway between the eyes, how tall her head, how her eyes are turned."""

    eyes: Point
    head_px: float
    roll_deg: float = 0.0
    mirrored: bool = False

    @property
    def affine(self) -> F64:
        """From the sample to the picture (2 × 3)."""
        own = math.degrees(math.atan2(LEFT_EYE[1] - RIGHT_EYE[1], LEFT_EYE[0] - RIGHT_EYE[0]))
        mirror = np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        turn = math.radians(self.roll_deg - (-own if self.mirrored else own))
        cos, sin = math.cos(turn), math.sin(turn)
        linear = self.head_px / HEAD * np.array([[cos, -sin], [sin, cos]]) @ mirror
        middle = np.add(RIGHT_EYE, LEFT_EYE) / 2
        return np.column_stack([linear, np.array(self.eyes) - linear @ middle])

    def at(self, place: Point) -> Point:
        """Where a place of the sample is in the picture."""
        x, y = self.affine[:, :2] @ place + self.affine[:, 2]
        return float(x), float(y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture of people, and its true mask."""

    rgb: U8
    alpha: U8
    people: tuple[Person, ...]


def scene(
    people: Sequence[Person], size_wh: tuple[int, int], *, textured: bool = False, seed: int = 0
) -> Scene:
    """People on a plain or a busy background, the first ones behind."""
    rgb = (
        _background(size_wh, seed)
        if textured
        else np.full((size_wh[1], size_wh[0], 3), (176, 180, 190), np.uint8)
    )
    alpha = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    for person in people:
        _place(person, rgb, alpha)
    return Scene(rgb=rgb, alpha=alpha, people=tuple(people))


@cache
def _astronaut() -> U8:
    """RGB and mask, height × width × 4; the mask is drawn large, for a soft edge."""
    image = opened_sample("astronaut.png")
    drawn = Image.new("L", (image.width * 4, image.height * 4))
    ImageDraw.Draw(drawn).polygon([(x * 4, y * 4) for x, y in OUTLINE], fill=255)
    return np.dstack([np.asarray(image), np.asarray(drawn.resize(image.size, Image.Resampling.BOX))])


def _place(person: Person, rgb: U8, alpha: U8) -> None:
    source = _astronaut().astype(np.float32)
    source[..., :3] *= source[..., 3:] / 255
    scale = person.head_px / HEAD
    if scale < 0.8:
        source = cv2.GaussianBlur(source, (0, 0), 0.4 / scale).astype(np.float32)
    corners = np.array([person.at(corner) for corner in ((0, 0), (512, 0), (0, 512), (512, 512))])
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, None)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, alpha.shape[::-1])
    if right <= left or bottom <= top:
        return
    affine = person.affine
    shift = affine[:, 2] + affine[:, :2] @ [0.5, 0.5] - 0.5 - [left, top]  # pixel centres are at halves
    placed = cv2.warpAffine(
        source,
        np.column_stack([affine[:, :2], shift]),
        (int(right - left), int(bottom - top)),
        flags=cv2.INTER_CUBIC,
    )
    placed = np.clip(placed, 0, 255)
    under = rgb[top:bottom, left:right]
    under[:] = np.clip(np.rint(placed[..., :3] + under * (1 - placed[..., 3:] / 255)), 0, 255)
    there = alpha[top:bottom, left:right]
    there[:] = np.maximum(there, np.rint(placed[..., 3]).astype(np.uint8))


def _background(size_wh: tuple[int, int], seed: int) -> U8:
    """Blotches of every size, as of leaves and walls; no faces."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size_wh[1], size_wh[0], 3), np.float32)
    for blotches, strength in ((6, 60), (40, 30), (300, 15)):
        rough = rng.normal(0, strength, (max(2, blotches * size_wh[1] // size_wh[0]), blotches, 3))
        total += cv2.resize(rough.astype(np.float32), size_wh, interpolation=cv2.INTER_CUBIC)
    return np.clip(total + 128, 0, 255).astype(np.uint8)
