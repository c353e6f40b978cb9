"""All models there are: the public ones of the catalogue, and a team's own from the model folder."""

from collections.abc import Callable, Iterable
from pathlib import Path

from photoproc.errors import ModelError, not_found
from photoproc.jobs import Refusal
from photoproc.models import form_making, forms
from photoproc.models.catalogue import ModelSpec
from photoproc.models.custom_folder import CustomModels
from photoproc.models.form_making import FormMaker
from photoproc.models.forms import Forms
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
        self._maker = FormMaker(threads=limits.threads, choice=limits.choice, on_end=self._custom.refresh)

    def start(self) -> None:
        form_making.clear_all(self.folders())
        super().start()

    def stop(self) -> None:
        super().stop()
        self._maker.stop()
        self._custom.stop()

    def listen(self, on_change: Callable[[], None]) -> None:
        super().listen(on_change)
        self._custom.listen(on_change)

    def specs(self) -> dict[str, ModelSpec]:
        return {**super().specs(), **self._custom.specs()}

    def refused(self) -> tuple[Refusal, ...]:
        return self._custom.refused()

    def forms(self) -> Forms:
        return Forms(made=self._custom.forms(), at_work=self._maker.at_work, problems=self._maker.problems())

    def make_form(self, model: str, kind: str) -> None:
        forms.check(model, kind)
        name, original = forms.form_name(model, kind), super().ready().get(model)
        if original is None:
            raise ModelError(
                "form_no_original",
                f"{name} is made of {model}, which is not there.",
                f"Download {model} first.",
            )
        made = self._custom.forms().get(name)
        if made is None and self._custom.state(name) is not None:
            raise ModelError(
                "form_taken",
                f"There is a model of your own called {name}.",
                "Give it another name; then make the form.",
            )
        folder = self.folders()[0] / "models" / name if made is None else made.path.parent
        self._maker.start(model, kind, original, folder, again=made is not None and made.sound)

    def delete_form(self, name: str) -> None:
        made = self._custom.forms().get(name)
        if made is None:
            raise not_found("form")
        for path in (made.path.with_suffix(".toml"), made.path):
            path.unlink(missing_ok=True)
        self._maker.forget(name)
        self._custom.refresh()

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
