"""Fetch weights once, for images and machines that will have no network. Without names: the default model's.

python -m photoproc.fetch u2net u2netp
"""

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from photoproc import bootstrap, starting
from photoproc.errors import ModelError, Problem
from photoproc.models.weights import Phase, Weights
from photoproc.settings import Settings

_LOOK_S = 0.5
_GONE = Problem(
    code="weights_unreachable", message="Its file is not there any more.", advice="Fetch it once more."
)


def fetch(settings: Settings, names: Sequence[str]) -> Mapping[str, Path]:
    """Have the weights of these models in the model folder, verified; what is there already is kept.

    Returns where each model has them.

    Raises ModelError model_unknown before anything is fetched, or the problem of the first model that
    cannot be had.
    """
    changed = threading.Event()
    weights = Weights(settings.model_dir, sources=() if settings.offline else None, on_change=changed.set)
    for name in names:
        weights.state(name)
    weights.start()
    found: dict[str, Path] = {}
    try:
        for name in names:
            weights.request(name)
        for name in names:
            while (state := weights.state(name)).phase in (Phase.CHECKING, Phase.DOWNLOADING):
                changed.wait(_LOOK_S)
                changed.clear()
            if state.path is None:
                why = state.problem or _GONE
                raise ModelError(why.code, f"{name}: {why.message}", why.advice)
            found[name] = state.path
    finally:
        weights.stop()
    return found


def main(names: Sequence[str]) -> None:
    """The command; ends with a message and code 1 where a model cannot be had."""
    bootstrap.configure_logging()
    settings = starting.load_settings()
    try:
        found = fetch(settings, names or [settings.default_model])
    except ModelError as error:
        raise SystemExit(f"{error.problem.message} {error.problem.advice}") from error
    for name, path in found.items():
        sys.stdout.write(f"{name} is there: {path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
