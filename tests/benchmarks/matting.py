"""Alpha matting with foreground colours, beside rembg's own: seconds, memory, and how near the truth.

    python -m tests.benchmarks.matting [--megapixels 1 4 12] [--limit-s 180] [--limit-mb 6000]

Every run has a process of its own, which is ended where it goes over the limits. `CPU s` are those of all
threads. The scene's true alpha and colours are known: `alpha error` is the sum of absolute differences, in
thousands of pixels a megapixel; `colour error` the mean difference (0 to 255) of the soft pixels' colours,
weighed by the true alpha.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.common import machine, table
from tests.benchmarks.matting_scene import U8, Scene, scene

HEAD = ["", "s", "CPU s", "import s", "peak MB", "alpha error", "colour error"]


def run(kind: str, saved: Path, result: Path, limit_s: float, limit_mb: float) -> dict[str, float] | str:
    """What one run took; or, where it was ended, which limit it went over."""
    command = [sys.executable, "-m", "tests.benchmarks.matting_peer", kind, str(saved), str(result)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        ends = time.monotonic() + limit_s
        while peer.poll() is None:
            over = "> s" if time.monotonic() > ends else "> MB" if _resident_mb(peer.pid) > limit_mb else ""
            if over:
                peer.kill()
                return over
            time.sleep(0.05)
        assert peer.stdout is not None
        said = peer.stdout.read()
    if peer.returncode:
        return "failed"
    figures: dict[str, float] = json.loads(said.splitlines()[-1])  # pymatting prints warnings before it
    return figures


def _resident_mb(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


def errors(true: Scene, fore: U8, alpha: U8) -> list[str]:
    """How far from the truth: alpha, colours."""
    off = np.abs(alpha.astype(np.int16) - true.alpha).sum(dtype=float) / 255
    soft = (true.alpha > 0) & (true.alpha < 255)
    shown = true.alpha[soft].astype(np.float32)[:, None] / 255
    colour = (np.abs(fore[soft].astype(np.float32) - true.fore[soft]) * shown).mean()
    return [f"{off / 1000 / (alpha.size / 1e6):.1f}", f"{colour:.1f}"]


def rows(megapixels: float, limit_s: float, limit_mb: float) -> list[list[str]]:
    """The table's lines for one size."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    true = scene(height, round(height * 4 / 3))
    found = [[f"{megapixels:g} MP, the mask as it is", "", "", "", "", *errors(true, true.rgb, true.mask)]]
    with tempfile.TemporaryDirectory() as folder:
        saved, result = Path(folder) / "scene.npz", Path(folder) / "result.npz"
        np.savez(saved, rgb=true.rgb, mask=true.mask)
        for kind in ("photoproc", "rembg"):
            took = run(kind, saved, result, limit_s, limit_mb)
            name = f"{megapixels:g} MP, {kind}"
            if isinstance(took, str):
                over = {"> s": f"> {limit_s:g}", "> MB": ""}.get(took, took)
                found.append([name, over, "", "", f"> {limit_mb:g}" if took == "> MB" else "", "", ""])
                continue
            with np.load(result) as made:
                far = errors(true, made["fore"], made["alpha"])
            seconds = [f"{took[figure]:.1f}" for figure in ("s", "cpu_s", "import_s")]
            found.append([name, *seconds, f"{took['peak_mb']:.0f}", *far])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.0, 4.0, 12.0])
    parser.add_argument("--limit-s", type=float, default=180)
    parser.add_argument("--limit-mb", type=float, default=6000)
    asked = parser.parse_args()
    print(machine())
    lines = [line for size in asked.megapixels for line in rows(size, asked.limit_s, asked.limit_mb)]
    print(table(HEAD, lines))


if __name__ == "__main__":
    main()
