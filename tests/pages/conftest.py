"""The service behind the pages."""

from collections.abc import Iterator

import pytest

from photoproc.bootstrap import Runtime
from photoproc.service import PhotoService


@pytest.fixture
def service(running: Runtime) -> Iterator[PhotoService]:
    """The service, without the jobs of earlier tests."""
    yield running.service
    for job in running.service.jobs(limit=100):
        running.service.delete(job.id)
