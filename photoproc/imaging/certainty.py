"""How much a model disagrees with itself about a photo.

A model that sees the subject finds the same one in the mirrored photo, and in one that is a little shifted;
one that guesses does not. Always called uncertainty, never accuracy: a model that takes a grey patch for
the subject may do so three times alike.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from photoproc.imaging.agreement import soft_iou

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

NEEDS_LOOK = 0.3
"""From here on a photo needs a look. Measured by `python -m tests.benchmarks.certainty`."""
_SHIFT = 0.05
"""How far the shifted picture is moved to the right and down, as a share of its sides."""


def uncertainty(picture: U8, mask: U8, look: Callable[[U8], U8]) -> float:
    """How much a model disagrees with the mask it made of a picture, by two more looks.

    The formula is that of `self_disagreement`. `picture` (height × width × 3) is what the model saw; `look`
    has it make the mask (height × width) of another one of that size.
    """
    of_mirrored, of_shifted = look(mirrored(picture)), look(shifted(picture))
    return self_disagreement(mask, mirrored(of_mirrored), of_shifted)


def self_disagreement(mask: U8, unmirrored: U8, of_shifted: U8) -> float:
    """1 − the mean soft IoU of a mask with that of the mirrored and that of the shifted picture, 0 to 1.

    `unmirrored` is mirrored back already. `of_shifted` (of what `shifted` makes) is laid back as well, and
    compared only where both show the same part of the picture. 1 where the mask has nothing that is half
    opaque: there is no subject to be certain of. All are height × width, 0 to 255.
    """
    if not (mask > 127).any():
        return 1.0
    down, right = (_moved_by(side) for side in mask.shape)
    high, wide = mask.shape
    pairs = ((mask, unmirrored), (mask[: high - down, : wide - right], of_shifted[down:, right:]))
    return float(np.mean([1 - soft_iou(_opacity(one), _opacity(other)) for one, other in pairs]))


def mirrored(picture: U8) -> U8:
    """A picture or mask with left and right exchanged."""
    return np.ascontiguousarray(picture[:, ::-1])


def shifted(picture: U8) -> U8:
    """A picture or mask, 5 % further to the right and down; its first row and column fill what is free."""
    down, right = (_moved_by(side) for side in picture.shape[:2])
    rows = np.maximum(np.arange(picture.shape[0]) - down, 0)
    columns = np.maximum(np.arange(picture.shape[1]) - right, 0)
    return np.ascontiguousarray(picture[rows][:, columns])


def _moved_by(side: int) -> int:
    return round(_SHIFT * side)


def _opacity(mask: U8) -> F32:
    return np.asarray(np.divide(mask, 255, dtype=np.float32))
