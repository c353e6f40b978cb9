"""Timers of fragments that cross the change to another page, as Streamlit's queue of requests meets them."""

import threading
from types import TracebackType

import pytest
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests

from photoproc.ui import leaving


class CountedLock:
    """A lock that knows how often it was taken."""

    def __init__(self) -> None:
        self._lock, self.taken = threading.Lock(), 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self.taken += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> ScriptRequests:
    """A session's requests, settled; Streamlit is afterwards as it was."""
    monkeypatch.setattr(ScriptRequests, "_request_rerun_locked", ScriptRequests._request_rerun_locked)
    monkeypatch.setattr(ScriptRunner, "_run_script", ScriptRunner._run_script)
    monkeypatch.setattr(leaving, "_settled", False)
    leaving.settle()
    return ScriptRequests()


def timer(page: str) -> RerunData:
    """What the timer of a page's fragment asks for."""
    return RerunData(page_script_hash=page, fragment_id="timer", is_auto_rerun=True)


def test_a_timer_does_not_take_back_the_page_that_is_asked_for(requests: ScriptRequests) -> None:
    requests.request_rerun(RerunData(page_script_hash="new", query_string="job=1"))
    assert requests.request_rerun(timer("old"))
    wanted = requests.on_scriptrunner_ready().rerun_data
    assert (wanted.page_script_hash, wanted.query_string) == ("new", "job=1")
    requests.request_rerun(timer("new"))
    assert requests.on_scriptrunner_ready().rerun_data.fragment_id_queue == ["timer"]


def test_a_timer_does_not_take_a_click_to_another_page(requests: ScriptRequests) -> None:
    requests.request_rerun(RerunData(page_script_hash="new", fragment_id="clicked"))
    assert requests.request_rerun(timer("old"))
    wanted = requests.on_scriptrunner_ready().rerun_data
    assert (wanted.page_script_hash, wanted.fragment_id_queue) == ("new", ["clicked"])


def test_a_timer_of_the_same_page_is_drawn_with_what_was_clicked(requests: ScriptRequests) -> None:
    requests.request_rerun(RerunData(page_script_hash="new", fragment_id="clicked"))
    requests.request_rerun(timer("new"))
    assert requests.on_scriptrunner_ready().rerun_data.fragment_id_queue == ["clicked", "timer"]


def test_nothing_comes_between_the_look_and_the_request(requests: ScriptRequests) -> None:
    lock = CountedLock()
    requests._lock = lock  # type: ignore[assignment]
    requests.request_rerun(timer("new"))
    assert lock.taken == 1


def test_timers_in_a_batch_are_passed_over_as_well(requests: ScriptRequests) -> None:
    requests.request_rerun_batch([RerunData(page_script_hash="new"), timer("old")])
    assert requests.on_scriptrunner_ready().rerun_data.page_script_hash == "new"


def test_a_stopped_session_refuses_timers(requests: ScriptRequests) -> None:
    requests.request_stop()
    assert not requests.request_rerun(timer("new"))


def test_settling_twice_is_settling_once(requests: ScriptRequests) -> None:
    before = ScriptRequests._request_rerun_locked
    leaving.settle()
    assert ScriptRequests._request_rerun_locked is before
