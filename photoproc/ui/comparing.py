"""Where comparisons begin: on the Process page, with two models chosen, which its address says."""

from typing import NoReturn

from photoproc.jobs import Job
from photoproc.models.weights import Phase
from photoproc.overview import ModelState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui.recipes import go_to_process


def compare_new_photos(photos: PhotoService) -> NoReturn:
    """Go on to Process, with the two models that are nearest at hand."""
    first, second = _at_hand(photos)[:2]
    go_to_process(Recipe(models=(first, second)))


def compare_with_another(photos: PhotoService, job: Job) -> NoReturn:
    """Go on to Process, with a job's photos, its recipe, and another model beside its own."""
    own = job.recipe.models
    more = next((name for name in _at_hand(photos) if name not in own), None)
    recipe = job.recipe.model_copy(update={"models": (*own, *([] if more is None else [more]))})
    go_to_process(recipe, again=job.id)


def _at_hand(photos: PhotoService) -> list[str]:
    """All models: those that may run at once before those to be downloaded, the default one first."""

    def last(model: ModelState) -> tuple[bool, bool, bool, int]:
        ready, spec = model.weights.phase is Phase.READY, model.spec
        default = spec.name == photos.settings.default_model
        return (not ready, not spec.commercial, not default, 0 if ready else spec.download_mb)

    return [model.spec.name for model in sorted(photos.models(), key=last)]
