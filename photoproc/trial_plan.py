"""What a time trial measures: the order each model carries out, and on which photos of the job."""

from collections.abc import Sequence
from pathlib import Path

from photoproc.blobs import Blobs
from photoproc.child import Order
from photoproc.errors import InputError, ModelError
from photoproc.jobs import Job, Photo, TaskState
from photoproc.models.catalogue import VITMATTE
from photoproc.models.weights import Weights
from photoproc.recipe import NO_MODEL
from photoproc.settings import Settings
from photoproc.store import Store

_DONE, _FAILED, _SKIPPED = TaskState.DONE.code, TaskState.FAILED.code, TaskState.SKIPPED.code


def orders(job: Job, *, weights: Weights, blobs: Blobs, settings: Settings) -> dict[str, Order]:
    """An order a model: the job's recipe, without a check of certainty. No mask that was kept is told of,
    so that the model has to run. Raises InputError no_model and ModelError weights_missing."""
    recipe, ready, specs = job.recipe, weights.ready(), weights.specs()
    if NO_MODEL in recipe.task_models:
        raise InputError(
            "no_model",
            f"“{job.title}” keeps its backgrounds: no model runs, there is nothing to measure.",
            "Process its photos again with a model.",
        )
    needed = [*recipe.task_models, *([VITMATTE.name] if recipe.edges.method == "vitmatte" else [])]
    missing = [name for name in needed if name not in ready]
    if missing:
        raise ModelError(
            "weights_missing",
            f"The weights of {', '.join(missing)} are not here yet.",
            "Download them on the System page, then run the time trial.",
        )
    picture = recipe.picture
    return {
        model: Order(
            photo=Path(),
            recipe_json=recipe.model_copy(update={"certainty": False}).to_json(),
            model=specs[model],
            weights=ready[model],
            mask=None,
            outbox=Path(),
            max_pixels=settings.max_pixels,
            background=None if picture is None else blobs.photo(job.id, picture),
            refiner=ready.get(VITMATTE.name),
        )
        for model in recipe.task_models
    }


def chosen(job: Job, count: int, *, store: Store) -> list[tuple[int, Photo]]:
    """So many photos spread over the job, in order, with their places; fewer where there are no more.

    Those that all models are done with come first; where they are too few, others that no model is known
    to have failed on or skipped. Raises InputError no_photos.
    """
    states, models = store.states(job.id), len(job.recipe.task_models)
    rows = [states[start : start + models] for start in range(0, len(states), models)]
    done = [place for place, row in enumerate(rows) if set(row) == {_DONE}]
    open_ = [place for place, row in enumerate(rows) if not {_FAILED, _SKIPPED} & set(row)]
    skipped = [place for place, row in enumerate(rows) if _FAILED not in row]
    places = spread_over(done, count)
    places += spread_over([place for place in open_ if place not in set(done)], count - len(places))
    places = sorted(places) or spread_over(skipped, count)
    if not places:
        raise InputError(
            "no_photos",
            f"No photo of “{job.title}” could be processed: there is nothing to measure.",
            "Retry the failed ones, or process other photos.",
        )
    tasks = store.tasks(job.id, [place * models for place in places])
    return [(task.number // models, task.photo) for task in tasks]


def about_s(job: Job, runs: int, *, store: Store) -> float | None:
    """About how long so many runs of each model take, and loading each; None while one never ran here."""
    models = job.recipe.task_models
    figures = store.figures(models)
    whole = 0.0
    for model in models:
        task_s = figures[model].task_s if model in figures else None
        if task_s is None:
            return None
        count, load_s = figures[model].steps.get("load", (0, 0.0))
        whole += runs * task_s + (load_s / count if count else 0.0)
    return whole


def spread_over(places: Sequence[int], count: int) -> list[int]:
    """So many of them, evenly spread from the first to the last; all where they are no more."""
    if len(places) <= count:
        return list(places)
    if count < 2:
        return [places[len(places) // 2]][:count]
    return [places[round(number * (len(places) - 1) / (count - 1))] for number in range(count)]
