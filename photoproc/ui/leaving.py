"""Streamlit, kept from going back to a page that is being left.

Timers of fragments (`run_every`) name the page they were drawn on. One that crosses the change to another
page on its way makes Streamlit 1.67 either forget the change or, after it, take the old page for the
current one: controls of the new page lose what was chosen with them, or the page stays half drawn.
"""

from typing import Any

from streamlit.runtime.scriptrunner import get_script_run_ctx, script_runner
from streamlit.runtime.scriptrunner_utils import script_requests
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequestType

_runner: Any = script_runner.ScriptRunner
_requests: Any = script_requests.ScriptRequests
_settled = False


def end_if_left() -> None:
    """End this run of a page here where the visitor has gone on since its last `st.` call.

    Streamlit looks for that in each of those calls only. A run that computes something last would come to
    its end as if it were the current one, and delete the fragments of the page that is shown by now:
    nothing on that page would do anything any more.
    """
    context = get_script_run_ctx()
    if context is not None:
        context.yield_check()


def settle() -> None:
    """Have all sessions of this process pass over what fragments of another page ask for."""
    global _settled
    if not _settled:
        _settled = True
        _runner._run_script = _passing_over(_runner._run_script)
        _requests._request_rerun_locked = _absorbing(_requests._request_rerun_locked)


def _passing_over(run_script: Any) -> Any:
    def run(self: Any, rerun_data: RerunData) -> None:
        here = self._pages_manager.current_page_script_hash
        if rerun_data.fragment_id_queue and rerun_data.page_script_hash not in ("", here):
            return
        run_script(self, rerun_data)

    return run


def _absorbing(request_rerun_locked: Any) -> Any:
    """Streamlit calls it with its lock held: what is looked at here is what the request meets."""

    def request(self: Any, new_data: RerunData) -> bool:
        if new_data.is_auto_rerun and self._state == ScriptRequestType.RERUN:
            waits = self._rerun_data
            if not waits.fragment_id_queue or waits.page_script_hash != new_data.page_script_hash:
                return True  # the whole page is about to be drawn, or what was used on another one
        return bool(request_rerun_locked(self, new_data))

    return request
