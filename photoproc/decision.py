"""What a comparison comes to: the recommendation, and what people take away of it."""

import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from zipstream import ZIP_STORED, ZipStream

from photoproc import charts, child_files, child_masks, figures
from photoproc.clock import Clock
from photoproc.comparison import AT_ONCE, ComparedPhoto, Comparison, Comparisons, most_apart
from photoproc.errors import PhotoError, PhotoprocError
from photoproc.export import Archive, file_name
from photoproc.figures import Findings
from photoproc.host import host
from photoproc.jobs import Cutout, TaskState
from photoproc.models.weights import Weights
from photoproc.names import distinct
from photoproc.overview import versions
from photoproc.recipe import NO_MODEL
from photoproc.recommendation import WEIGHT, candidates, recommend
from photoproc.report import WORST, Drawn, Pictures, html
from photoproc.settings import Settings
from photoproc.tags import Tags
from photoproc.trial import Trials
from photoproc.trial_result import Trial
from photoproc.voting import Voting

_LOST = "lost masks.txt"
_KEPT_TASKS = 20_000
"""Of the comparisons that were looked at last are kept as many as have so many tasks together, some 50 MB;
the last one however large it is."""
_SMALL = 480
"""The longest side of a photo in the report, in pixels."""
_CHARTS = {
    "latency": "Seconds a photo, runs that had to load the model left out; the mark is the median",
    "front": "How often a model is preferred to another, against its time; dashed: the Pareto front",
    "disagreement": "How many photos have how much disagreement",
}


