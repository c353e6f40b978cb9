"""Make a form of a model, or measure again the one that is there, and say what came of it.

python -m photoproc.make_form u2net int8
"""

import sys
import threading
from collections.abc import Sequence

from photoproc import bootstrap, starting
from photoproc.errors import ModelError
from photoproc.models.forms import KINDS, check, form_name, times
from photoproc.models.probe import Limits
from photoproc.models.registry import Models
from photoproc.models.weights import Phase
from photoproc.settings import Settings

_LOOK_S = 0.2


def make_form(settings: Settings, model: str, kind: str) -> str:
    """Have it made, and wait for it; what became of it. Raises ModelError where it cannot be made."""
    name, pause = form_name(model, kind), threading.Event()
    check(model, kind)
    limits = Limits(
        timeout_s=settings.task_timeout_s,
        memory_mb=settings.child_memory_mb,
        threads=settings.threads_per_child,
        choice=settings.provider_choice,
    )
    models = Models(settings.model_dir, probes=settings.data_dir / "probes", limits=limits, sources=())
    models.start()
    try:
        while models.state(model).phase is Phase.CHECKING:
            pause.wait(_LOOK_S)
        models.make_form(model, kind)
        while models.forms().at_work is not None:
            pause.wait(_LOOK_S)
        if (problem := models.forms().problems.get(name)) is not None:
            raise ModelError(problem.code, problem.message, problem.advice)
        while (state := models.state(name)).phase is Phase.CHECKING:
            pause.wait(_LOOK_S)
        made = models.forms().made[name]
        if state.problem is not None:
            return f"{state.problem.message} {state.problem.advice}"
        return f"{name} is offered: {times(made.form)}, soft IoU {made.form.soft_iou:.3f} with {model}."
    finally:
        models.stop()


def main(given: Sequence[str]) -> None:
    """The command; ends with a message and code 1 where the form cannot be made."""
    bootstrap.configure_logging()
    if len(given) != 2:
        raise SystemExit(f"python -m photoproc.make_form MODEL {'|'.join(KINDS)}")
    try:
        told = make_form(starting.load_settings(), *given)
    except ModelError as error:
        raise SystemExit(f"{error.problem.message} {error.problem.advice}") from error
    sys.stdout.write(f"{told}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
