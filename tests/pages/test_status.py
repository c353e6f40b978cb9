"""The state of a model's weights, in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from photoproc.errors import Problem
from photoproc.models.weights import Phase, WeightsState
from photoproc.service import PhotoService
from photoproc.store import Store
from photoproc.ui.status import weights_words
from tests.pages.support import dashboard, labels, press, words

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


@contextmanager
def locked(service: PhotoService) -> Iterator[None]:
    """Another program holds the database's write lock meanwhile."""
    path = service.settings.data_dir / "store" / "cache.db"
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.rollback()
        connection.close()


def test_what_everybody_should_know_stays_until_the_database_takes_that_it_is_known(
    service: PhotoService,
) -> None:
    notice = Problem(code="jobs_lost", message="Two jobs could not be found again.", advice="Look there.")
    Store(service.settings.data_dir / "store").keep_notice(notice)
    app = dashboard()
    assert "Two jobs could not be found again" in words(app)
    with locked(service):
        press(app, "Understood")
    assert app.error, "it says that this could not be written down"
    assert "Two jobs could not be found again" in words(app.run())
    press(app, "Understood")
    assert not app.error
    assert "Understood" not in labels(app)
    assert service.notice() is None
