"""All models there are: the public ones of the catalogue, and a team's own from the model folder."""

from collections.abc import Callable, Iterable
from pathlib import Path

from photoproc.jobs import Refusal
from photoproc.models.catalogue import ModelSpec
from photoproc.models.custom_folder import CustomModels
from photoproc.models.probe import Limits
from photoproc.models.sources import Source
from photoproc.models.weights import Weights, WeightsState


class Models(Weights):
    """The weights of every model, custom ones among them: those are not fetched but checked again."""

    def __init__(
        self,
        model_dir: Path | None,
        *,
        probes: Path,
        limits: Limits,
        sources: Iterable[Source] | None = None,
    ) -> None:
        """`probes` is a folder of ours, for what came of trying custom models."""
        super().__init__(model_dir, sources=sources)
        self._custom = CustomModels(self.folders, kept_in=probes, limits=limits)

    def stop(self) -> None:
        super().stop()
        self._custom.stop()

    def listen(self, on_change: Callable[[], None]) -> None:
        super().listen(on_change)
        self._custom.listen(on_change)

    def specs(self) -> dict[str, ModelSpec]:
        return {**super().specs(), **self._custom.specs()}

    def refused(self) -> tuple[Refusal, ...]:
        return self._custom.refused()

    def state(self, name: str) -> WeightsState:
        return self._custom.state(name) or super().state(name)

    def ready(self) -> dict[str, Path]:
        return {**super().ready(), **self._custom.ready()}

    def refresh(self) -> None:
        super().refresh()
        self._custom.refresh()

    def request(self, name: str) -> None:
        if name in self._catalogue:
            super().request(name)
        else:
            self._custom.check_again(name)
