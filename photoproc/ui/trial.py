"""A time trial on the page of a comparison: the button, how far it is, what came of it."""

import time
from collections.abc import Sequence

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.measuring import rounds_for
from photoproc.models.providers import label
from photoproc.service import PhotoService
from photoproc.timings import Interval, Ratio
from photoproc.trial_result import ModelFigures, Trial, TrialState
from photoproc.ui.guard import guarded
from photoproc.ui.text import ago, byte_size, duration, escaped, exact_time, plural, said, unbroken
from photoproc.ui.timer import redraw_soon, stop_timer, this_fragment
from photoproc.ui.visitor import visitor

_HOW = """Each model has a child process of its own, like those that run jobs, and only one of them works at a
time; the models take turns on each photo, another one first in each round. The first run of each loads it and
is not counted with the others. p50 is the median of the photos, each of which counts once with the median of
its runs; a ratio likewise: of a photo round by round, then of the photos. \\[95 %\\]: where that median lies
for photos like these, in 95 of 100 such trials or more (by the sign test over photos, which needs six); fewer
photos say nothing of others."""
_ENDED_EARLY = {
    TrialState.DONE: "time was up",
    TrialState.FAILED: "failed",
    TrialState.STOPPED: "stopped",
    TrialState.INTERRUPTED: "interrupted",
}


def time_trial(photos: PhotoService, job_id: str, *, may_run: bool) -> None:
    """The last time trial of a job, or for those who may the way to one; live while it runs.

    Once it has ended, the fragment this is called in is drawn again, for what it says of times.
    """
    around = this_fragment()
    runs = trial_runs(photos, job_id)

    @st.fragment(run_every=1.0 if runs else None)
    @guarded
    def live() -> None:
        now = photos.trial(job_id)
        if now is not None and not now.state.final:
            _show_progress(photos, now, may_stop=may_run)
            if now.told is not None:
                show_figures(now.told)
            return
        if now is not None:
            show_result(now)
        if may_run:
            _offer(photos, job_id, again=now is not None)
        stop_timer()  # also one from before what is around was drawn again
        if runs:
            redraw_soon(around)

    live()


def trial_runs(photos: PhotoService, job_id: str) -> bool:
    """Whether a time trial of the job is under way."""
    trial = photos.trial(job_id)
    return trial is not None and not trial.state.final


def _offer(photos: PhotoService, job_id: str, *, again: bool) -> None:
    count, about = photos.trial_estimate(job_id)
    if not count:
        st.caption("No photo could be processed: a time trial has nothing to measure.")
        return
    missing = [name for name in photos.job(job_id).recipe.task_models if photos.waits_for(name) is not None]
    if missing:
        st.caption(f"A time trial runs every model: {escaped(', '.join(missing))} cannot run here now.")
        return
    takes = "" if about is None else f" Takes about {duration(max(1.0, about))}."
    with st.container(horizontal=True, vertical_alignment="center"):
        words = "Run the time trial again" if again else "Run a time trial"
        if st.button(words, icon=":material/timer:", key=f"trial-{job_id}"):
            _start(photos, job_id)
        st.caption(
            f"Each model alone on this machine, in turn on the same {plural(count, 'photo')}, "
            f"{plural(rounds_for(count), 'round')}; this server’s jobs wait meanwhile.{takes}",
            width="content",
        )


def _start(photos: PhotoService, job_id: str) -> None:
    who = visitor(photos)
    try:
        photos.start_trial(job_id, by="" if who.sees_all else who.name)
    except PhotoprocError as error:
        st.error(said(error.problem), icon=":material/error:")
    else:
        st.rerun()


