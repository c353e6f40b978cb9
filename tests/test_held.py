"""Pictures held in memory: within their bound, the least used gone first, each made once."""

import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.held import Held
from tests.waiting import at_once


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40))))
def test_it_never_holds_more_than_it_may_and_always_gives_the_right_bytes(
    asked: list[tuple[int, int]],
) -> None:
    held = Held(100)
    sizes: dict[int, int] = {}
    for key, size in asked:
        sizes.setdefault(key, size)
        found = held.get(key, lambda key=key: bytes([key]) * sizes[key])  # type: ignore[misc]
        assert found == bytes([key]) * sizes[key]
        assert held.byte_count <= 100


def test_the_least_used_is_forgotten_first() -> None:
    held, made = Held(30), list[str]()

    def make(key: str) -> bytes:
        made.append(key)
        return bytes(10)

    for key in ("a", "b", "c", "a", "d", "a", "b"):
        held.get(key, partial(make, key))
    assert made == ["a", "b", "c", "d", "b"]
    held.get("huge", lambda: bytes(31))
    assert held.byte_count == 30


def test_many_that_ask_at_once_have_it_made_once() -> None:
    held, made, going = Held(100), list[int](), threading.Event()

    def make() -> bytes:
        made.append(1)
        going.wait(0.05)
        return b"picture"

    at_once(*(partial(held.get, "a", make) for _ in range(6)))
    assert made == [1]


def test_what_could_not_be_made_is_tried_again() -> None:
    held = Held(100)

    def fail() -> bytes:
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        held.get("a", fail)
    assert held.get("a", lambda: b"now") == b"now"