class Decisions(Comparisons, Tags, Voting, Trials):
    """The part of the service that sums comparisons up."""

    settings: Settings
    _clock: Clock
    _weights: Weights

    def __init__(self) -> None:
        self._summing_up = threading.Lock()
        """Held to look into the two below, never for long."""
        self._job_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        """By job, while somebody sums it up: others wait for that, and nobody for another job."""
        self._summed_up: dict[str, tuple[tuple[object, ...], float, Findings]] = {}
        """By job: what it was made of, until when a job that runs is content with it, and what was found."""

    def measure(self, job_id: str, *, at_most: int | None = AT_ONCE) -> tuple[int, int]:
        """Compare masks of some photos; see `Comparisons`. None beside a time trial."""
        return super().measure(job_id, at_most=0 if self.trial_runs else at_most)

    def findings(self, job_id: str, *, weight: float = WEIGHT) -> Findings:
        """What is known of a comparison, after all its photos were measured that can be by now.

        Not all are where a time trial runs: `measured` says it. `weight` is that of quality against speed,
        0 to 1. Raises as `comparison` does.
        """
        self.measure(job_id, at_most=None)
        return self._weighed(self.comparison(job_id, measure=False), weight)

    def findings_so_far(self, job_id: str, *, weight: float = WEIGHT) -> Findings:
        """The same for a page that asks again and again: some photos more are measured, no more.

        What was found a moment ago is found again, unless it has changed; of a job that runs also if it has,
        as long as finding it anew each time would take a twentieth of the time or more. Raises as
        `comparison` does.
        """
        measured = self.measure(job_id)
        trial = self._told_trial(job_id)
        ended = None if trial is None else trial.finished_at
        with self._summing_up:
            turn = self._job_locks.setdefault(job_id, threading.Lock())
        with turn:
            now = (*self._compared.standing(job_id), measured, ended, self._book.votes_revision(job_id))
            kept = self._summed_up.get(job_id)
            over = measured[0] == measured[1] and now[0].final
            if kept is None or (kept[0] != now and (over or self._clock.monotonic() >= kept[1])):
                begun = self._clock.monotonic()
                found = self._weighed(self.comparison(job_id, measure=False), weight)
                took = self._clock.monotonic() - begun
                kept = (now, begun + 20 * took, found)
                with self._summing_up:
                    self._summed_up.pop(job_id, None)
                    self._summed_up[job_id] = kept
                    while len(self._summed_up) > 1 and self._tasks_summed_up() > _KEPT_TASKS:
                        del self._summed_up[next(iter(self._summed_up))]
        found = kept[2]
        over = found.comparison.job.state.final
        said = recommend(found.models, found.ranking, weight=weight, trial=found.trial, over=over)
        return replace(found, recommendation=said)

    def _tasks_summed_up(self) -> int:
        return sum(found.comparison.job.counts.total for _, _, found in self._summed_up.values())

    def _weighed(self, found: Comparison, weight: float) -> Findings:
        """A comparison with what was voted and timed, and which model that speaks for."""
        ranking, trial = self.ranking(found.job.id), self._told_trial(found.job.id)
        alone = {
            one.model: (one.spread.p50, len(trial.photos))
            for one in (() if trial is None else trial.figures)
            if one.spread is not None and trial is not None
        }
        models = candidates(found.times, ranking, alone)
        return Findings(
            comparison=found,
            ranking=ranking,
            models=models,
            recommendation=recommend(models, ranking, weight=weight, trial=trial, over=found.job.state.final),
            made_at=self._clock.now(),
            votes=self.votes(found.job.id),
            trial=trial,
            specs=self._weights.specs(),
            settings={
                "children": self._runs_tasks.capacity,
                "threads_per_child": self.settings.threads_per_child,
            },
            machine=host(),
            versions=versions(),
        )

    def _told_trial(self, job_id: str) -> Trial | None:
        """The time trial whose figures stand."""
        trial = self.trial(job_id)
        told = None if trial is None else trial.told
        return told if told is not None and told.state.final else None

    def report(self, job_id: str, *, weight: float = WEIGHT) -> tuple[str, str]:
        """The HTML report of a comparison, and what its file is called; raises as `comparison` does."""
        found = self.findings(job_id, weight=weight)
        specs = {
            "latency": charts.latency(found.comparison),
            "front": charts.front(found.models, alone=found.alone),
            "disagreement": charts.disagreement(found.comparison.photos),
        }
        drawn = [
            Drawn(caption=_CHARTS[name], svg=self._drawn(chart.properties(width=640).to_json()))
            for name, chart in specs.items()
            if chart is not None
        ]
        worst = [(one, self._shown(one)) for one in most_apart(found.comparison.photos)[:WORST]]
        return html(found, drawn, worst), file_name(found.comparison.job, ".html")

    def figures_archive(self, job_id: str, *, weight: float = WEIGHT) -> Archive:
        """Every figure of a comparison as a ZIP of JSON and CSV files."""
        found = self.findings(job_id, weight=weight)
        stream = ZipStream(compress_type=ZIP_STORED, sized=True)
        stream.add(figures.as_json(found), "figures.json")
        for name, data in figures.as_tables(found).items():
            stream.add(data, name)
        return Archive(
            file_name=file_name(found.comparison.job, "-figures.zip"),
            byte_count=len(stream),
            chunks=iter(stream),
        )

    def masks_archive(self, job_id: str) -> Archive:
        """The masks of a job's finished tasks at their photos' size, a folder a model, streamed.

        Those that are lost are named in a text file beside them.
        """
        job = self._compared.job(job_id)
        stream, taken, lost = ZipStream(compress_type=ZIP_STORED), {_LOST}, list[str]()
        for task in self._compared.tasks(job_id):
            if task.state is TaskState.DONE and task.model != NO_MODEL:
                name = distinct(f"{task.model}/{task.photo.output}.png", taken)
                if (mask := self._masks.mask_of(task)) is None:
                    lost.append(f"{name}: process {task.photo.name} again to have its mask.\n")
                else:
                    stream.add(self._mask_at_size(mask, task.photo.size_wh), name)
        if lost:
            stream.add("".join(lost).encode(), _LOST)
        return Archive(file_name=file_name(job, "-masks.zip"), byte_count=None, chunks=iter(stream))

    def _mask_at_size(self, mask: Path, size_wh: tuple[int, int]) -> Generator[bytes, None, None]:
        """Made when its turn in the ZIP has come."""
        with self._masks.scratch() as target:
            answer = self._compares.submit(child_masks.write_mask, mask, size_wh, target)
            problem = self._compares.result(answer)
            if problem is not None:
                raise PhotoError(problem.code, problem.message, problem.advice)
            yield target.read_bytes()

    def _drawn(self, spec: str) -> str:
        with self._masks.scratch() as path:
            path.write_text(spec)
            self._compares.result(self._compares.submit(child_masks.draw_chart, path))
            return path.read_text()

    def _shown(self, one: ComparedPhoto) -> Pictures:
        cutouts = {
            task.model: self._preview(task.job_id, task.cutout)
            for task in one.tasks
            if task.cutout is not None
        }
        photo = heat = None
        with suppress(PhotoprocError):
            photo = self._small(self._masks.photo(one.tasks[0].job_id, one.photo.sha256))
            heat = self.difference(one.tasks[0].job_id, one.place)
        return Pictures(photo=photo, heat=heat, cutouts=cutouts)

    def _small(self, photo: Path) -> bytes:
        with self._masks.scratch() as target:
            small = child_files.thumbnail, photo, target, _SMALL, self.settings.max_pixels
            problem = self._compares.result(self._compares.submit(*small))
            if problem is not None:
                raise PhotoError(problem.code, problem.message, problem.advice)
            return target.read_bytes()

    def _preview(self, job_id: str, cutout: Cutout) -> bytes | None:
        with suppress(PhotoprocError, FileNotFoundError):
            return self._masks.output(job_id, cutout.preview).read_bytes()
        return None
