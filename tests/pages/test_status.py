"""The state of a model's weights, in words."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

import pytest

from photoproc.errors import Problem
from photoproc.models.weights import Phase, WeightsState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.store import Store
from photoproc.ui.status import TRIAL_RUNS, weights_words
from tests.pages.support import dashboard, labels, made_job, press, words
from tests.waiting import until

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


@contextmanager
def disk_low(service: PhotoService) -> Iterator[None]:
    """More of the disk is kept in reserve than there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service._blobs, "_min_free_bytes", 10**15)
        yield


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (disk_low, "Waiting. The disk of the data folder has too little room"),
        (locked, "Waiting. The store is locked by another program"),
    ],
)
def test_a_job_that_is_held_up_says_why_in_the_page_itself(
    service: PhotoService, trouble: Callable[[PhotoService], AbstractContextManager[None]], said: str
) -> None:
    until(lambda: service._worker.problem is None)  # that of the test before
    with ExitStack() as ends:
        with service._worker.held():
            job = made_job(service, "a.jpg", recipe=Recipe(models=("u2netp", "u2net")), wait=False)
            ends.enter_context(trouble(service))
        until(lambda: service.held_up(job) is not None)
        for page, query in (("jobs.py", {"job": job.id}), ("jobs.py", {}), ("compare.py", {"job": job.id})):
            app = dashboard(page, **query)
            assert [one.value for one in app.main.warning if one.value.startswith(said)], page
    until(lambda: service.job(job.id).state.final)
    until(lambda: service._worker.problem is None)
    for query in ({"job": job.id}, {}):
        assert not dashboard("jobs.py", **query).main.warning


def test_a_job_that_waits_for_a_time_trial_says_so(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service._worker.held():
        monkeypatch.setattr(type(service), "trial_runs", property(lambda _: True))
        job = made_job(service, "a.jpg", wait=False)
        for query in ({"job": job.id}, {}):
            captions = [one.value for one in dashboard("jobs.py", **query).main.caption]
            assert f":material/timer: {TRIAL_RUNS}." in captions


def test_only_what_keeps_a_job_from_going_on_holds_it_up(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = made_job(service, "a.jpg")
    with service._worker.held():
        waits = made_job(service, "b.jpg", wait=False)
        runs = replace(waits, counts=replace(waits.counts, running=1))
        monkeypatch.setattr(type(service._engine), "problem", PROBLEM)
        assert [service.held_up(job) for job in (done, runs, waits)] == [None, None, PROBLEM]
        monkeypatch.setattr(type(service._engine), "capacity", 0)
        assert service.held_up(runs) == PROBLEM, "what it runs is lost"
        monkeypatch.setattr(type(service._worker), "alive", False)
        told = service.held_up(waits)
        assert told is not None
        assert told.code == "worker_stopped"
