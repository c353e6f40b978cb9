"""The state of a model's weights, in words."""

from dataclasses import replace

import pytest

from photoproc.errors import Problem
from photoproc.models.weights import Phase, WeightsState
from photoproc.service import PhotoService
from photoproc.ui.status import weights_words
from tests.pages.support import dashboard, words

PROBLEM = Problem(code="weights_unreachable", message="u2net_cloth could not be downloaded.", advice="Wait.")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (WeightsState(phase=Phase.ABSENT), "not downloaded"),
        (WeightsState(phase=Phase.DOWNLOADING, fraction=0.256), "downloading 26%"),
        (WeightsState(phase=Phase.DOWNLOADING, elsewhere=True), "another server downloads it"),
        (
            WeightsState(phase=Phase.FAILED, problem=PROBLEM),
            r"failed: u2net\_cloth could not be downloaded\.",
        ),
    ],
)
def test_what_is_said_of_weights(state: WeightsState, words: str) -> None:
    assert weights_words(state) == words


def test_a_download_of_another_server_is_no_standing_progress_bar(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, default = WeightsState(phase=Phase.DOWNLOADING, elsewhere=True), service.settings.default_model
    model = replace(service.model(default), weights=state)
    monkeypatch.setattr(service, "models", lambda: [model])
    monkeypatch.setattr(service, "model", lambda _: model)
    app = dashboard("system.py")
    assert "Another server downloads it" in words(app)
    assert "Downloading" not in words(app)
    told = [caption.value for caption in app.sidebar.caption]
    assert f":material/info: {default}: another server downloads it" in told
