"""What a comparison comes to: the recommendation, and what people take away of it."""

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from zipstream import ZIP_STORED, ZipStream

from photoproc import charts, child, figures
from photoproc.clock import Clock
from photoproc.comparison import ComparedPhoto, Comparison, Comparisons, worst_first
from photoproc.errors import PhotoError, PhotoprocError
from photoproc.export import Archive, file_name
from photoproc.figures import Findings
from photoproc.host import host
from photoproc.jobs import Cutout, Task, TaskState
from photoproc.models.weights import Weights
from photoproc.names import distinct
from photoproc.overview import versions
from photoproc.recipe import NO_MODEL
from photoproc.recommendation import WEIGHT, candidates, recommend
from photoproc.report import WORST, Drawn, Pictures, html
from photoproc.settings import Settings
from photoproc.tags import Tags
from photoproc.trial import Trials
from photoproc.voting import Voting

_SMALL = 480
"""The longest side of a photo in the report, in pixels."""
_CHARTS = {
    "latency": "Seconds a photo with the model loaded; the mark is the median",
    "front": "How often a model is preferred to another, against its time; dashed: the Pareto front",
    "disagreement": "How many photos have how much disagreement",
}


class Decisions(Comparisons, Tags, Voting, Trials):
    """The part of the service that sums comparisons up."""

    settings: Settings
    _clock: Clock
    _weights: Weights

    def comparison(self, job_id: str, *, measure: bool = True) -> Comparison:
        """A job's models side by side; see `Comparisons`. Nothing is measured beside a time trial."""
        return super().comparison(job_id, measure=measure and not self.trial_runs)

    def findings(self, job_id: str, *, weight: float = WEIGHT, wait: bool = True) -> Findings:
        """What is known of a comparison; raises as `comparison` does.

        With `wait` all photos are measured first, unless a time trial runs. `weight` is that of quality
        against speed, 0 to 1.
        """
        found = self.comparison(job_id)
        while wait and not self.trial_runs and found.measured < found.to_measure:
            with self._measuring:  # where somebody else measures, wait for that
                pass
            found = self.comparison(job_id)
        return self.weighed(found, weight=weight)

    def weighed(self, found: Comparison, *, weight: float = WEIGHT) -> Findings:
        """A comparison with what was voted, and which model that speaks for."""
        job_id = found.job.id
        ranking, trial = self.ranking(job_id), self.trial(job_id)
        alone = {
            one.model: (one.spread.p50, one.spread.count)
            for one in (trial.figures if trial is not None and trial.state.final else ())
            if one.spread is not None
        }
        models = candidates(found.times, ranking, alone)
        return Findings(
            comparison=found,
            ranking=ranking,
            models=models,
            recommendation=recommend(models, ranking, weight=weight),
            made_at=self._clock.now(),
            votes=self.votes(job_id),
            trial=trial,
            specs=self._weights.specs(),
            settings={
                "children": self._runs_tasks.capacity,
                "threads_per_child": self.settings.threads_per_child,
            },
            machine=host(),
            versions=versions(),
        )

    def report(self, job_id: str, *, weight: float = WEIGHT) -> tuple[str, str]:
        """The HTML report of a comparison, and what its file is called; raises as `comparison` does."""
        found = self.findings(job_id, weight=weight)
        specs = {
            "latency": charts.latency(found.comparison),
            "front": charts.front(found.models),
            "disagreement": charts.disagreement(found.comparison.photos),
        }
        drawn = [
            Drawn(caption=_CHARTS[name], svg=self._drawn(chart.properties(width=640).to_json()))
            for name, chart in specs.items()
            if chart is not None
        ]
        ordered = [one for one in worst_first(found.comparison.photos) if one.distance is not None]
        worst = [(one, self._shown(one)) for one in ordered[:WORST]]
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
        """The masks of a job's finished tasks at their photos' size, a folder a model, streamed."""
        job = self._compared.job(job_id)
        stream, taken = ZipStream(compress_type=ZIP_STORED), set[str]()
        for task in self._compared.tasks(job_id):
            if task.state is TaskState.DONE and task.model != NO_MODEL:
                name = distinct(f"{task.model}/{task.photo.output}.png", taken)
                stream.add(self._mask_at_size(task), name)
        return Archive(file_name=file_name(job, "-masks.zip"), byte_count=None, chunks=iter(stream))

    def _mask_at_size(self, task: Task) -> Generator[bytes, None, None]:
        """Made when its turn in the ZIP has come."""
        (path,) = self._paths([task])
        with self._masks.scratch() as target:
            answer = self._compares.submit(child.write_mask, path, task.photo.size_wh, target)
            problem = self._compares.result(answer)
            if problem is not None:
                raise PhotoError(problem.code, problem.message, problem.advice)
            yield target.read_bytes()

    def _drawn(self, spec: str) -> str:
        with self._masks.scratch() as path:
            path.write_text(spec)
            self._compares.result(self._compares.submit(child.draw_chart, path))
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
            small = child.thumbnail, photo, target, _SMALL, self.settings.max_pixels
            problem = self._compares.result(self._compares.submit(*small))
            if problem is not None:
                raise PhotoError(problem.code, problem.message, problem.advice)
            return target.read_bytes()

    def _preview(self, job_id: str, cutout: Cutout) -> bytes | None:
        with suppress(PhotoprocError, FileNotFoundError):
            return self._masks.output(job_id, cutout.preview).read_bytes()
        return None
