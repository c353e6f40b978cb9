"""Frames around faces: the head as tall as asked, the eyes on their line, nobody's head cut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photoproc.errors import TaskError
from photoproc.imaging.heads import Found, Head, Upright, measured, turned
from photoproc.imaging.resample import Frame, reach
from photoproc.jobs import Warn
from photoproc.parts import Face, Size

U8 = NDArray[np.uint8]

_USUAL_RATIO = 4 / 5
_LEVEL_DEG = 1.0
"""Eyes that are level to so many degrees are level; turning would only cost sharpness."""
_ROOM = 1.03
"""A head that has to be given room gets a little more than it needs."""
_AIR = 1.08
"""So much more than it needs has a head that stands well in its frame."""
_MOVED = 0.05
"""How far the eyes may leave their line to make room for hair, as a share of the height."""
_OFF = 0.02
"""Head or eyes that miss their place by more, as a share of the height, are worth a word."""
_CUT_OFF = 0.02
"""The subject is cut by the photo's edge where it covers more of what the frame shows of that edge."""


def face_frames(
    framing: Face,
    size: Size,
    *,
    photo_wh: tuple[int, int],
    faces: Sequence[Found],
    alpha: U8 | None,
) -> list[Frame]:
    """Frames of the shape asked for, in the faces' order; their `out_wh` is still to be set.

    Empty where the whole picture is to be kept. Raises TaskError `no_face` and `no_face_failed`.
    """
    if not faces:
        _without_face(framing)
        return []
    ratio = size.ratio(photo_wh) or _USUAL_RATIO
    scene = _Scene(framing=framing, size=size, ratio=ratio, photo_wh=photo_wh, alpha=alpha)
    if framing.which == "together" and len(faces) > 1:
        return [scene.together([measured(face, alpha, photo_wh) for face in faces])]
    chosen = faces if framing.which == "each" else faces[:1]
    frames = [
        scene.around(measured(face, alpha, photo_wh), number) for number, face in enumerate(chosen, start=1)
    ]
    if framing.which == "largest" and len(faces) > 1:
        several = Warn(code="several_faces", message=f"{len(faces)} faces were found; the largest is used.")
        return [replace(frame, warnings=(several, *frame.warnings)) for frame in frames]
    return frames


