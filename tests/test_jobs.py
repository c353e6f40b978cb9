"""The transition table, counting, and what a job's state is made of."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.jobs import (
    STATE_OF_CODE,
    TRANSITIONS,
    Counts,
    JobState,
    TaskState,
    Warn,
    job_state,
    move,
)

Q, R, D, F, S, C = TaskState
ALLOWED = {
    *((Q, R), (Q, S), (Q, C)),
    *((R, Q), (R, D), (R, F), (R, S), (R, C)),
    *((F, Q), (S, Q), (C, Q)),
    (D, F),  # its cutout was lost
}

state_strings = st.text(alphabet=[state.code for state in TaskState], min_size=1, max_size=60)


def test_each_state_has_a_letter_of_its_own() -> None:
    assert {state.code: state for state in TaskState} | {"D": TaskState.DONE} == dict(STATE_OF_CODE)
    assert len(STATE_OF_CODE) == len(TaskState) + 1


@pytest.mark.parametrize(("now", "to"), list(itertools.product(TaskState, TaskState)))
def test_a_task_moves_only_where_the_table_allows(now: TaskState, to: TaskState) -> None:
    if (now, to) in ALLOWED:
        assert move(now.code, [0], to) == to.code
    else:
        with pytest.raises(ValueError, match=f"from {now} to {to}"):
            move(now.code, [0], to)


def test_the_table_speaks_of_every_state() -> None:
    assert set(TRANSITIONS) == set(TaskState)


def test_nothing_follows_a_published_result_but_its_loss() -> None:
    assert TRANSITIONS[D] == {TaskState.FAILED}


@given(states=state_strings, data=st.data())
def test_a_move_changes_one_task_and_loses_none(states: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(states) - 1))
    to = data.draw(st.sampled_from(TaskState))
    now = STATE_OF_CODE[states[number]]
    if to not in TRANSITIONS[now]:
        with pytest.raises(ValueError, match="cannot go"):
            move(states, [number], to)
        return
    moved = move(states, [number], to)
    assert moved[number] == to.code
    assert moved[:number] + moved[number + 1 :] == states[:number] + states[number + 1 :]
    assert Counts.of(moved).total == Counts.of(states).total == len(states)


@given(states=state_strings, steps=st.lists(st.tuples(st.integers(0, 59), st.sampled_from(TaskState))))
def test_submitted_stays_the_sum_of_all_states(states: str, steps: list[tuple[int, TaskState]]) -> None:
    started = len(states)
    for number, to in steps:
        if number < started and to in TRANSITIONS[STATE_OF_CODE[states[number]]]:
            states = move(states, [number], to)
    counts = Counts.of(states)
    assert counts.queued + counts.running + counts.finished == counts.total == started
    assert counts.finished == sum(STATE_OF_CODE[code].final for code in states)


def test_counting_names_each_state() -> None:
    counts = Counts.of("qqrdddfsc")
    assert counts == Counts(queued=2, running=1, done=3, failed=1, skipped=1, cancelled=1)
    assert (counts.total, counts.finished) == (9, 6)


@pytest.mark.parametrize(
    ("states", "cancelled", "expected"),
    [
        ("qq", False, JobState.QUEUED),
        ("qr", False, JobState.RUNNING),
        ("qd", False, JobState.RUNNING),
        ("rc", True, JobState.CANCELLING),
        ("rd", True, JobState.CANCELLING),
        ("cc", True, JobState.CANCELLED),
        ("dc", True, JobState.CANCELLED),
        ("fc", True, JobState.CANCELLED),
        ("dd", True, JobState.DONE),
        ("dd", False, JobState.DONE),
        ("df", False, JobState.DONE),
        ("sf", False, JobState.DONE),
        ("ss", False, JobState.DONE),
        ("ff", False, JobState.FAILED),
    ],
)
def test_a_job_is_what_its_tasks_are(states: str, cancelled: bool, expected: JobState) -> None:
    assert job_state(Counts.of(states), cancelled=cancelled) is expected


@given(states=state_strings, cancelled=st.booleans())
def test_a_job_is_finished_exactly_when_all_its_tasks_are(states: str, cancelled: bool) -> None:
    counts = Counts.of(states)
    assert job_state(counts, cancelled=cancelled).final == (counts.finished == counts.total)


def test_a_task_worth_a_look_is_done_and_marked() -> None:
    states = move("rr", [1], TaskState.DONE, look=True)
    assert Counts.of(states) == Counts(running=1, done=1, needs_look=1)
    assert move(states, [0], TaskState.FAILED, look=True) == "fD"


def test_only_what_may_show_in_the_picture_needs_a_look() -> None:
    assert Warn(code="several_faces", message="").needs_look
    assert not Warn(code="renamed", message="").needs_look
    assert not Warn(code="no_face", message="").needs_look  # to keep it whole is what the recipe says
