"""The service behind the pages."""

from collections.abc import Iterator

import pytest

from photoproc.bootstrap import Runtime
from photoproc.service import PhotoService
from tests.pages.clicks import Clicks


@pytest.fixture
def service(running: Runtime) -> Iterator[PhotoService]:
    """The service, without the jobs of earlier tests."""
    yield running.service
    for job in running.service.jobs(limit=100):
        running.service.delete(job.id)


@pytest.fixture
def clicks(monkeypatch: pytest.MonkeyPatch) -> Clicks:
    """What ends runs where it is told to."""
    return Clicks(monkeypatch)
