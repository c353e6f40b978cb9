"""Time, injected: wall time for what people read, monotonic time for how long something took."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Seconds since the epoch; may jump. For what people read, and for ages in days."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; for intervals inside this process."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