def _without_face(framing: Face) -> None:
    if framing.no_face == "skip":
        raise TaskError(
            "no_face",
            "No face was found.",
            "Choose “keep the whole picture” (no_face: keep) to get it uncropped.",
        )
    if framing.no_face == "fail":
        raise TaskError(
            "no_face_failed",
            "No face was found, and the recipe wants one.",
            "Look at the photo, or choose “keep” or “skip” for photos without a face.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What all frames of a photo have in common."""

    framing: Face
    size: Size
    ratio: float
    photo_wh: tuple[int, int]
    alpha: U8 | None

    def around(self, head: Head, number: int) -> Frame:
        """The frame of one face."""
        warnings: list[Warn] = []
        roll_deg = self._roll(head, warnings)
        frame = self._fitted(head, roll_deg)
        if roll_deg and self.size.fit == "cut" and not frame.inside(self.photo_wh):
            level = self._fitted(head, 0.0)
            if level.inside(self.photo_wh):
                frame = level
                message = "The head was not turned upright: that would have shown what is beyond the photo."
                warnings.append(Warn(code="not_aligned", message=message))
        warnings += self._missed(frame, head)
        return replace(frame, face=number, warnings=tuple(warnings))

    def _fitted(self, head: Head, roll_deg: float) -> Frame:
        """The frame at an angle, as near to what is asked as the photo allows."""
        seen = head.seen(roll_deg)
        height = (seen.bottom - seen.top) / self.framing.head
        middle = ((seen.left + seen.right) / 2, seen.eyes[1] + (0.5 - self.framing.eye_line) * height)
        frame = Frame(
            centre_xy=turned(middle, roll_deg),
            size_wh=(height * self.ratio, height),
            roll_deg=roll_deg,
            out_wh=(0, 0),
        )
        least_head = self.framing.head_range[0] if self.framing.head_range else 0.0
        frame = _with_room(frame, seen, least_head)
        if self.size.fit == "cut":
            return self._kept_inside(frame, [seen], head.eyes, slack=1.0 if head.whole else 1.05)
        return frame if self.alpha is None else self._without_flat_ends(self.alpha, frame, head)

    def together(self, heads: Sequence[Head]) -> Frame:
        """One frame with all heads, with the room around them that one head would have."""
        all_seen = [head.seen(0.0) for head in heads]
        left, right = min(seen.left for seen in all_seen), max(seen.right for seen in all_seen)
        top, bottom = min(seen.top for seen in all_seen), max(seen.bottom for seen in all_seen)
        tall = float(np.median([seen.bottom - seen.top for seen in all_seen]))
        eyes = float(np.median([(seen.eyes[1] - seen.top) / (seen.bottom - seen.top) for seen in all_seen]))
        above = max(self.framing.eye_line / self.framing.head - eyes, 0.05) * tall
        below = max((1 - self.framing.eye_line) / self.framing.head - (1 - eyes), 0.05) * tall
        aside = min(above, below)
        height = max(bottom - top + above + below, (right - left + 2 * aside) / self.ratio)
        # Room that is left over goes where one head has it, too.
        spare = (height - (bottom - top)) * below / (above + below)
        frame = Frame(
            centre_xy=((left + right) / 2, bottom + spare - height / 2),
            size_wh=(height * self.ratio, height),
            out_wh=(0, 0),
        )
        if self.size.fit == "cut":
            frame = self._kept_inside(frame, all_seen, frame.centre_xy)
        return frame

    def _roll(self, head: Head, warnings: list[Warn]) -> float:
        if not self.framing.align or abs(head.roll_deg) < _LEVEL_DEG:
            return 0.0
        if abs(head.roll_deg) <= self.framing.max_roll_deg:
            if head.whole:
                return head.roll_deg
            message = "The photo ends in the head, so it was not turned upright."
            warnings.append(Warn(code="not_aligned", message=message))
            return 0.0
        message = (
            f"The head leans by {abs(head.roll_deg):.0f}°, more than the {self.framing.max_roll_deg:.0f}° "
            "up to which pictures are turned; this one was not."
        )
        warnings.append(Warn(code="not_aligned", message=message))
        return 0.0

    def _kept_inside(
        self, frame: Frame, heads: Sequence[Upright], about: tuple[float, float], *, slack: float = 1.0
    ) -> Frame:
        """The frame moved into the photo, and made smaller; left as it is where heads would be cut."""
        across, down = reach(frame.size_wh, frame.roll_deg)
        smaller = _scaled(frame, min(1.0, self.photo_wh[0] / across, self.photo_wh[1] / down), about)
        left, top, right, bottom = smaller.reach_xyxy
        x, y = smaller.centre_xy
        x += max(-left, 0.0) - max(right - self.photo_wh[0], 0.0)
        y += max(-top, 0.0) - max(bottom - self.photo_wh[1], 0.0)
        moved = replace(smaller, centre_xy=(x, y))
        return moved if _least_scale(moved, heads, (x, y), room=1.0) <= slack else frame

    def _without_flat_ends(self, alpha: U8, frame: Frame, head: Head) -> Frame:
        """A smaller frame where this one would show how the photo's edge cuts through the person.

        First the eyes stay on their line, then only the head's upper end stays inside.
        """
        if not (ends := _cut_edges(alpha, frame)):
            return frame
        seen, smaller, about, room = head.seen(frame.roll_deg), frame, head.eyes, _ROOM
        if "top" in ends and not frame.roll_deg:  # the frame begins where the photo does
            about, room = (head.eyes[0], 0.0), 1.0
            smaller = replace(frame, centre_xy=(frame.centre_xy[0], frame.size_wh[1] / 2))
        largest_head = self.framing.head_range[1] if self.framing.head_range else 1.0
        for _ in range(2):
            wanted = min([1.0, *(self._scale_to(end, smaller, about) for end in _cut_edges(alpha, smaller))])
            least = max(
                _least_scale(smaller, [seen], about, room=room),
                (seen.bottom - seen.top) / largest_head / smaller.size_wh[1],
            )
            smaller = _scaled(smaller, min(1.0, max(wanted, least)), about)
            if wanted >= least:
                return smaller
            x, y = turned(smaller.centre_xy, -frame.roll_deg)
            about = turned((x, y - smaller.size_wh[1] / 2), frame.roll_deg)
        return frame if head.whole else smaller

    def _scale_to(self, end: str, frame: Frame, about: tuple[float, float]) -> float:
        """How much smaller, about a place in the photo, a frame is that ends at one of the photo's edges."""
        left, top, right, bottom = frame.reach_xyxy
        (x, y), (width, height) = about, self.photo_wh
        inside, all_of_it = {
            "left": (x, x - left),
            "right": (width - x, right - x),
            "top": (y, y - top),
            "bottom": (height - y, bottom - y),
        }[end]
        return inside / max(all_of_it, 1e-6)

    def _missed(self, frame: Frame, whose: Head) -> list[Warn]:
        """What is not as asked for, in words."""
        seen, height = whose.seen(frame.roll_deg), frame.size_wh[1]
        head = (seen.bottom - seen.top) / height
        eyes = (seen.eyes[1] - turned(frame.centre_xy, -frame.roll_deg)[1]) / height + 0.5
        warnings = []
        if not whose.whole:
            warnings.append(
                Warn(code="head_cut", message="The photo itself ends at the top of the head, or in it.")
            )
        missed = [
            f"{what} {now:.0%} of the height instead of {asked:.0%}"
            for what, now, asked in (
                ("the head is", head, self.framing.head),
                ("the eyes are at", eyes, self.framing.eye_line),
            )
            if abs(now - asked) > _OFF
        ]
        if missed:
            message = f"There was no room to do as asked: {', '.join(missed)}. A smaller head leaves more."
            warnings.append(Warn(code="framing_changed", message=message))
        allowed = self.framing.head_range
        if allowed is not None and not allowed[0] - 1e-3 <= head <= allowed[1] + 1e-3:
            message = (
                f"The head is {head:.0%} of the height; {allowed[0]:.0%} to {allowed[1]:.0%} is accepted."
            )
            warnings.append(Warn(code="head_out_of_range", message=message))
        return warnings


def _with_room(frame: Frame, head: Upright, least_head: float) -> Frame:
    """The frame moved up or down a little, then made larger, where it would cut the head or all but touch it.

    Only so that it does not touch, the head gets smaller by no more than is within what was asked for, or
    within `least_head` of the height where it cannot be as asked for anyway.
    """
    x, y = turned(frame.centre_xy, -frame.roll_deg)
    height, placed = frame.size_wh[1], y
    room = (_ROOM - 1) * (head.bottom - head.top)
    above, below = head.top - (y - height / 2) - room, y + height / 2 - head.bottom - room
    most = _MOVED * height
    if above < 0 <= below:
        y -= min(-above, below, most)
    elif below < 0 <= above:
        y += min(-below, above, most)
    centre = turned((x, y), frame.roll_deg)
    moved = replace(frame, centre_xy=centre)
    if _least_scale(moved, [head], centre, room=1.0) > 1:
        return _scaled(moved, _least_scale(moved, [head], centre, room=_ROOM), centre)
    tall = (head.bottom - head.top) / height
    least = tall - 0.9 * _OFF
    if least_head and y != placed:
        least = min(least, least_head)
    air = min(_least_scale(moved, [head], centre, room=_AIR), tall / least)
    return _scaled(moved, max(1.0, air), centre)


def _scaled(frame: Frame, scale: float, about: tuple[float, float]) -> Frame:
    x, y = (place + (middle - place) * scale for place, middle in zip(about, frame.centre_xy, strict=True))
    width, height = frame.size_wh
    return replace(frame, centre_xy=(x, y), size_wh=(width * scale, height * scale))


def _least_scale(frame: Frame, heads: Sequence[Upright], about: tuple[float, float], *, room: float) -> float:
    """How small the frame may be made, about a place inside it, until it cuts a head."""
    px, py = turned(about, -frame.roll_deg)
    x, y = turned(frame.centre_xy, -frame.roll_deg)
    half_w, half_h = frame.size_wh[0] / 2, frame.size_wh[1] / 2
    needed = [
        pair
        for head in heads
        for pair in (
            (px - head.left, px - (x - half_w)),
            (head.right - px, x + half_w - px),
            (py - head.top, py - (y - half_h)),
            (head.bottom - py, y + half_h - py),
        )
    ]
    return max((need * room / max(have, 1e-6) for need, have in needed if need > 1e-6), default=0.0)


def _cut_edges(alpha: U8, frame: Frame) -> list[str]:
    """The photo's edges inside the frame that cut through the subject."""
    height, width = alpha.shape
    left, top, right, bottom = frame.reach_xyxy
    columns = slice(max(int(left), 0), max(int(right), 0))
    rows = slice(max(int(top), 0), max(int(bottom), 0))
    edges = {
        "left": (left < -0.5, alpha[rows, 0]),
        "right": (right > width + 0.5, alpha[rows, -1]),
        "top": (top < -0.5, alpha[0, columns]),
        "bottom": (bottom > height + 0.5, alpha[-1, columns]),
    }
    return [
        name
        for name, (beyond, line) in edges.items()
        if beyond and np.count_nonzero(line > 127) > _CUT_OFF * line.size
    ]
