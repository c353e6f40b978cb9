"""Closed-form matting: the alpha of a trimap's unknown pixels (Levin, Lischinski, Weiss 2008).

What pymatting does, without numba: importing pymatting compiles for a minute on a fresh machine. The
unknown pixels of a cutout are a thin band, for which a direct solver is faster than conjugate gradients
and always done; the time it takes grows with the number of unknown pixels, which the caller bounds.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

_EPSILON = 1e-7
"""How far colours in a 3 × 3 window may be from a line; pymatting's."""
_WINDOW = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
_REACH = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3)])
"""A pixel shares a window with these."""


def estimate(rgb: U8, trimap: U8, prior: U8, *, trust: float) -> U8:
    """The alpha of a picture (height × width × 3) whose trimap is 0, 128 (unknown) or 255.

    `prior` is a first alpha, which counts with the weight `trust` (above 0, in units of the matting
    Laplacian) and decides where the picture does not; it is also the answer where there is no solution.
    """
    from scipy.sparse.linalg import splu  # type: ignore[import-untyped,unused-ignore]

    unknown = np.flatnonzero(trimap == 128)
    alpha = np.where(trimap == 128, prior, trimap).astype(np.uint8)
    if not len(unknown):
        return alpha
    laplacian, others = _laplacian(rgb, trimap == 128, unknown)
    right = -(laplacian * (trimap.ravel()[others] == 255)).sum(axis=1)
    right += trust * prior.ravel()[unknown] / 255
    system = _sparse(laplacian, others, unknown, trust)
    try:
        # Symmetric and positive definite: no pivoting, an ordering for symmetric matrices.
        factors = splu(
            system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        found: F64 = factors.solve(right)
    except RuntimeError:  # singular to working precision
        return alpha
    usable = np.isfinite(found)
    alpha.ravel()[unknown[usable]] = np.rint(found[usable].clip(0, 1) * 255).astype(np.uint8)
    return alpha


def _laplacian(rgb: U8, is_unknown: NDArray[np.bool_], unknown: Ints) -> tuple[F64, Ints]:
    """The rows of the matting Laplacian for the unknown pixels, n × 25, and the pixels its columns mean.

    Levin 2008, equation 12, over all 3 × 3 windows that hold an unknown pixel.
    """
    height, width = is_unknown.shape
    touched = cv2.dilate(is_unknown.view(np.uint8), np.ones((3, 3), np.uint8))
    touched[[0, -1]] = 0
    touched[:, [0, -1]] = 0
    centres = np.flatnonzero(touched)
    members = centres[:, None] + _WINDOW @ (width, 1)
    colours = rgb.reshape(-1, 3)[members] / 255
    colours -= colours.mean(axis=1, keepdims=True)
    covariance = colours.transpose(0, 2, 1) @ colours
    covariance[:, range(3), range(3)] += _EPSILON
    affinity = (colours @ np.linalg.inv(covariance) * 9 @ colours.transpose(0, 2, 1) + 1) / -9
    affinity[:, range(9), range(9)] += 1

    row_of = np.full(height * width, len(unknown))  # what is known adds up in a row that is thrown away
    row_of[unknown] = np.arange(len(unknown))
    rows = row_of[members]
    values = np.zeros((len(unknown) + 1, 25))
    for one, other in np.ndindex(9, 9):
        down, right = _WINDOW[other] - _WINDOW[one] + 2
        values[rows[:, one], down * 5 + right] += affinity[:, one, other]
    others = (unknown[:, None] + _REACH @ (width, 1)).clip(0, height * width - 1)
    return values[:-1], others


def _sparse(laplacian: F64, others: Ints, unknown: Ints, trust: float):  # type: ignore[no-untyped-def]
    """The part of the Laplacian between unknown pixels, with `trust` on its diagonal, as scipy's CSC."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped,unused-ignore]

    column_of = np.full(int(others.max()) + 1, -1, np.int32)
    column_of[unknown] = np.arange(len(unknown), dtype=np.int32)
    columns = column_of[others]
    laplacian[:, 12] += trust
    kept = (columns >= 0) & (laplacian != 0)
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return csr_matrix((laplacian[kept], columns[kept], starts), (len(unknown), len(unknown))).tocsc()
