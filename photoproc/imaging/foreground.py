"""The subject's own colour where it is mixed with the background's.

Multi-level foreground estimation (Germer, Uelwer, Conrad, Harmeling 2020), in numpy.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_SMOOTH = 1e-5
"""Weight of smooth colours where alpha is even; where it changes, its gradient comes on top."""
_SMALL_SIDE = 32
_SMALL_ROUNDS = 20
_LARGE_ROUNDS = 4
"""Twice as many as published, for Gauss and Seidel's rounds: Jacobi's do half of the work."""


def estimate(rgb: F32, alpha: F32) -> tuple[F32, F32]:
    """Foreground and background colours (height × width × 3, 0 to 1) of a picture with its alpha (0 to 1).

    Every level doubles the last one's size, from one pixel, and starts from its colours.
    """
    height, width = alpha.shape
    levels = max(1, int(np.ceil(np.log2(max(width, height)))))
    fore = _mean_colour(rgb, alpha > 0.9)
    back = _mean_colour(rgb, alpha < 0.1)
    for level in range(levels + 1):
        size_wh = (round(width ** (level / levels)), round(height ** (level / levels)))
        seen, share = (_sized(picture, size_wh, cv2.INTER_NEAREST) for picture in (rgb, alpha))
        fore, back = (_sized(colours, size_wh, cv2.INTER_LINEAR) for colours in (fore, back))
        rounds = _SMALL_ROUNDS if max(size_wh) <= _SMALL_SIDE else _LARGE_ROUNDS
        fore, back = _relaxed(seen, share, fore, back, rounds)
    return fore, back


def unmixed(rgb: F32, alpha: F32, fore: F32, back: F32, weight: float | F32) -> tuple[F32, F32]:
    """The colours nearest to `fore` and `back` that, mixed by alpha (… × 1), give the picture.

    `weight` says how much near counts against giving the picture exactly.
    """
    rest = (rgb - alpha * fore - (1 - alpha) * back) / (alpha**2 + (1 - alpha) ** 2 + weight)
    return (fore + alpha * rest).clip(0, 1), (back + (1 - alpha) * rest).clip(0, 1)


def _relaxed(rgb: F32, alpha: F32, fore: F32, back: F32, rounds: int) -> tuple[F32, F32]:
    """Jacobi rounds: each pixel's colours from its own mix and its four neighbours' colours."""
    padded = _framed(alpha)
    weights = [_SMOOTH + np.abs(alpha - side) for side in _neighbours(padded)]
    total = sum(weights)
    assert not isinstance(total, int)
    weights = [weight / total for weight in weights]
    for _ in range(rounds):
        near_fore, near_back = (
            sum(w * side for w, side in zip(weights, _neighbours(_framed(colours)), strict=True))
            for colours in (fore, back)
        )
        fore, back = unmixed(rgb, alpha, near_fore, near_back, total)
    return fore, back


def _sized(picture: F32, size_wh: tuple[int, int], how: int) -> F32:
    """Height × width × channels, also where there is one channel."""
    sized = np.asarray(cv2.resize(picture, size_wh, interpolation=how), np.float32)
    return sized.reshape(size_wh[1], size_wh[0], -1)


def _framed(values: F32) -> F32:
    framed = cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return np.asarray(framed, np.float32).reshape(len(values) + 2, values.shape[1] + 2, -1)


def _neighbours(framed: F32) -> tuple[F32, F32, F32, F32]:
    return framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]


def _mean_colour(rgb: F32, chosen: NDArray[np.bool_]) -> F32:
    mean = rgb[chosen].mean(axis=0, dtype=np.float32) if chosen.any() else np.zeros(3, np.float32)
    return np.asarray(mean, np.float32).reshape(1, 1, 3)
