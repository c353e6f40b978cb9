"""Jobs of thousands of photos, made through the store within seconds: no task of them is run.

Their model's weights are never there, so what waits keeps waiting, and a test ends tasks one by one.
"""

import hashlib
import io
import os
import time
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw

from photoproc.bootstrap import Runtime
from photoproc.jobs import Cutout, Photo, TaskState
from photoproc.recipe import Recipe
from photoproc.records import Claim, Outcome
from photoproc.settings import Settings
from photoproc.store import Store
from tests.benchmarks.common import photo
from tests.pictures import encoded

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

    def begin(self) -> Claim:
        """Take the next task, which runs then."""
        token = f"{next(self._tokens):012}{os.getpid()}"
        claim = self.store.claim("test", [MODEL], token=token, now=time.time())
        assert claim is not None
        assert claim.job_id == self.id
        return claim

    def end(self, tasks: int = 1) -> None:
        """Have the next tasks end well, as the worker would."""
        for _ in range(tasks):
            claim = self.begin()
            stem, like = f"{claim.number}-{claim.token[:12]}", self._made[claim.number % len(self._made)]
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
                file = io.BytesIO(encoded(photo(_MEGAPIXELS, seed)))
                taken += service.accept(batch, f"{seed}.jpg", file).photos
            named = [
                replace(taken[number % len(taken)], name=f"photo {number:04}.jpg") for number in range(photos)
            ]
            return service.submit(batch, named, Recipe(models=(MODEL,)), title=f"{photos} photos").id
        finally:
            runtime.stop()

    def _picture(self, seed: int) -> Cutout:
        """The files of a cutout."""
        names, (size_wh, *files) = (f"{seed}.png", f"{seed}-after.webp", f"{seed}-before.webp"), _files(seed)
        for name, data in zip(names, files, strict=True):
            (self._folder / name).write_bytes(data)
        return Cutout(
            file=names[0],
            preview=names[1],
            before=names[2],
            sha256=hashlib.sha256(files[0]).hexdigest(),
            byte_count=len(files[0]),
            size_wh=size_wh,
        )


@cache
def _files(seed: int) -> tuple[tuple[int, int], bytes, bytes, bytes]:
    """The size of a photo, all within an ellipse of it as PNG and WebP, and the photo as WebP."""
    before = photo(_MEGAPIXELS, seed)
    alpha = Image.new("L", before.size)
    ImageDraw.Draw(alpha).ellipse((60, 40, before.width - 60, before.height - 20), fill=255)
    after = before.copy()
    after.putalpha(alpha)
    return (
        before.size,
        encoded(after, "PNG", compress_level=1),
        encoded(after, "WEBP"),
        encoded(before, "WEBP"),
    )
