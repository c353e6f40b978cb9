"""What is known of what models run on, and what the log says of it."""

import pytest
import structlog

from photoproc.hardware import Hardware
from photoproc.models.providers import OPENVINO, Choice, Limit
from tests.fakes import FakeEngine
from tests.pretended import CPU, CUDA


class Machine(FakeEngine):
    """An engine whose children tell of these providers once there are any."""

    there: tuple[str, ...] = ()

    def providers(self) -> tuple[str, ...]:
        return self.there


def code(hardware: Hardware) -> str:
    problem = hardware.state().problem
    return "" if problem is None else problem.code


def told(name: str, there: tuple[str, ...], *ran: str) -> tuple[str, list[str]]:
    """The problem there is in the end, and what was logged."""
    engine = Machine()
    hardware = Hardware(engine, Choice(name=name))
    with structlog.testing.capture_logs() as lines:
        for provider in ran:
            hardware.ran("u2net", provider)
        hardware.look()
        engine.there = there
        for _ in range(3):
            hardware.look()
    assert hardware.state().there == there
    assert hardware.state().chosen == name
    assert "ROCm" not in str(hardware.state().problem)  # which is not there
    return code(hardware), [line["event"] for line in lines]


FOUND, RUNS, WARNED = "providers_found", "model_runs_on", "provider_not_used"


@pytest.mark.parametrize(
    ("name", "there", "ran", "problem", "logged"),
    [
        ("auto", (CPU,), (), "", [FOUND]),
        ("auto", (CPU,), (CPU, "", CPU), "", [RUNS, FOUND]),
        ("auto", (CUDA, CPU), (CUDA,), "", [RUNS, FOUND]),
        ("auto", (CUDA, CPU), (CPU,), "provider_missing", [RUNS, FOUND, WARNED]),
        ("auto", (OPENVINO, CPU), (CPU, OPENVINO), "", [RUNS, RUNS, FOUND]),
        ("openvino", (OPENVINO, CPU), (OPENVINO,), "", [RUNS, FOUND]),
        ("openvino", (OPENVINO, CPU), (CPU,), "provider_missing", [RUNS, FOUND, WARNED]),
        ("cuda", (CPU,), (), "provider_missing", [FOUND, WARNED]),
        ("cuda", (CUDA, CPU), (CUDA, CPU), "provider_missing", [RUNS, RUNS, FOUND, WARNED]),
        ("cuda", (CUDA, CPU), (CPU, CUDA), "", [RUNS, RUNS, FOUND]),
        ("cpu", (CUDA, CPU), (CPU,), "", [RUNS, FOUND]),
    ],
)
def test_what_is_not_as_it_was_chosen_is_a_problem_and_a_line_of_the_log(
    name: str, there: tuple[str, ...], ran: tuple[str, ...], problem: str, logged: list[str]
) -> None:
    assert told(name, there, *ran) == (problem, logged)


def test_a_model_that_falls_back_later_is_noticed_then() -> None:
    engine = Machine()
    engine.there = (CUDA, CPU)
    hardware = Hardware(engine, Choice(name="cuda"))
    hardware.look()
    hardware.ran("u2net", CUDA)
    assert code(hardware) == ""
    with structlog.testing.capture_logs() as lines:
        hardware.ran("isnet", CPU)
        hardware.ran("isnet", CPU)
    assert [line["event"] for line in lines] == [RUNS, WARNED]
    state = hardware.state()
    assert state.used == {"u2net": CUDA, "isnet": CPU}
    assert state.problem is not None
    assert "isnet is to run on CUDA (NVIDIA)" in state.problem.message


def test_on_a_cluster_the_workers_settings_count_and_not_the_servers() -> None:
    engine = Machine()
    engine.there = (CPU,)
    hardware = Hardware(engine, None)
    hardware.look()
    hardware.ran("u2net", CPU)
    assert (code(hardware), hardware.state().chosen) == ("", "")


@pytest.mark.parametrize(
    ("choice", "there", "ran", "limits", "at_once"),
    [
        (Choice(), (CUDA, CPU), "", (), 4),
        (Choice(), (CUDA, CPU), CUDA, (), 4),
        (Choice(), (CUDA, CPU), CPU, (), 1),
        (Choice(), (), "", (), 1),
        (Choice(), (CPU,), "", (), 1),
        (Choice(name="cpu"), (CUDA, CPU), "", (), 1),
        (Choice(name="rocm"), ("MIGraphXExecutionProvider", CPU), "", (), 1),
        (None, (CUDA, CPU), CUDA, (), 1),
        (Choice(), (CUDA, CPU), CUDA, (2,), 2),
        (Choice(), (CUDA, CPU), CUDA, (3, 1, 2), 1),
        (Choice(), (CUDA, CPU), CUDA, (64,), 4),
    ],
)
def test_several_photos_at_once_are_for_a_card_of_this_machine_as_far_as_the_model_takes_them(
    choice: Choice | None, there: tuple[str, ...], ran: str, limits: tuple[int, ...], at_once: int
) -> None:
    engine = Machine()
    engine.there = there
    hardware = Hardware(engine, choice)
    hardware.look()
    hardware.ran("u2net", ran)
    for photos in limits:
        hardware.limited("u2net", Limit(photos=photos, why="of memory"))
    assert hardware.at_once("u2net", 4) == at_once
