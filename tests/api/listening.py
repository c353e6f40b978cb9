"""The API on a real port, for clients that speak HTTP by themselves; and a server with nothing to do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from photoproc.api.app import create_api
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.weights import Phase
from photoproc.service import PhotoService
from tests.server import free_port
from tests.waiting import until


@contextmanager
def listening(service: PhotoService) -> Iterator[str]:
    """The address of the API under `/api`, as the application mounts it."""
    app = Starlette(routes=[Mount("/api", create_api(lambda: service))])
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.should_exit = True
        thread.join()


def at_rest(service: PhotoService) -> None:
    """Return once no task runs or could: what other tests have left behind is over then."""

    def over() -> bool:
        ready = {name for name in CATALOGUE if service.model(name).weights.phase is Phase.READY}
        able = [count for (model, _), count in service.waiting().items() if model in ready]
        return not any(able) and not service.system(with_disk_use=False).tasks_running

    until(over)