def _show_progress(photos: PhotoService, trial: Trial, *, may_stop: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(trial.done / trial.total, text=progress_words(trial))
        if may_stop and st.button("Stop the time trial", icon=":material/stop:", key=f"stop-{trial.job_id}"):
            photos.stop_trial(trial.job_id)
            st.rerun()


def progress_words(trial: Trial) -> str:
    """`Time trial: round 2 of 3 · u2netp · photo 3 of 8`."""
    turn = trial.turn
    if trial.state is TrialState.WAITING:
        return "Time trial: waiting until the tasks that run have ended"
    if turn is None:
        return "Time trial: starting a child for each model"
    if not turn.round:
        return f"Time trial: loading {escaped(turn.model)}"
    where = f"photo {turn.photo + 1} of {len(trial.photos)}"
    return f"Time trial: round {turn.round} of {trial.rounds} · {escaped(turn.model)} · {where}"


def show_result(trial: Trial) -> None:
    """What came of a trial that has ended; the figures of the one before where it has none."""
    told = trial.told
    if trial.problem is not None:
        whose = "" if told is None or told is trial else " The figures below are of the one before."
        what = {TrialState.FAILED: "failed", TrialState.INTERRUPTED: "was interrupted"}.get(trial.state)
        if what is None:
            st.info(f"The time trial was stopped.{whose}", icon=":material/info:")
        else:
            st.warning(f"The time trial {what}. {said(trial.problem)}{whose}", icon=":material/warning:")
    if told is None:
        say_what_was_left_out(trial)
    else:
        show_figures(told)


def show_figures(trial: Trial) -> None:
    """What was measured, and how."""
    say_what_was_left_out(trial)
    ended = trial.finished_at or trial.started_at
    names = "\n".join(f"- {escaped(photo.name)}" for photo in trial.photos)
    st.markdown(f"**Time trial** · {verdict(trial.figures, trial.ratios)}")
    st.markdown(_table(trial.figures))
    st.caption(
        f"Alone, {plural(trial.threads, 'thread')}, {plural(len(trial.photos), 'photo')}, "
        f"{rounds_words(trial)} · {ago(ended, time.time())}",
        help=f"{_HOW}\n\n{exact_time(ended)}. The photos:\n\n{names}",
    )
    say_what_disturbed(trial)


def rounds_words(trial: Trial) -> str:
    """`3 rounds`, or `2 of 3 rounds (stopped)`."""
    done, asked = len(trial.others), plural(trial.rounds, "round")
    return asked if done == trial.rounds else f"{done} of {asked} ({_ENDED_EARLY[trial.state]})"


def say_what_was_left_out(trial: Trial) -> None:
    """Which photos a model failed on, and how; nothing where there was none."""
    if trial.left_out:
        st.warning(
            f"{plural(len(trial.left_out), 'photo')} left out, with all runs on "
            f"{'it' if len(trial.left_out) == 1 else 'them'}. "
            + " ".join(escaped(one.problem.message) for one in trial.left_out),
            icon=":material/warning:",
        )


def say_what_disturbed(trial: Trial) -> None:
    """Which rounds were disturbed, and how much; or that none was."""
    known = [share for share in trial.others if share is not None]
    if not known:
        st.caption("This system does not tell whether other programs were at work meanwhile.")
        return
    if not trial.disturbed:
        st.caption(f"Other work took {_share(known)} of this machine at most.")
        return
    which = ", ".join(map(str, trial.disturbed))
    st.warning(
        f"Other work took up to {_share(known)} of this machine in "
        f"{'round' if len(trial.disturbed) == 1 else 'rounds'} {which}: the times may be too long. "
        "Run it again when nothing else runs.",
        icon=":material/warning:",
    )


def _share(known: Sequence[float]) -> str:
    return f"{100 * max(known):.0f} %"


def verdict(figures: Sequence[ModelFigures], ratios: Sequence[Ratio]) -> str:
    """`u2netp is the fastest; u2net takes 5.2 × as long [5.0–5.4].`"""
    with_runs = [one for one in figures if one.spread is not None]
    if len(with_runs) < 2:
        return f"{escaped(with_runs[0].model)} alone." if with_runs else ""
    fastest = ratios[0].faster
    parts = [f"{escaped(fastest)} is the fastest"]
    for one in (one for one in ratios if one.faster == fastest):
        slower = escaped(one.slower)
        if one.told_apart:
            parts.append(f"{slower} takes {times(one.times, one.interval)}")
        elif one.interval is None:
            parts.append(f"{slower} took {times(one.times, None)}, in too few photos to be sure")
        else:
            parts.append(f"{slower} cannot be told apart from it ({times(one.times, one.interval)})")
    return "; ".join(parts) + "."


def times(value: float, interval: Interval | None) -> str:
    """A factor and its interval, with as many digits as say something: `1.04 × … [1.01–1.06]`."""
    digits = 2 if value < 2 else 1 if value < 10 else 0
    return f"{value:.{digits}f} × as long{_between(interval, digits)}"


def _between(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else rf" \[{interval[0]:.{digits}f}–{interval[1]:.{digits}f}\]"


def _table(figures: Sequence[ModelFigures]) -> str:
    head = [
        *("Model", "Photo, warm p50", r"\[95 %\]", "p95", "Model alone", "First photo", "Loading"),
        *("Photos/s", "Memory", "Ran on"),
    ]
    lines = [head, [":--", *["--:"] * 8, ":--"], *(_line(one) for one in figures)]
    return "\n".join(f"| {' | '.join(unbroken(cell) for cell in line)} |" for line in lines)


def _line(one: ModelFigures) -> list[str]:
    warm, interval = one.spread, one.interval
    inference, load = one.steps.get("inference"), one.cold.get("load")
    return [
        f"**{escaped(one.model)}**",
        "–" if warm is None else duration(warm.p50),
        "–" if interval is None else f"{duration(interval[0])} – {duration(interval[1])}",
        "–" if warm is None else duration(warm.p95),
        "–" if inference is None else duration(inference),
        duration(one.first),
        "–" if load is None else duration(load),
        "–" if one.photos_per_s is None else f"{one.photos_per_s:.2g}",
        "–" if one.peak_bytes is None else byte_size(one.peak_bytes),
        escaped(label(one.provider)) or "–",
    ]
