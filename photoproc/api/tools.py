"""The tool itself: alive, ready, its figures, its models."""

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from photoproc.api import shapes
from photoproc.api.callers import Gates
from photoproc.errors import not_found
from photoproc.models.catalogue import VITMATTE
from photoproc.people import Person
from photoproc.service import PhotoService


class Health(shapes.Shape):
    """The server answers."""

    status: Literal["ok"] = "ok"


class Ready(shapes.Shape):
    """Whether jobs are worked on; `reasons` says of each part that keeps them from it why."""

    ready: bool
    reasons: dict[str, str]


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["tool"])
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type
    registry = CollectorRegistry()
    registry.register(_Figures(service))

    @router.get("/health", summary="Is it alive?")
    async def health() -> Health:
        """Whether the server answers. Open to all."""
        return Health()

    @router.get("/ready", summary="Is it ready?", responses={503: {"model": Ready}})
    def ready(response: Response) -> Ready:
        """Whether worker, store, disk and default model are fit for work; 503 with the reasons if not."""
        reasons = service().readiness()
        response.status_code = 503 if reasons else 200
        return Ready(ready=not reasons, reasons=reasons)

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics(caller: Called) -> Response:
        """Tasks by state and model, seconds by step, queue, children, disk: Prometheus's text format."""
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/models", summary="List models")
    def models(caller: Called) -> shapes.ModelsOut:
        """All of them, with licences and the state of the weights."""
        speeds = service().speeds()
        return shapes.ModelsOut(
            default=service().settings.default_model,
            refiner=shapes.model_out(service().refiner(), None),
            items=[shapes.model_out(one, speeds.get(one.spec.name)) for one in service().models()],
            refused=[shapes.refused(one) for one in service().not_models()],
        )

    @router.post("/models/{name}/download", status_code=202, summary="Download a model's weights")
    def download(caller: Called, name: str) -> shapes.ModelOut:
        """Fetch weights in the background, or check a custom model again. Idempotent.

        `GET /models` tells how far it is.
        """
        photos = service()
        if name not in (VITMATTE.name, *photos.model_names()):
            raise not_found("model")
        photos.download_model(name)
        model = photos.refiner() if name == VITMATTE.name else photos.model(name)
        return shapes.model_out(model, photos.speeds().get(name))

    return router


class _Figures(Collector):
    """What Prometheus is told, gathered when it asks."""

    def __init__(self, service: Callable[[], PhotoService]) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        photos = self._service()
        system = photos.system(with_disk_use=False)
        waiting = GaugeMetricFamily("photoproc_tasks", "Unfinished tasks", labels=["model", "state"])
        for (model, state), count in sorted(photos.waiting().items()):
            waiting.add_metric([model, state.value], count)
        yield waiting
        ended = CounterMetricFamily("photoproc_tasks_ended", "Tasks ended", labels=["model", "state"])
        steps = SummaryMetricFamily("photoproc_step_seconds", "Seconds by step", labels=["model", "step"])
        for model, figures in photos.figures().items():
            for name, ended_count in figures.ended.items():
                ended.add_metric([model, name], ended_count)
            for step, (runs, seconds) in figures.steps.items():
                steps.add_metric([model, step], count_value=int(runs), sum_value=seconds)
        yield ended
        yield steps
        for name, text, value in (
            ("photoproc_queue_depth", "Tasks waiting", system.tasks_queued),
            ("photoproc_tasks_in_flight", "Tasks in the hands of children", system.tasks_running),
            ("photoproc_children_alive", "Children", sum(child.alive for child in system.children)),
            ("photoproc_worker_alive", "1 while the worker runs", int(system.worker_alive)),
            ("photoproc_disk_free_bytes", "Free on the data folder's disk", system.free_bytes),
            ("photoproc_disk_bytes", "Size of the data folder's disk", system.disk_bytes),
        ):
            yield GaugeMetricFamily(name, text, value)
