"""A way through to a server whose WebSockets can be cut while everything else goes on."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Listens on a port of its own and passes bytes on; `cut` ends and refuses WebSockets until `mend`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = threading.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._sockets: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.url = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._listening.wait(10)

    def cut(self) -> None:
        """End the WebSockets there are, and let no other through."""
        self._is_cut = True
        for writer in list(self._sockets):
            self._loop.call_soon_threadsafe(writer.transport.abort)

    def mend(self) -> None:
        """Let WebSockets through again."""
        self._is_cut = False

    def stop(self) -> None:
        """End all there is."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://localhost:{server.sockets[0].getsockname()[1]}"
        self._listening.set()
        await self._over.wait()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        while self._open:
            await asyncio.sleep(0.01)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forth = None
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            is_socket = b"upgrade: websocket" in head.lower()
            if is_socket and self._is_cut:
                return
            if is_socket:
                self._sockets.add(writer)
            back, forth = await asyncio.open_connection("localhost", self._target)
            forth.write(head)
            await asyncio.gather(_pump(reader, forth), _pump(back, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in (writer, forth):
                if one is not None:
                    one.close()
            self._sockets.discard(writer)
            self._open.discard(writer)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@contextmanager
def proxied(target: int) -> Iterator[Proxy]:
    """A proxy to a local port."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.stop()
