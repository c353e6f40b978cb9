"""A task's facts in the gallery: that a card ran its model for several photos at once."""

import pytest

from photoproc.jobs import Photo, Task, TaskState
from photoproc.ui.gallery import _facts
from tests.pretended import CPU, CUDA


@pytest.mark.parametrize(
    ("provider", "batch", "said"),
    [(CUDA, 4, "CUDA (NVIDIA), with 3 more in one run"), (CUDA, 1, "CUDA (NVIDIA)"), (CPU, 1, "CPU")],
)
def test_what_it_ran_on_says_how_many_shared_the_run(provider: str, batch: int, said: str) -> None:
    photo = Photo(name="a.jpg", sha256="0" * 64, byte_count=1, format="JPEG", size_wh=(2, 1))
    task = Task(
        job_id="0" * 32,
        number=0,
        model="u2net",
        photo=photo,
        state=TaskState.DONE,
        provider=provider,
        batch=batch,
    )
    assert ["Ran on", said] in _facts(task, "u2net")
