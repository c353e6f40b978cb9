"""Which page of a gallery is shown: whatever the browser says of another one that it still has."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from photoproc.service import PhotoService
from photoproc.ui import tasks
from tests.pages.clicks import Clicks
from tests.pages.support import component, dashboard, healthy, made_job, show_only

LAST, FIRST = [4, 5], [0, 1]
"""The tasks of these pages of three."""


@pytest.fixture
def app(service: PhotoService, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The third page of a job of six photos."""
    monkeypatch.setattr(tasks, "_PER_PAGE", 2)
    job = made_job(service, *(f"{number}.png" for number in range(6)))
    return turned(dashboard("jobs.py", job=job.id))


def turned(app: AppTest) -> AppTest:
    """The same, once the person has turned to the third page."""
    pages(app).set_value(3)
    assert shown(healthy(app.run())) == LAST
    return app


def pages(app: AppTest) -> Any:
    """The control."""
    return app.main.get("pagination")[0]


def shown(app: AppTest) -> list[int]:
    return [item["id"] for item in component(app, "gallery")["items"]]


def test_another_filter_begins_at_its_first_page_wherever_the_next_click_ends_its_run(
    app: AppTest, clicks: Clicks
) -> None:
    for turn, at in enumerate(range(60, 100)):
        with clicks.ending(at) as ended:
            show_only(app, ("Done", "All")[turn % 2])
        assert (shown(app), pages(app).value) == (FIRST, 1), at
        if not ended:
            break
        turned(app)
    assert turn > 10


def test_a_run_that_crosses_another_filter_on_its_way_does_not_turn_the_page_back(app: AppTest) -> None:
    (show,) = [one for one in app.segmented_control if one.label == "Show"]
    show.set_value("Done")
    crossing = app._tree.get_widget_states()  # with the third page
    assert shown(healthy(app.run())) == FIRST
    assert shown(healthy(app._run(widget_state=crossing))) == FIRST


def test_a_page_that_is_there_no_more_gives_way_to_the_last_one(app: AppTest, service: PhotoService) -> None:
    (job,) = service.jobs(limit=1)
    other = dashboard("jobs.py", job=job.id, page="9")
    assert shown(other) == LAST
    assert other.query_params["page"] == "3"
