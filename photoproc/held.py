"""Small pictures that are asked for again and again, held in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Held:
    """Bytes by key, the least used forgotten first; never more than `max_bytes` of them. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Condition()
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()
        self._being_made: set[Hashable] = set()

    @property
    def byte_count(self) -> int:
        """How many are held."""
        with self._lock:
            return sum(map(len, self._held.values()))

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What is held for a key, or what `make` returns now: once, however many ask at the same time."""
        with self._lock:
            self._lock.wait_for(lambda: key not in self._being_made)
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            self._being_made.add(key)
        try:
            made = make()
            with self._lock:
                self._keep(key, made)
            return made
        finally:
            with self._lock:
                self._being_made.discard(key)
                self._lock.notify_all()

    def _keep(self, key: Hashable, made: bytes) -> None:
        if len(made) > self._max_bytes:
            return
        self._held[key] = made
        total = sum(map(len, self._held.values()))
        while total > self._max_bytes:
            _, gone = self._held.popitem(last=False)
            total -= len(gone)
