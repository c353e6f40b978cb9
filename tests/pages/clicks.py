"""Clicks of a person who does not wait: each ends the run of Streamlit that is under way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from streamlit.runtime.scriptrunner import RerunData, RerunException, get_script_run_ctx
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner


class Clicks:
    """Ends a run at a place at which Streamlit looks whether anybody has clicked.

    What follows is the run of a click elsewhere: it brings what the browser said before the one that was
    ended told it anything, so all that run wrote into `st.session_state` for a control is overwritten.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at = self._places = 0
        self._said = RerunData()
        runs, looks = ScriptRunner._run_script, ScriptRunner._maybe_handle_execution_control_request

        def run(runner: ScriptRunner, data: RerunData) -> None:
            if self._at and not self._places:
                self._said = data
            runs(runner, data)

        def look(runner: ScriptRunner) -> None:
            context = get_script_run_ctx()
            if runner._execing and context is not None:
                self._places += 1
                if self._places == self._at:
                    raise RerunException(
                        RerunData(
                            query_string=context.query_string,
                            page_script_hash=context.page_script_hash,
                            widget_states=self._said.widget_states,
                        )
                    )
            looks(runner)

        monkeypatch.setattr(ScriptRunner, "_run_script", run)
        monkeypatch.setattr(ScriptRunner, "_maybe_handle_execution_control_request", look)

    @contextmanager
    def ending(self, at: int) -> Iterator[list[int]]:
        """End the next run at its `at`-th place; afterwards the list has that number, if there was one."""
        self._at, self._places = at, 0
        ended: list[int] = []
        try:
            yield ended
        finally:
            if self._places >= at:
                ended.append(at)
            self._at = 0
