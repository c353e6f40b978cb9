"""What is kept beyond a job: saved recipes and background pictures; and a recipe tried on one photo."""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from photoproc import child, child_files, presets
from photoproc.blobs import Blobs
from photoproc.child import Order
from photoproc.engine import Engine
from photoproc.errors import InputError, ModelError, PhotoError, Problem, ServiceError, not_found
from photoproc.finish import Finish, Finished
from photoproc.jobs import Photo, Warn
from photoproc.models.catalogue import VITMATTE
from photoproc.models.weights import Weights
from photoproc.names import display_name
from photoproc.recipe import NO_MODEL, Recipe
from photoproc.settings import Settings
from photoproc.store import Store

_LONGEST = 900
"""The longer side of a photo in a preview: as many pixels as are shown, for matting takes its time."""
_MAX_RECIPES = 200
_MAX_BACKGROUNDS = 500
_TURN_S, _MAX_WAITING = 30.0, 4
"""How long, and how many calls, wait for the picture that is asked for: each holds a thread."""
_TRIED = 16
"""Tried pictures that are kept: after and before are asked for one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A recipe tried on a photo: WebPs of the first cutout after and before, and of how many it is."""

    after: bytes
    before: bytes
    cutouts: int
    warnings: tuple[Warn, ...]


class Library:
    """The part of the service that keeps what people use again."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        engine: Engine,
        previewer: Engine,
        weights: Weights,
        settings: Settings,
    ) -> None:
        self._recipes = store
        self._pictures = blobs
        self._children, self._previewer = engine, previewer
        self._there = weights
        self._limits = settings
        self._warm = False
        self._turns = _Turns()
        self._keeping = threading.Lock()
        self._tried: dict[tuple[str, str, str], Tried] = {}

    # Recipes

    def recipes(self, owner: str = "") -> dict[str, Recipe]:
        """The saved recipes of an owner, by name."""
        return self._recipes.recipes(owner)

    def recipe(self, name: str, owner: str = "") -> Recipe:
        """A saved recipe, or one that comes with the program (for the default model); raises not_found."""
        found = self.recipes(owner).get(name) or presets.built_in(name, self._limits.default_model)
        if found is None:
            raise not_found("recipe")
        return found

    def save_recipe(self, name: str, recipe: Recipe, owner: str = "") -> str:
        """Keep a recipe under a name, in place of one that had it; returns the name as it is shown.

        Raises InputError recipe_name, too_many_recipes.
        """
        shown = display_name(name.strip())[:80] if name.strip() else ""
        # A form's recipe that begins with a brace is JSON.
        if not shown or "/" in shown or shown.startswith("{") or shown in presets.BUILT_IN:
            raise InputError(
                "recipe_name",
                f"A recipe cannot be called “{shown}”." if shown else "A recipe needs a name.",
                "Choose another name, without “/” and “{”, not that of one that comes with the program.",
            )
        for model in recipe.models:
            self._there.spec(model)
        saved = self.recipes(owner)
        if shown not in saved and len(saved) >= _MAX_RECIPES:
            raise InputError(
                "too_many_recipes", f"There are {len(saved)} saved recipes already.", "Delete one first."
            )
        self._recipes.save_recipe(shown, recipe, owner)
        return shown

    def forget_recipe(self, name: str, owner: str = "") -> None:
        """Forget a saved recipe; raises not_found."""
        if not self._recipes.forget_recipe(name, owner):
            raise not_found("recipe")

    # Background pictures

    def keep_background(self, batch: str, photo: Photo) -> str:
        """Keep an uploaded picture as a background; returns its id, and forgets the upload.

        Raises InputError too_many_backgrounds.
        """
        if len(self.backgrounds()) >= _MAX_BACKGROUNDS:
            self._pictures.drop_batch(batch)
            raise InputError(
                "too_many_backgrounds",
                f"There are {_MAX_BACKGROUNDS} background pictures already.",
                "Delete some in the dashboard or by the API first.",
            )
        self._pictures.keep_background(self._pictures.staged(batch, photo.sha256))
        self._pictures.drop_batch(batch)
        return photo.sha256

    def background(self, picture: str) -> Path:
        """The file of a background picture; raises not_found."""
        path = self._pictures.background(picture)
        if not path.is_file():
            raise not_found("background picture")
        return path

    def backgrounds(self) -> list[str]:
        """The ids of the background pictures there are, newest first."""
        return self._pictures.backgrounds()

    def forget_background(self, picture: str) -> None:
        """Forget a background picture; jobs that use it keep it. Raises not_found."""
        self.background(picture)
        self._pictures.drop_background(picture)

    def background_of(self, recipe: Recipe, *otherwise: Path) -> Path | None:
        """The file of the background picture a recipe needs: the library's, or one of these.

        Raises InputError background_missing.
        """
        if recipe.picture is None:
            return None
        for path in (self._pictures.background(recipe.picture), *otherwise):
            if path.is_file():
                return path
        raise InputError(
            "background_missing",
            "background.picture: there is no such picture on this server.",
            "Upload it first, and use the id that it gets.",
        )

    def check_refiner(self, recipe: Recipe) -> None:
        """Raise ModelError weights_missing where a recipe wants ViTMatte, whose weights are fetched then."""
        if recipe.edges.method == "vitmatte" and VITMATTE.name not in self._there.ready():
            self._there.request(VITMATTE.name)
            raise ModelError(
                "weights_missing",
                "edges.method: the weights of ViTMatte are not here yet.",
                "They are being fetched (the System page tells how far it is); or choose matting.",
            )

    # Trying

    def try_recipe(
        self, photo: Path, sha256: str, recipe: Recipe, *, who: str, otherwise: Path | None = None
    ) -> Tried:
        """What the recipe, with the first of its models, makes of a photo.

        The mask is kept, so that only the first look at a photo takes long. Where `who` asks for another
        picture meanwhile, only the last call is answered. Raises PhotoError, ModelError weights_missing,
        InputError background_missing, and ServiceError superseded.
        """
        self.check_refiner(recipe)
        background = self.background_of(recipe, *([] if otherwise is None else [otherwise]))
        spec = self._there.specs().get(recipe.task_models[0])
        what = (sha256, recipe.to_json(), "" if spec is None else spec.weights_id)
        with self._turns.of(who, what):
            made = self._tried.get(what) or self._try(photo, sha256, recipe, background)
            with self._keeping:
                self._tried = {**dict(list(self._tried.items())[1 - _TRIED :]), what: made}
            return made

    def _try(self, photo: Path, sha256: str, recipe: Recipe, background: Path | None) -> Tried:
        name = recipe.task_models[0]
        spec, weights, mask = None if name == NO_MODEL else self._there.spec(name), None, None
        if spec is not None:
            weights = self._there.ready().get(spec.name)
            mask = self._pictures.mask(sha256, spec.name, spec.weights_id)
            if weights is None and mask is None:
                raise ModelError(
                    "weights_missing",
                    f"The weights of {spec.name} are not here yet.",
                    "The preview comes once they are downloaded.",
                )
        with self._outbox() as outbox:
            order = Order(
                photo=photo,
                recipe_json=recipe.to_json(),
                model=spec,
                weights=weights or Path(),
                mask=mask,
                outbox=outbox,
                max_pixels=self._limits.max_pixels,
                background=background,
                refiner=self._there.ready().get(VITMATTE.name),
                longest=_LONGEST,
            )
            # Where no model has to run, a preview does not wait behind the tasks of jobs.
            children = self._previewer
            if spec is not None and mask is None:
                children = self._children
                self.warm_up()
            report = children.result(children.submit(child.run, order))
            if report.problem is not None:
                raise PhotoError(report.problem.code, report.problem.message, report.problem.advice)
            if report.mask is not None and spec is not None:
                self._pictures.keep_mask(sha256, spec.name, spec.weights_id, report.mask.path)
            first = report.pictures[0]
            return Tried(
                after=first.preview.path.read_bytes(),
                before=first.before.path.read_bytes(),
                cutouts=len(report.pictures),
                warnings=report.warnings,
            )

    def warm_up(self) -> None:
        """Have the child that makes the next previews import what it takes; the first call does."""
        if not self._warm:
            self._warm = True
            self._previewer.submit(child.warm_up)

    def finished(self, photo: Path, mask: Path, target: Path, asked: Finish) -> Finished:
        """Write what an API wants of a photo and its mask, in a child; raises InputError."""
        answer = self._previewer.submit(
            child_files.finish, photo, mask, target, asked, self._limits.max_pixels
        )
        found = self._previewer.result(answer)
        if isinstance(found, Problem):
            raise InputError(found.code, found.message, found.advice)
        return found

    @contextmanager
    def _outbox(self) -> Iterator[Path]:
        token = f"try-{uuid.uuid4().hex}"
        try:
            yield self._pictures.outbox(token)
        finally:
            self._pictures.empty_outbox(token)


class _Turns:
    """One call at a time for each who asks; those that were overtaken while they waited give up."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._last: dict[str, object] = {}
        self._waiting: Counter[str] = Counter()
        self._busy: set[str] = set()

    @contextmanager
    def of(self, who: str, what: object) -> Iterator[None]:
        """The turn of who wants this; raises ServiceError superseded where they want something else."""
        with self._lock:
            self._last[who] = what
            self._waiting[who] += 1
            self._lock.notify_all()
            mine = self._waiting[who] <= _MAX_WAITING and self._lock.wait_for(
                lambda: self._last[who] != what or who not in self._busy, timeout=_TURN_S
            )
            self._waiting[who] -= 1
            if not mine or self._last[who] != what:
                self._forget(who)
                raise ServiceError("superseded", "A newer preview was asked for.", "")
            self._busy.add(who)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(who)
                self._forget(who)
                self._lock.notify_all()

    def _forget(self, who: str) -> None:
        """Whoever leaves last, also one who was overtaken, leaves nothing behind."""
        if not self._waiting[who] and who not in self._busy:
            del self._last[who], self._waiting[who]
