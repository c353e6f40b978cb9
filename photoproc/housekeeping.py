"""Finished jobs go when their time is over, and the reserve of the disk is kept filled."""

import threading
from contextlib import suppress

import structlog

from photoproc.clock import Clock
from photoproc.errors import ServiceError
from photoproc.service import PhotoService

log = structlog.get_logger()

_DAY_S = 24 * 3600.0
GRACE_S = _DAY_S
"""How much later than promised a job goes, so that a clock that is a day ahead takes nothing too early."""
_EVERY_S = 600.0


class Housekeeper:
    """A background thread that looks every ten minutes; `run_once` does the work.

    Ages go by the wall clock, which may jump. `GRACE_S` makes up for a day: of a clock that was ahead at the
    start, of a machine that slept. Once it is further ahead of the monotonic clock than that, nothing goes
    for a day.
    """

    def __init__(self, service: PhotoService, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self._ahead = clock.now() - clock.monotonic()
        self._not_before = clock.monotonic()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a background thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.run_once()
            except ServiceError as error:  # met again in ten minutes, if it stays
                log.warning("housekeeping_held_up", code=error.problem.code, why=error.problem.message)
            except Exception:
                log.exception("housekeeping_failed")
            self._ending.wait(_EVERY_S)

    def run_once(self) -> list[str]:
        """Delete the jobs whose time is over; their ids."""
        self._service.keep_reserve()
        now, passed = self._clock.now(), self._clock.monotonic()
        if now - passed - self._ahead > GRACE_S:
            log.warning("clock_jumped", seconds=round(now - passed - self._ahead))
            self._ahead, self._not_before = now - passed, passed + _DAY_S
        if passed < self._not_before:
            return []
        gone = []
        for job_id in self._service.expired(now - GRACE_S):
            if self._ending.is_set():
                break
            with suppress(ServiceError):  # deleted meanwhile, or tried again in ten minutes
                self._service.expire(job_id, now - GRACE_S)
                gone.append(job_id)
                log.info("job_expired", job=job_id)
        return gone
