"""What a child process does with masks and charts of a comparison. Heavy imports happen inside functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from photoproc.child import read_mask
from photoproc.errors import Problem, not_found

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def compare(photos: Sequence[Sequence[Path | None]]) -> list[tuple[float, float, tuple[float, ...]] | None]:
    """How far the masks of each photo are from each other: disagreement, edge error, each from the others.

    None where a mask is gone or damaged.
    """
    from photoproc.imaging import agreement

    found: list[tuple[float, float, tuple[float, ...]] | None] = []
    for paths in photos:
        masks = [mask for path in paths if (mask := _decoded_mask(path)) is not None]
        if len(masks) < max(2, len(paths)):
            found.append(None)
            continue
        one = agreement.agreement(masks)
        found.append((one.disagreement, one.edge_error, one.apart))
    return found


def show_difference(masks: Sequence[Path | None], size_wh: tuple[int, int], target: Path) -> Problem | None:
    """Write a WebP that lies over a photo and shows where its masks differ: clear, then yellow to red."""
    from photoproc.imaging import agreement, encode

    read = [mask for path in masks if (mask := _decoded_mask(path)) is not None]
    if len(read) < 2:
        return not_found("mask").problem
    target.write_bytes(encode.to_preview(agreement.heat(agreement.spread(read, size_wh))))
    return None


def draw_chart(path: Path) -> None:
    """Put the SVG of a chart in the place of its Vega-Lite specification; nothing is fetched for it."""
    import vl_convert

    path.write_text(vl_convert.vegalite_to_svg(path.read_text(), allowed_base_urls=[]))


def write_mask(mask: Path | None, size_wh: tuple[int, int], target: Path) -> Problem | None:
    """Write a mask as PNG at another size, which is its photo's."""
    from photoproc.imaging import compose, encode

    read = _decoded_mask(mask)
    if read is None:
        return not_found("mask").problem
    target.write_bytes(encode.to_png(compose.scale_mask(read, size_wh)))
    return None


def _decoded_mask(path: Path | None) -> "NDArray[np.uint8] | None":
    from photoproc.imaging import encode

    data = read_mask(path)
    return None if data is None else encode.from_mask_png(data)
