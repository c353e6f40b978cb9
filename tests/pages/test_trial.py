"""What the page says of a time trial: how far it is, what came of it, how sure that is."""

import pytest

from photoproc.errors import Problem
from photoproc.jobs import Job
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.trial_result import LeftOut, ModelFigures, Trial, TrialPhoto, TrialState, Turn
from photoproc.ui.text import unbroken
from photoproc.ui.trial import progress_words, rounds_words, verdict
from tests.pages.support import dashboard, labels, made_job, plain, words


def figures(model: str, *seconds: float) -> ModelFigures:
    """What a model took in each of three rounds, a photo each."""
    return ModelFigures(
        model=model,
        cold={"decode": 0.15, "load": 2.0, "inference": seconds[0] if seconds else 1.0},
        rounds=(seconds,) * 3 if seconds else (),
        steps={"decode": 0.1, "inference": seconds[0] - 0.1} if seconds else {},
        provider="CPUExecutionProvider",
        threads=1,
        peak_bytes=700_000_000,
    )


def trial(*all_figures: ModelFigures, **fields: object) -> Trial:
    """A trial of eight photos."""
    known: dict[str, object] = {
        "job_id": "0" * 32,
        "state": TrialState.DONE,
        "models": tuple(one.model for one in all_figures) or ("u2netp", "u2net"),
        "photos": (
            TrialPhoto(place=0, name="<b>a.jpg"),
            *(TrialPhoto(place=place, name=f"{place}.jpg") for place in range(1, 8)),
        ),
        "rounds": 3,
        "threads": 1,
        "started_at": 1e9,
        "finished_at": 1e9 + 60,
        "figures": all_figures,
        "others": (0.02,) * 3,
    }
    return Trial(**(known | fields))  # type: ignore[arg-type]


SMALL = figures("u2netp", 0.50, 0.51, 0.49, 0.50, 0.52, 0.48, 0.50, 0.51)
LARGE = figures("u2net", 1.55, 1.56, 1.57, 1.50, 1.60, 1.49, 1.52, 1.58)
SAME = figures("silueta", 0.51, 0.50, 0.50, 0.49, 0.51, 0.49, 0.51, 0.50)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"state": TrialState.WAITING}, "waiting until the tasks that run have ended"),
        ({"state": TrialState.RUNNING}, "starting a child for each model"),
        (
            {"state": TrialState.RUNNING, "turn": Turn(round=0, photo=0, model="u2net")},
            "loading u2net",
        ),
        (
            {"state": TrialState.RUNNING, "turn": Turn(round=2, photo=1, model="u2netp")},
            "round 2 of 3 · u2netp · photo 2 of 8",
        ),
    ],
)
def test_how_far_it_is_is_said_in_words(fields: dict[str, object], said: str) -> None:
    assert progress_words(trial(**fields)) == f"Time trial: {said}"


def test_the_verdict_says_who_is_fastest_and_by_how_much_or_that_nobody_knows() -> None:
    found = trial(SMALL, LARGE)
    assert verdict(found.figures, found.ratios).replace("\\", "") == (
        "u2netp is the fastest; u2net takes 3.1 × as long [3.0–3.2]."
    )
    found = trial(SMALL, SAME)
    said = verdict(found.figures, found.ratios)
    assert "cannot be told apart from it" in said
    assert "takes" not in said
    few = trial(figures("u2netp", 0.5, 0.5), figures("u2net", 1.5, 1.5))
    assert verdict(few.figures, few.ratios) == (
        "u2netp is the fastest; u2net took 3.0 × as long, in too few photos to be sure."
    )
    alone = trial(SMALL)
    assert verdict(alone.figures, alone.ratios) == "u2netp alone."


@pytest.mark.parametrize(
    ("state", "done", "said"),
    [
        (TrialState.DONE, 3, "3 rounds"),
        (TrialState.DONE, 2, "2 of 3 rounds (time was up)"),
        (TrialState.STOPPED, 2, "2 of 3 rounds (stopped)"),
        (TrialState.INTERRUPTED, 1, "1 of 3 rounds (interrupted)"),
        (TrialState.FAILED, 1, "1 of 3 rounds (failed)"),
    ],
)
def test_rounds_that_are_missing_are_said_and_why(state: TrialState, done: int, said: str) -> None:
    assert rounds_words(trial(SMALL, state=state, others=(0.0,) * done)) == said


