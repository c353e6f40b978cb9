"""PhotoService: the one façade that pages, API and command line call."""

import math
from collections.abc import Callable
from functools import partial

from photoproc.blobs import GRAPHS, Blobs
from photoproc.clock import Clock
from photoproc.comparison import Comparisons
from photoproc.decision import Decisions
from photoproc.engine import Engine
from photoproc.engine.local import LocalEngine
from photoproc.intake import Intake
from photoproc.library import Library
from photoproc.links import Links
from photoproc.models.weights import Weights
from photoproc.overview import Overview
from photoproc.people import Person
from photoproc.pictures import Pictures
from photoproc.settings import Settings
from photoproc.store import Store
from photoproc.submissions import Submissions
from photoproc.tags import Tags
from photoproc.trial import Trials
from photoproc.voting import Voting
from photoproc.worker import Worker

BACKGROUNDS = "backgrounds"
"""What the dashboard's links to pictures of the library are signed for."""

DASHBOARD = "dashboard"


def dashboard_of(name: str) -> str:
    """What a link of the dashboard's own is signed for: who holds one may do what that person may; without a
    name what anybody may where nobody signs in."""
    return f"{DASHBOARD}:{name}"


class PhotoService(Submissions, Pictures, Decisions):
    """Everything a door (page, route, command) may ask for. Thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        intake: Intake,
        engine: Engine,
        previewer: Engine,
        worker: Worker,
        weights: Weights,
        clock: Clock,
        settings: Settings,
        link_key: str,
        trial_engine: Callable[[], Engine] | None = None,
    ) -> None:
        Overview.__init__(
            self,
            store=store,
            blobs=blobs,
            engine=engine,
            worker=worker,
            weights=weights,
            clock=clock,
            settings=settings,
        )
        Library.__init__(
            self,
            store=store,
            blobs=blobs,
            # Previews stay here: on a cluster they would wait behind everybody's tasks.
            engine=engine if settings.engine == "local" else previewer,
            previewer=previewer,
            weights=weights,
            settings=settings,
        )
        Comparisons.__init__(self, store=store, blobs=blobs, engine=engine, previewer=previewer)
        Trials.__init__(
            self,
            store=store,
            blobs=blobs,
            worker=worker,
            weights=weights,
            clock=clock,
            settings=settings,
            # Like the children that run tasks, so that the figures can be compared.
            engine_of=trial_engine
            or partial(
                LocalEngine,
                children=1,
                threads=settings.threads_per_child,
                timeout_s=settings.task_timeout_s,
                memory_mb=settings.child_memory_mb,
                graphs=settings.data_dir / GRAPHS,
                choice=settings.provider_choice,
            ),
        )
        Decisions.__init__(self)
        Tags.__init__(self, store=store)
        Voting.__init__(self, store=store, blobs=blobs, previewer=previewer, clock=clock)
        self._intake = intake
        self._links = Links(link_key, lifetime_s=settings.link_lifetime_s)

    def delete(self, job_id: str, *, finished_before: float = math.inf) -> None:
        """Delete a job with all that belongs to it; what runs for it, a time trial too, stops."""
        self.drop_trial(job_id)
        super().delete(job_id, finished_before=finished_before)

    def sign(self, job_id: str) -> str:
        """A token that opens a job's pictures and archive until it expires."""
        return self._links.sign(job_id)

    def seen_through(self, token: str) -> Person | None:
        """Whose dashboard a link belongs to; None of another link.

        What they see goes by the settings now: a link from before people had to sign in opens nothing.
        """
        kind, _, name = (self._links.subject(token) or "").partition(":")
        if kind != DASHBOARD or (self.settings.sign_in and not name):
            return None
        return Person(name, sees_all=self.sees_all(name), on_page=True)

    def sees_all(self, name: str) -> bool:
        """Whether somebody of this name sees everybody's jobs: an admin, or where nobody signs in anybody."""
        return not name or (self.settings.sign_in and name in self.settings.admin_names)

    def check_link(self, subject: str, token: str) -> None:
        """Raise ServiceError link_expired or link_invalid unless the token opens this subject."""
        self._links.check(subject, token)


def trying(job_id: str) -> str:
    """What a link is signed for that lets recipes be tried on a job's photos: pictures' links do not."""
    return f"try:{job_id}"
