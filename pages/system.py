"""System: the models with their weights, the children, the queue, the disk, the versions."""

import streamlit as st

from photoproc.bootstrap import service
from photoproc.engine import ChildInfo
from photoproc.hardware import HardwareState
from photoproc.models.forms import can_make
from photoproc.models.providers import label, labels
from photoproc.models.weights import Phase
from photoproc.overview import ModelState
from photoproc.service import PhotoService
from photoproc.ui.forms import show_forms
from photoproc.ui.guard import guarded
from photoproc.ui.status import TRIAL_RUNS, weights_words
from photoproc.ui.text import byte_size, duration, escaped, plural, said


def show_models(photos: PhotoService) -> None:
    """Every model with its state; live while something downloads."""
    speeds = photos.speeds()
    for model in [*photos.models(), photos.refiner()]:
        spec = model.spec
        about, state = st.columns([5, 2], vertical_alignment="center")
        licence = escaped(spec.licence)
        details = [
            *(["custom model"] if spec.custom else []),
            licence if spec.commercial else f":orange[{licence}]",
            f"{spec.input_wh[0]}×{spec.input_wh[1]}",
        ]
        if spec.download_mb:
            details.append(f"{spec.download_mb:,} MB")
        if spec.name in speeds:
            details.append(f"{duration(speeds[spec.name])} a photo here")
        elif model.weights.ran_s is not None:
            details.append(f"ran in {duration(model.weights.ran_s)} when it was checked")
        name, good_at = escaped(spec.name), escaped(spec.good_at)
        about.markdown(f"**{name}** {good_at}  \n:small[:gray[{' · '.join(details)}]]")
        if model.weights.phase is Phase.FAILED and model.weights.problem is not None:
            about.markdown(f":small[:red[{said(model.weights.problem)}]]")
        with state:
            show_weights(photos, model)
        show_forms(photos, model)
    if not can_make("int8"):
        st.caption(
            "Two more forms of some models (8 or 16 bits a number) can be made here once "
            "`pip install -r requirements-forms.txt` was run."
        )
    show_not_models(photos)


def show_not_models(photos: PhotoService) -> None:
    """What was meant as a custom model and cannot be taken for one."""
    for refusal in photos.not_models():
        about, state = st.columns([5, 2], vertical_alignment="center")
        about.markdown(f"**{escaped(refusal.name)}**  \n:small[:red[{said(refusal.problem)}]]")
        state.markdown(":red[:material/block: Not taken as a model]")


def show_weights(photos: PhotoService, model: ModelState) -> None:
    """Ready, on its way, or a button."""
    spec, weights = model.spec, model.weights
    if weights.phase is Phase.READY:
        st.markdown(":green[:material/check: Ready]")
    elif weights.elsewhere:
        st.markdown(weights_words(weights).capitalize())
    elif weights.phase is Phase.DOWNLOADING:
        st.progress(weights.fraction, text=f"Downloading {weights.fraction:.0%}")
    elif weights.phase is Phase.CHECKING:
        st.markdown("Checking …")
    else:
        what = "Download again" if weights.phase is Phase.FAILED else "Download"
        icon = ":material/download:"
        if spec.custom:
            what, icon = "Check again", ":material/refresh:"
        if st.button(what, key=f"download-{spec.name}", icon=icon):
            photos.download_model(spec.name)
            st.rerun(scope="fragment")


def show_machine(photos: PhotoService) -> None:
    """Children, queue, disk."""
    system = photos.system()
    if not system.worker_alive:
        st.error("The worker is not running. Restart the server.", icon=":material/error:")
    elif system.worker_problem is not None:
        st.warning(said(system.worker_problem), icon=":material/warning:")
    elif system.worker_held:
        st.info(f"{TRIAL_RUNS}.", icon=":material/timer:")
    if system.hardware.problem is not None:
        st.warning(said(system.hardware.problem), icon=":material/memory_alt:")
    for told in system.unknown_settings:
        st.warning(escaped(told), icon=":material/settings:")
    alive = [child for child in system.children if child.alive]
    used, free = byte_size(system.used_bytes), byte_size(system.free_bytes)
    rows = {
        "Queue": f"{plural(system.tasks_running, 'task')} running, {system.tasks_queued:,} waiting",
        "Children": children_of(photos, alive, system.places),
        "Models run on": runs_on(system.hardware),
        "Disk": f"{used} used by photos and cutouts, {free} of {byte_size(system.disk_bytes)} free",
        "Data folder": f"`{system.data_dir}`",
        "Model folders": ", ".join(f"`{folder}`" for folder in system.model_dirs),
    }
    for word, value in rows.items():
        left, right = st.columns([1, 5])
        left.markdown(f":gray[{word}]")
        right.markdown(value)


def runs_on(hardware: HardwareState) -> str:
    """What was really used by which models, what was chosen, and what there is."""
    by_provider: dict[str, list[str]] = {}
    for model, provider in hardware.used.items():
        by_provider.setdefault(label(provider), []).append(model)
    used = "; ".join(f"{escaped(name)} ({escaped(', '.join(by_provider[name]))})" for name in by_provider)
    chosen = f"chosen: {escaped(hardware.chosen)}" if hardware.chosen else "each worker has its own setting"
    there = escaped(labels(hardware.there)) or "not known yet"
    return f"{used or 'no model has run since the start'}  \n:small[:gray[{chosen} · found: {there}]]"


def children_of(photos: PhotoService, alive: list[ChildInfo], places: int) -> str:
    """How many children run tasks, and where."""
    if photos.settings.engine != "local":
        machines = sorted({child.machine for child in alive})
        return f"{len(alive)} of {places}, on {plural(len(machines), 'worker')} of `{photos.settings.engine}`"
    return (
        f"{len(alive)} of {places}, {plural(photos.settings.threads_per_child, 'thread')} each "
        f"(process {', '.join(str(child.pid) for child in alive) or 'none'})"
    )


def show_versions(photos: PhotoService) -> None:
    """What is installed."""
    versions = photos.system(with_disk_use=False).versions
    st.markdown(" · ".join(f"{escaped(name)} {escaped(number)}" for name, number in versions.items()))


def main() -> None:
    """The page."""
    photos = service()
    st.subheader("Models")
    st.fragment(run_every=2.0)(guarded(show_models))(photos)
    st.subheader("This server")
    st.fragment(run_every=5.0)(guarded(show_machine))(photos)
    st.subheader("Versions")
    show_versions(photos)


main()
