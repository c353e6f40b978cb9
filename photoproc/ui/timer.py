"""The end of a fragment's timer, and its beginning."""

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState


def stop_timer() -> None:
    """Draw the fragment that runs now no more by itself, whatever its `run_every` was.

    `st.rerun()` would do it as well, by drawing the whole page without the timer. But who leaves the page
    in that moment, by a link or by Back, would be brought back to it: Streamlit remembers the page
    that is wanted in one place for both runs, and the one that begins last has its way.
    """
    context, fragment = get_script_run_ctx(), ThreadState.get().fragment_id
    if context is not None and fragment is not None:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.append(fragment)
        context.enqueue(message)


def redraw_soon(fragment: str | None, *, every_s: float = 1.0) -> None:
    """Have a fragment (by its id, see `this_fragment`) drawn every so many seconds from now on, until it
    says `stop_timer`; nothing for None. One that has a timer keeps it.

    This is how a part of a page has what is around it drawn again. `st.rerun()` in a timer's run is not:
    see `stop_timer`.
    """
    context = get_script_run_ctx()
    if context is not None and fragment is not None:
        message = ForwardMsg()
        message.auto_rerun.interval = every_s
        message.auto_rerun.fragment_id = fragment
        context.enqueue(message)


def this_fragment() -> str | None:
    """The id of the fragment that runs now."""
    return ThreadState.get().fragment_id
