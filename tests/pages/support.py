"""What the tests of the pages share: the dashboard in Streamlit's own harness, and jobs to look at."""

import io
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from photoproc.jobs import Job
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from tests.pictures import encoded, picture
from tests.waiting import until

# Each run of the harness looks for components in all packages there are, which takes longer than the page.
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)

DASHBOARD = str(Path(__file__).parents[2] / "pages" / "dashboard.py")


def dashboard(page: str | None = None, /, **query: str) -> AppTest:
    """The dashboard at a page, run once."""
    app = AppTest.from_file(DASHBOARD, default_timeout=60).run()
    if page is not None:
        app.switch_page(page)
    for name, value in query.items():
        app.query_params[name] = value
    return healthy(app.run())


def healthy(app: AppTest) -> AppTest:
    """The same app, after a look that no traceback reached the page."""
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Everything the page says in text."""
    kinds = (app.markdown, app.caption, app.subheader, app.error, app.warning, app.main.get("progress"))
    return "\n".join(
        str(getattr(one, "value", "")) + str(getattr(one, "text", "")) for kind in kinds for one in kind
    )


def plain(app: AppTest) -> str:
    """Everything the page says, as it is read."""
    return re.sub(r"\\(.)", r"\1", words(app))


def labels(app: AppTest) -> list[str]:
    """The labels of the buttons on the page."""
    return [button.label for button in app.button]


def press(app: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    return healthy(next(button for button in app.button if button.label == label).click().run())


def component(app: AppTest, name: str | None = None) -> dict[str, Any]:
    """The data of the page's component of this name, or of its only one (the frame's is in the sidebar)."""
    (found,) = [
        one
        for one in app.main.get("bidi_component")
        if name is None or one.proto.component_name == f"photoproc_{name}"
    ]
    data: dict[str, Any] = json.loads(found.proto.json)
    return data


def control(app: AppTest, label: str) -> Any:
    """The control with this label."""
    kinds: tuple[Iterable[Any], ...] = (
        *(app.segmented_control, app.selectbox, app.multiselect, app.slider, app.toggle, app.text_input),
        *(app.color_picker, app.text_area),
    )
    (found,) = [one for kind in kinds for one in kind if one.label == label]
    return found


def choose(app: AppTest, values: Mapping[str, object]) -> AppTest:
    """Set controls one after another, by their labels."""
    for label, value in values.items():
        control(app, label).set_value(value)
        healthy(app.run())
    return app


def show_only(app: AppTest, which: str) -> AppTest:
    """Choose what the gallery shows."""
    (show,) = [group for group in app.segmented_control if group.label == "Show"]
    show.set_value(which)
    return healthy(app.run())


def made_job(
    service: PhotoService, *names: str, recipe: Recipe | None = None, wait: bool = True, first: int = 0
) -> Job:
    """A job over small pictures with these names, drawn from the seed `first` on."""
    batch = service.new_batch()
    photos = [
        photo
        for seed, name in enumerate(names, first)
        for photo in service.accept(batch, name, io.BytesIO(encoded(picture(seed=seed)))).photos
    ]
    job = service.submit(batch, photos, recipe or Recipe(models=("u2netp",)))
    if wait:
        until(lambda: service.job(job.id).state.final)
    return service.job(job.id)


def cut_and_good(service: PhotoService) -> Job:
    """A finished job over a truncated photo, which fails, and a good one."""
    whole = encoded(picture(640, 480))
    batch = service.new_batch()
    photos = list(service.accept(batch, "cut.jpg", io.BytesIO(whole[: len(whole) // 2])).photos)
    photos += service.accept(batch, "good.jpg", io.BytesIO(whole)).photos
    job = service.submit(batch, photos, Recipe(models=("u2netp",)))
    until(lambda: service.job(job.id).state.final)
    return service.job(job.id)
