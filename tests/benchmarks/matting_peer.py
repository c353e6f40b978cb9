"""One side of `matting`: a method on a saved scene, in a process of its own.

    python -m tests.benchmarks.matting_peer photoproc|rembg SCENE.npz RESULT.npz

Prints seconds and the peak of its memory as JSON.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Cutout = Callable[[U8, U8], tuple[U8, U8]]


def photoproc_cutout() -> Cutout:
    """Ours: matting and colours of the foreground."""
    import cv2

    from photoproc.imaging import edges
    from photoproc.parts import Edges

    cv2.setNumThreads(1)

    def cutout(rgb: U8, mask: U8) -> tuple[U8, U8]:
        alpha = edges.refined(rgb, mask, Edges(method="matting"))
        return edges.decontaminated(rgb, alpha), alpha

    return cutout


def rembg_cutout() -> Cutout:
    """What `rembg.remove(alpha_matting=True)` does with a mask, at its defaults."""
    from PIL import Image
    from rembg.bg import alpha_matting_cutout

    def cutout(rgb: U8, mask: U8) -> tuple[U8, U8]:
        made = np.asarray(alpha_matting_cutout(Image.fromarray(rgb), Image.fromarray(mask), 240, 10, 10))
        return made[..., :3], made[..., 3]

    return cutout


def peak_mb() -> float:
    """The most memory this process has had; unlike `ru_maxrss`, without that of the process that began it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def main() -> None:
    """Run once and say what it took. Imports are timed apart."""
    kind, scene, result = sys.argv[1:]
    with np.load(scene) as saved:
        rgb, mask = saved["rgb"], saved["mask"]
    started = time.perf_counter()
    cutout = {"photoproc": photoproc_cutout, "rembg": rembg_cutout}[kind]()
    imported, cpu = time.perf_counter(), time.process_time()
    fore, alpha = cutout(rgb, mask)
    done, cpu_s = time.perf_counter(), time.process_time() - cpu
    np.savez(result, fore=fore, alpha=alpha)
    figures = {"import_s": imported - started, "s": done - imported, "cpu_s": cpu_s, "peak_mb": peak_mb()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
