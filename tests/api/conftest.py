"""A client on the server's own machine, and what tests send."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from tests.api.support import Api, local

Changed = Callable[..., None]


@pytest.fixture
def client(running: Runtime) -> Iterator[TestClient]:
    with local(create_api(lambda: running.service)) as client:
        yield client


@pytest.fixture
def api(client: TestClient) -> Api:
    return Api(client)


@pytest.fixture
def change(running: Runtime, monkeypatch: pytest.MonkeyPatch) -> Changed:
    """Change settings for this test."""

    def change(**settings: object) -> None:
        changed = running.service.settings.model_copy(update=settings)
        monkeypatch.setattr(running.service, "settings", changed)

    return change