def test_a_figure_stays_with_its_unit() -> None:
    assert (
        unbroken("0.86 s – 1.9 s")
        == "0.86\N{NO-BREAK SPACE}s\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}1.9\N{NO-BREAK SPACE}s"
    )
    assert unbroken("Photo, warm") == "Photo, warm"


@pytest.fixture
def made(service: PhotoService) -> Job:
    """A finished job with two models."""
    return made_job(service, "a.jpg", recipe=Recipe(models=("u2netp", "u2net")))


def keep(service: PhotoService, job: Job, **fields: object) -> None:
    """Have a trial of the job as if it had been run."""
    token = fields.pop("token", "t")
    assert service._keep(trial(SMALL, LARGE, job_id=job.id, finished_at=None), str(token))
    assert service._keep(trial(SMALL, LARGE, job_id=job.id, **fields), str(token))


@pytest.mark.models
def test_a_result_is_a_table_with_its_conditions(service: PhotoService, made: Job) -> None:
    keep(service, made)
    app = dashboard("compare.py", job=made.id)
    said = plain(app).replace("\N{NO-BREAK SPACE}", " ")
    assert "u2net takes 3.1 × as long [3.0–3.2]" in said
    row = next(line for line in said.splitlines() if line.startswith("| **u2net** | 1.6 s |"))
    assert (
        row == "| **u2net** | 1.6 s | 1.5 s – 1.6 s | 1.6 s | 1.4 s | 3.7 s | 2.0 s | 0.65 | 700 MB | CPU |"
    )
    assert "Alone, 1 thread, 8 photos, 3 rounds" in said
    assert "Other work took 2 % of this machine at most." in said
    (told,) = [one.proto.help for one in app.caption if "Alone" in one.value]
    assert "\\<b\\>a\\.jpg" in told


@pytest.mark.models
def test_disturbed_rounds_are_told_and_what_to_do(service: PhotoService, made: Job) -> None:
    keep(service, made, others=(0.02, 0.34, 0.2))
    said = words(dashboard("compare.py", job=made.id))
    assert "Other work took up to 34 % of this machine in rounds 2, 3" in said
    keep(service, made, others=(None,) * 3, token="u")
    assert "does not tell whether other programs" in words(dashboard("compare.py", job=made.id))


@pytest.mark.models
@pytest.mark.parametrize(
    ("state", "problem", "said"),
    [
        (
            TrialState.FAILED,
            Problem(code="child_crashed", message="u2net failed in round 2.", advice="Run it again."),
            "The time trial failed. u2net failed in round 2. Run it again.",
        ),
        (
            TrialState.INTERRUPTED,
            Problem(code="trial_interrupted", message="The server ended.", advice="Run it again."),
            "The time trial was interrupted. The server ended. Run it again.",
        ),
    ],
)
def test_a_trial_that_came_to_nothing_says_why_and_can_be_run_again(
    service: PhotoService, made: Job, state: TrialState, problem: Problem, said: str
) -> None:
    keep(service, made, state=state, problem=problem, others=(), figures=())
    app = dashboard("compare.py", job=made.id)
    assert said in plain(app)
    assert "Run the time trial again" in labels(app)
    assert "**Time trial** ·" not in plain(app)


@pytest.mark.models
def test_photos_that_were_left_out_are_named_with_the_reason(service: PhotoService, made: Job) -> None:
    problem = Problem(code="photo_broken", message="u2net failed in round 2, on “<i>c.jpg”: Broken.")
    keep(service, made, left_out=(LeftOut(place=9, name="<i>c.jpg", problem=problem),))
    app = dashboard("compare.py", job=made.id)
    (told,) = [one.value for one in app.warning if "left out" in one.value]
    assert told.startswith("1 photo left out, with all runs on it. u2net failed in round 2, on “\\<i\\>c")
    assert "**Time trial** · u2netp is the fastest" in plain(app)


@pytest.mark.models
def test_a_trial_that_came_to_nothing_leaves_the_figures_of_the_one_before(
    service: PhotoService, made: Job
) -> None:
    before = trial(SMALL, LARGE, job_id=made.id)
    problem = Problem(code="trial_stopped", message="It was stopped.")
    stopped = {"state": TrialState.STOPPED, "problem": problem, "others": (), "figures": ()}
    keep(service, made, earlier=before, **stopped)
    app = dashboard("compare.py", job=made.id)
    told = "The time trial was stopped. The figures below are of the one before."
    assert told in [one.value for one in app.info]
    assert "**Time trial** · u2netp is the fastest; u2net takes 3.1 × as long" in plain(app)
    assert "8 photos, 3 rounds" in plain(app)
