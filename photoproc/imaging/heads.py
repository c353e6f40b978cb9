"""Heads: from a face and the mask to crown, chin and sides."""

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Point = tuple[float, float]

_UNIT = 64
"""Pixels of the patch in which a head is measured, from the eyes to the chin."""
_ABOVE, _BELOW, _ASIDE = 2.0, 1.0, 1.25
"""What the patch shows around the eyes, in units of eyes to chin. So are the figures that follow."""
_USUAL_CROWN = 1.2
_LOWEST_CROWN, _HIGHEST_CROWN = 0.9, 1.85
_USUAL_SIDE, _WIDEST_SIDE = 0.8, 1.1
_SEARCHED_ASIDE = 0.6
"""The crown is above the face; what is further aside is a hand, or somebody else."""
_EDGE = 0.02
_END = 0.15
"""Where less than this share of the head's width is left, the head ends: a wisp, or nothing."""


class Found(Protocol):
    """What is known of a face; `models.faces.Face` is one."""

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]: ...
    @property
    def chin(self) -> Point: ...
    @property
    def eyes_mid(self) -> Point: ...
    @property
    def roll_deg(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upright:
    """A head as seen in a frame: places in the photo, turned about its corner until the frame is upright."""

    eyes: Point
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An oval from crown to chin that leans by `roll_deg`; places in pixels of the photo."""

    eyes: Point
    centre: Point
    half_wh: tuple[float, float]
    roll_deg: float
    whole: bool
    """Whether the photo ends above the crown, not in the head."""

    def seen(self, roll_deg: float) -> Upright:
        """How it stands in a frame that is turned by so much."""
        lean = math.radians(self.roll_deg - roll_deg)
        cos, sin = math.cos(lean), math.sin(lean)
        half_w = math.hypot(self.half_wh[0] * cos, self.half_wh[1] * sin)
        half_h = math.hypot(self.half_wh[0] * sin, self.half_wh[1] * cos)
        x, y = turned(self.centre, -roll_deg)
        return Upright(
            eyes=turned(self.eyes, -roll_deg),
            left=x - half_w,
            top=y - half_h,
            right=x + half_w,
            bottom=y + half_h,
        )


def turned(point: Point, deg: float) -> Point:
    """A place turned clockwise about the photo's corner."""
    cos, sin = math.cos(math.radians(deg)), math.sin(math.radians(deg))
    return point[0] * cos - point[1] * sin, point[0] * sin + point[1] * cos


def measured(face: Found, alpha: U8 | None, photo_wh: tuple[int, int]) -> Head:
    """The head of a face: its crown and sides are the mask's where there is one, else usual ones.

    It ends where the photo ends.
    """
    roll_deg = face.roll_deg
    eyes, chin = turned(face.eyes_mid, -roll_deg), turned(face.chin, -roll_deg)
    left, top, right, bottom = face.box_xyxy
    unit = max(chin[1] - eyes[1], 0.25 * (bottom - top), 1.0)
    crown, side_left, side_right = _USUAL_CROWN, -_USUAL_SIDE, _USUAL_SIDE
    if alpha is not None:
        crown, side_left, side_right = _in_mask(alpha, face.eyes_mid, roll_deg, unit)
    up = (math.sin(math.radians(roll_deg)), -math.cos(math.radians(roll_deg)))
    room = _way_out(face.eyes_mid, up, photo_wh)
    above = min(crown * unit, max(room, 0.5 * unit))
    below = min(unit, max(_way_out(face.eyes_mid, (-up[0], -up[1]), photo_wh), 0.5 * unit))
    # A turned head's eyes are beside its middle, hair may hang on one side: the middle one of three is right.
    box_middle = turned(((left + right) / 2, (top + bottom) / 2), -roll_deg)[0]
    x = sorted([eyes[0], box_middle, eyes[0] + (side_left + side_right) / 2 * unit])[1]
    half_w = max(x - eyes[0] - side_left * unit, eyes[0] + side_right * unit - x)
    centre = (x, eyes[1] + (below - above) / 2)
    return Head(
        eyes=face.eyes_mid,
        centre=turned(centre, roll_deg),
        half_wh=(half_w, (above + below) / 2),
        roll_deg=roll_deg,
        whole=crown * unit < room - _EDGE * unit,
    )


def _way_out(start: Point, way: Point, photo_wh: tuple[int, int]) -> float:
    """How far it is from a place to the photo's edge."""
    ways = [
        ((length if step > 0 else 0) - place) / step
        for place, step, length in zip(start, way, photo_wh, strict=True)
        if abs(step) > 1e-9
    ]
    return max(min(ways), 0.0)


def _in_mask(alpha: U8, eyes: Point, roll_deg: float, unit: float) -> tuple[float, float, float]:
    """How far above the eyes the crown is, and where the head's sides are, in units of eyes to chin."""
    patch = _patch(alpha, eyes, roll_deg, unit) > 127
    eyes_row, middle = round(_ABOVE * _UNIT), round(_ASIDE * _UNIT)
    aside = round(_SEARCHED_ASIDE * _UNIT)
    rows = patch[:eyes_row, middle - aside : middle + aside].sum(axis=1)[::-1]  # upwards from the eyes
    widest = int(rows[: round(0.8 * _UNIT)].max())
    columns = np.flatnonzero(patch[eyes_row - round(0.8 * _UNIT) : eyes_row + _UNIT].mean(axis=0) > 0.2)
    if widest < 0.5 * _UNIT or not len(columns):  # the mask does not have this head
        return _USUAL_CROWN, -_USUAL_SIDE, _USUAL_SIDE
    left = max((int(columns[0]) - middle) / _UNIT, -_WIDEST_SIDE)
    right = min((int(columns[-1]) + 1 - middle) / _UNIT, _WIDEST_SIDE)
    return _crown(rows, widest), min(left, -0.5), max(right, 0.5)


def _crown(rows: NDArray[np.integer], widest: int) -> float:
    """Where the head ends above the eyes, from the mask's width in each row."""
    lowest, highest = round(_LOWEST_CROWN * _UNIT), round(_HIGHEST_CROWN * _UNIT)
    ends = np.flatnonzero(rows[lowest:highest] < _END * widest)
    if len(ends):
        return (lowest + int(ends[0])) / _UNIT
    # Something goes on above: an arm is narrower than a head, a person behind is not.
    neck = lowest + int(np.argmin(rows[lowest:highest]))
    return neck / _UNIT if rows[neck] < widest / 2 else _USUAL_CROWN


def _patch(alpha: U8, eyes: Point, roll_deg: float, unit: float) -> U8:
    """The mask around the eyes, upright, `_UNIT` pixels from eyes to chin."""
    step = unit / _UNIT
    cos, sin = math.cos(math.radians(roll_deg)) * step, math.sin(math.radians(roll_deg)) * step
    back = np.array([[cos, -sin], [sin, cos]])
    wide, high = round(2 * _ASIDE * _UNIT), round((_ABOVE + _BELOW) * _UNIT)
    shift = np.array(eyes) - back @ [_ASIDE * _UNIT - 0.5, _ABOVE * _UNIT - 0.5] - 0.5
    matrix = np.column_stack([back, shift])
    # Of what the patch may reach only: OpenCV warps no picture of 32,767 pixels or more a side.
    reach = math.ceil(step * math.hypot(wide, high)) + 2
    left, top = (
        min(max(0, int(place) - reach), side) for place, side in zip(eyes, alpha.shape[::-1], strict=True)
    )
    part = np.ascontiguousarray(alpha[top : top + 2 * reach, left : left + 2 * reach][:32_000, :32_000])
    if not part.size:
        return np.zeros((high, wide), np.uint8)
    matrix[:, 2] -= (left, top)
    patch = cv2.warpAffine(part, matrix, (wide, high), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return patch.astype(np.uint8, copy=False)
