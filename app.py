"""Composition root: the dashboard, the API and the worker in one process on one port.

streamlit run app.py
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Mount
from streamlit import config

from photoproc import bootstrap, starting
from photoproc.api.app import create_api
from photoproc.api.doors import Doors
from photoproc.ui import leaving, visitor


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Start the worker with the server; give its tasks back when the server ends."""
    # By default there are a few threads a core, and listeners that wait on the disk would hold them all.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
    await asyncio.to_thread(bootstrap.start, settings)
    bootstrap.leave_in_time()
    try:
        yield
    finally:
        await asyncio.to_thread(bootstrap.shut_down)


leaving.settle()
settings = starting.load_settings(sign_in=visitor.signs_in())  # or say now what is wrong with them

doors = {"may_upload": visitor.may_upload} if settings.sign_in else {}
starting.check_address(settings, config.get_option("server.address"))

app = st.App(
    "pages/dashboard.py",
    middleware=[Middleware(Doors, hosts=settings.hosts, **doors)],
    routes=[Mount("/api", create_api(bootstrap.service, origins=settings.origins))],
    lifespan=lifespan,
)
