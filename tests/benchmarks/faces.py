"""Finding faces in photos of 12 megapixels: milliseconds, medians of rounds taken in turn.

python -m tests.benchmarks.faces
"""

import statistics
import time
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from photoproc.models.faces import FaceFinder
from tests.benchmarks.common import machine, photo, table
from tests.portraits import Person, scene

SIZE_WH = (4000, 3000)
ROUNDS = 7


def main() -> None:
    """Measure and print."""
    portrait = scene([Person(eyes=(2000, 1200), head_px=900)], SIZE_WH, textured=True)
    leaning = scene([Person(eyes=(2000, 1200), head_px=900, roll_deg=25)], SIZE_WH, textured=True)
    small = scene([Person(eyes=(1300, 1700), head_px=58)], SIZE_WH, textured=True)
    group = scene(
        [
            Person(eyes=(350 + 410 * column, 400 + 520 * row), head_px=150, mirrored=bool(column % 2))
            for row in range(5)
            for column in range(9)
        ],
        SIZE_WH,
    )
    rows = []
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        finder = FaceFinder()
        cases = {
            "one face, by the first pass": partial(finder.find, portrait.rgb),
            "one face that leans by 25°": partial(finder.find, leaning.rgb),
            "a face of 40 px, by the second pass": partial(finder.find, small.rgb),
            "45 faces, the largest measured": partial(finder.find, group.rgb),
            "45 faces, thorough": partial(finder.find, group.rgb, thorough=True),
            "no face at all": partial(finder.find, _array(2)),
        }
        took: dict[str, list[float]] = {name: [] for name in cases}
        found = {}
        for _ in range(ROUNDS):
            for name, find in cases.items():
                started = time.perf_counter()
                found[name] = len(find())
                took[name].append((time.perf_counter() - started) * 1000)
        rows += [
            [
                name,
                str(threads),
                str(found[name]),
                f"{statistics.median(took[name]):.0f}",
                f"{min(took[name]):.0f}",
            ]
            for name in cases
        ]
    print(machine())
    print(table(["12 megapixels", "threads", "faces", "ms", "at best"], rows))


def _array(seed: int) -> NDArray[np.uint8]:
    return np.asarray(photo(12, seed=seed))


if __name__ == "__main__":
    main()
