"""The state of the tool, at the foot of the sidebar."""

from collections.abc import Sequence

import streamlit as st

from photoproc.jobs import Job
from photoproc.models.weights import Phase, WeightsState
from photoproc.service import PhotoService
from photoproc.ui.guard import guarded
from photoproc.ui.text import byte_size, escaped, plural, said

_LOW_DISK_BYTES = 2_000_000_000

TRIAL_RUNS = "A time trial is running; jobs wait until it has ended"


def sidebar_status(service: PhotoService) -> None:
    """Worker, queue, the default model's download, a disk that runs low; updates by itself."""

    @st.fragment(run_every=2.0)
    @guarded
    def live() -> None:
        system = service.system(with_disk_use=False)
        if not system.worker_alive:
            st.caption(":material/error: The worker is not running. Restart the server.")
        elif system.worker_problem is not None:
            st.caption(f":material/error: {said(system.worker_problem)}")
        elif system.worker_held:
            st.caption(f":material/timer: {TRIAL_RUNS}")
        elif system.tasks_running or system.tasks_queued:
            waiting = f", {system.tasks_queued:,} waiting" if system.tasks_queued else ""
            st.caption(f":material/autorenew: {plural(system.tasks_running, 'task')} running{waiting}")
        else:
            st.caption(":material/check: Ready")
        name = service.settings.default_model
        weights = service.model(name).weights
        if weights.phase is Phase.DOWNLOADING and not weights.elsewhere:
            st.progress(weights.fraction, text=f"Downloading {name}: {weights.fraction:.0%}")
        elif weights.phase is not Phase.READY:
            st.caption(f":material/info: {name}: {weights_words(weights)}")
        if system.free_bytes < _LOW_DISK_BYTES:
            st.caption(f":material/hard_drive: Only {byte_size(system.free_bytes)} of disk left")

    live()


def say_what_holds_up(service: PhotoService, jobs: Sequence[Job]) -> None:
    """Why these jobs wait, where that is the same for all: in the page, since a phone's sidebar is closed."""
    reasons = (service.held_up(job) for job in jobs)
    if (reason := next(filter(None, reasons), None)) is not None:
        st.warning(f"Waiting. {said(reason)}", icon=":material/pause_circle:")
    elif service.trial_runs and not all(job.state.final for job in jobs):
        st.caption(f":material/timer: {TRIAL_RUNS}.")


def show_notice(service: PhotoService) -> None:
    """What everybody should know, above the page, until somebody says that it is known."""
    notice = service.notice()
    if notice is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(said(notice), icon=":material/warning:")
        if st.button("Understood"):
            service.forget_notice()
            st.rerun()


def weights_words(weights: WeightsState) -> str:
    """The state of a model's weights in words."""
    if weights.elsewhere:
        return "another server downloads it"
    if weights.phase is Phase.DOWNLOADING:
        return f"downloading {weights.fraction:.0%}"
    if weights.phase is Phase.FAILED and weights.problem is not None:
        return f"failed: {escaped(weights.problem.message)}"
    return weights.phase.value
