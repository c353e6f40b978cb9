"""What stands before every page and route: by which names it is called, and what browsers are told."""

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_UPLOADS = "/_stcore/upload_file"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_PAGES = (
    # Streamlit's page has inline scripts and styles, its charts compile their expressions, and the scripts of
    # components are blobs.
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_ANSWERS = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",  # addresses have signed links in them
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
}


class Doors:
    """ASGI middleware. A request by a name the server does not have is answered 421, a socket is closed.

    `hosts` are the names it has besides its own ("*": whatever it is called). A site may have a name of its
    own resolve to this machine; its pages would be of the same origin as ours then. `may_upload` says of a
    browser's cookies whether it may send files to the dashboard, which keeps them in memory; else it is
    answered 401.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Sequence[str] = (),
        may_upload: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> None:
        self._app = app
        self._may_upload = may_upload
        self._hosts = {host.lower() for host in (*hosts, *LOCAL_NAMES, socket.gethostname())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if host and not self._has(host_name(host)):
            await self._turn_away(host, scope, receive, send)
            return
        if _UPLOADS in scope["path"] and not self._may_upload(HTTPConnection(scope).cookies):
            told = PlainTextResponse("Sign in, then send it again.", status_code=401, headers=_HEADERS)
            await told(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "content-security-policy": _policy(scope["path"])}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, answer)

    def _has(self, name: str | None) -> bool:
        if name is None:
            return False
        return "*" in self._hosts or name.lower().rstrip(".") in self._hosts or _is_address(name)

    async def _turn_away(self, host: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        told = (
            f"This server is not called {host[:200]!r}. "
            "Whoever runs it can add that name to PHOTOPROC_ALLOWED_HOSTS."
        )
        await PlainTextResponse(told, status_code=421, headers=_HEADERS)(scope, receive, send)


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port; None where there is none in it."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    """A number is no name that anybody could have resolve to here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _policy(path: str) -> str:
    """What may run where the answer is shown: nothing in pictures, JSON and reports."""
    return _ANSWERS if path.startswith(("/api/v1/", "/api/v1.0/", "/api/remove")) else _PAGES
