"""Jobs of thousands of photos, made through the store within seconds: no task of them is run.

Their model's weights are never there, so what waits keeps waiting, and a test ends tasks one by one.
"""

import hashlib
import io
import os
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw

from photoproc.bootstrap import Runtime
from photoproc.jobs import Cutout, Photo, TaskState
from photoproc.recipe import Recipe
from photoproc.records import Outcome
from photoproc.settings import Settings
from photoproc.store import Store
from tests.benchmarks.common import photo

MODEL = "bria-rmbg"
"""Its weights come from the release alone, and the servers of the tests are offline."""
_PICTURES = 24
_MEGAPIXELS = 0.3
_SECONDS = {"decode": 0.01, "load": 0.0, "inference": 0.4, "compose": 0.02, "encode": 0.05}


class LargeJob:
    """A job of so many photos (24 pictures again and again, each under a name of its own)."""

    def __init__(self, data_dir: Path, photos: int, *, done: int) -> None:
        self.store = Store(data_dir / "store")
        self._folder = data_dir / "made"
        self._folder.mkdir(exist_ok=True)
        self._tokens = count()
        self.id = self._handed_in(data_dir, photos)
        self._out = data_dir / "jobs" / self.id / "out"
        self._made = [self._picture(seed) for seed in range(min(photos, _PICTURES))]
        self.end(done)

    def end(self, tasks: int = 1) -> None:
        """Have the next tasks end well, as the worker would."""
        for _ in range(tasks):
            token = f"{next(self._tokens):012}{os.getpid()}"
            claim = self.store.claim("test", [MODEL], token=token, now=time.time())
            assert claim is not None
            assert claim.job_id == self.id
            stem, like = f"{claim.number}-{token[:12]}", self._made[claim.number % len(self._made)]
            mine = replace(
                like, file=f"{stem}.png", preview=f"{stem}-after.webp", before=f"{stem}-before.webp"
            )
            for name, source in zip(mine.files, like.files, strict=True):
                os.link(self._folder / source, self._out / name)
            outcome = Outcome(state=TaskState.DONE, cutouts=(mine,), seconds=_SECONDS, provider="CPU")
            assert self.store.publish(claim, outcome, now=time.time())

    def delete(self) -> None:
        """Forget it: tasks of several such jobs would be taken in turn."""
        self.store.delete_job(self.id)
        self.store.close()

    def _handed_in(self, data_dir: Path, photos: int) -> str:
        runtime = Runtime(Settings(data_dir=data_dir, offline=True, fetch_default_model=False))
        try:
            service, batch, taken = runtime.service, runtime.service.new_batch(), list[Photo]()
            for seed in range(min(photos, _PICTURES)):
                file = io.BytesIO()
                photo(_MEGAPIXELS, seed).save(file, "JPEG")
                file.seek(0)
                taken += service.accept(batch, f"{seed}.jpg", file).photos
            named = [
                replace(taken[number % len(taken)], name=f"photo {number:04}.jpg") for number in range(photos)
            ]
            return service.submit(batch, named, Recipe(models=(MODEL,)), title=f"{photos} photos").id
        finally:
            runtime.stop()

    def _picture(self, seed: int) -> Cutout:
        """The files of a cutout: the photo within an ellipse."""
        before = photo(_MEGAPIXELS, seed)
        alpha = Image.new("L", before.size)
        ImageDraw.Draw(alpha).ellipse((60, 40, before.width - 60, before.height - 20), fill=255)
        after = before.copy()
        after.putalpha(alpha)
        names = (f"{seed}.png", f"{seed}-after.webp", f"{seed}-before.webp")
        for name, one in zip(names, (after, after, before), strict=True):
            one.save(self._folder / name)
        data = (self._folder / names[0]).read_bytes()
        return Cutout(
            file=names[0],
            preview=names[1],
            before=names[2],
            sha256=hashlib.sha256(data).hexdigest(),
            byte_count=len(data),
            size_wh=before.size,
        )
