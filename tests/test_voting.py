"""Blind voting, with fakes: who is asked about what, who is not, and when the ranking is made anew."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from photoproc import judging
from photoproc.child import Order
from photoproc.errors import PhotoError
from photoproc.jobs import Job
from photoproc.judging import Choice
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from photoproc.votebook import RESERVED_S, Slip
from tests.fakes import FakeWeights, carry_out
from tests.test_service import Desk, code_of
from tests.waiting import at_once

TWO = Recipe(models=("u2net", "u2netp"))
THREE = Recipe(models=("u2net", "u2netp", "silueta"))


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    made = Desk(settings)
    made.weights.there |= FakeWeights("u2net", "u2netp", "silueta").there
    yield made
    made.store.close()


def finished(desk: Desk, *names: str, recipe: Recipe = TWO) -> Job:
    job = desk.submit(*names, recipe=recipe)
    desk.run()
    assert desk.service.job(job.id).counts.done == len(names) * len(recipe.models)
    return job


def asked(desk: Desk, job: Job, voter: str, *besides: str) -> Slip:
    slip = desk.service.next_ballot(job.id, voter, besides=besides).slip
    assert slip is not None
    return slip


def test_a_voter_is_asked_once_about_each_pair_and_then_is_through(desk: Desk) -> None:
    job = finished(desk, "a.png", "b.png", recipe=THREE)
    seen = []
    for left in range(6, 0, -1):
        found = desk.service.next_ballot(job.id, "Ann")
        assert (found.left, found.votes) == (left, 6 - left)
        assert found.slip is not None
        seen.append(found.slip.pair)
        desk.service.vote(job.id, found.slip.id, "Ann", Choice.LEFT)
    assert len(set(seen)) == 6
    over = desk.service.next_ballot(job.id, "Ann")
    assert (over.slip, over.left, over.votes) == (None, 0, 6)
    assert desk.service.next_ballot(job.id, "Ben").left == 6
    assert [vote.voter for vote in desk.service.votes(job.id)] == ["Ann"] * 6


def test_who_asks_again_is_given_the_same_and_the_next_besides_it(desk: Desk) -> None:
    job = finished(desk, "a.png", "b.png", "c.png")
    first = asked(desk, job, "Ann")
    assert asked(desk, job, "Ann").id == first.id
    assert asked(desk, job, "  Ann\n").id == first.id
    second = asked(desk, job, "Ann", first.id)
    assert second.pair != first.pair
    assert asked(desk, job, "Ann", first.id).id == second.id
    third = asked(desk, job, "Ann", first.id, second.id)
    assert {first.place, second.place, third.place} == {0, 1, 2}
    at_hand = [first.id, second.id, third.id]
    over = desk.service.next_ballot(job.id, "Ann", besides=at_hand)
    assert (over.slip, over.left) == (None, 0)
    desk.service.vote(job.id, first.id, "Ann", Choice.TIE)  # counted or on its way: it is left out once
    assert [desk.service.next_ballot(job.id, "Ann", besides=at_hand[:2]).left for _ in range(2)] == [1, 1]


def test_voters_at_work_are_asked_about_different_pairs_while_there_are_others(desk: Desk) -> None:
    job = finished(desk, *(f"{number}.png" for number in range(6)))
    found: list[Slip] = []
    at_once(*(lambda name=name: found.append(asked(desk, job, name)) for name in "ABCDEF"))
    assert len({slip.pair for slip in found}) == 6
    assert asked(desk, job, "G").pair in {slip.pair for slip in found}


def test_a_pair_that_somebody_left_lying_comes_to_others_after_minutes(desk: Desk) -> None:
    job = finished(desk, "a.png", "b.png")
    first = asked(desk, job, "Ann")
    other = asked(desk, job, "Ben")
    assert other.pair != first.pair
    desk.service.vote(job.id, other.id, "Ben", Choice.TIE)
    desk.clock.advance(RESERVED_S)
    ours = asked(desk, job, "Ben")
    assert ours.pair == first.pair
    # Who comes back sees what nobody looks at; what is said of the pair that was left lying still counts.
    assert asked(desk, job, "Ann").pair == other.pair
    desk.service.vote(job.id, first.id, "Ann", Choice.LEFT)
    assert len(desk.service.votes(job.id)) == 2


def test_where_masks_differ_most_comes_first(desk: Desk) -> None:
    job = finished(desk, "a.png", "b.png", "c.png", recipe=THREE)
    models = list(THREE.models)
    for place, apart in enumerate([(0.2, 0.2, 0.0), (0.5, 0.4, 0.1), (0.1, 0.1, 0.1)]):
        kept = {"models": models, "found": [0.1, 0.1, list(apart)]}
        desk.store.keep_distances(job.id, {place: kept})
    first = asked(desk, job, "Ann")
    assert (first.place, {first.left, first.right}) == (1, {"u2net", "u2netp"})
    second = asked(desk, job, "Ben")  # as far apart as half of 0.4, which those models were asked about now
    assert (second.place, {second.left, second.right}) == (1, {"u2net", "silueta"})
    desk.service.vote(job.id, second.id, "Ben", Choice.TIE)
    assert asked(desk, job, "Ben").place == 0


def test_models_are_on_both_sides(desk: Desk) -> None:
    job = finished(desk, *(f"{number}.png" for number in range(8)))
    lefts = []
    for voter in "ABCDEFGH":
        for _ in range(8):
            slip = asked(desk, job, voter)
            lefts.append(slip.left)
            desk.service.vote(job.id, slip.id, voter, Choice.LEFT)
    assert 12 < lefts.count("u2net") < 52  # 64 throws of a fair coin: beyond these once in two million


def test_a_job_without_two_cutouts_of_a_photo_says_so(desk: Desk) -> None:
    single = desk.submit("a.png", recipe=Recipe(models=("u2net",)))
    assert code_of(lambda: desk.service.next_ballot(single.id, "Ann")) == "one_model"
    waiting = desk.submit("b.png", recipe=TWO)
    assert code_of(lambda: desk.service.next_ballot(waiting.id, "Ann")) == "nothing_to_vote"

    def no_second(order: Order) -> object:
        if order.model is not None and order.model.name == "u2netp":
            raise PhotoError("not_a_picture", "no", "no")
        return carry_out(order)

    desk.run(no_second)
    assert desk.service.job(waiting.id).state.final
    assert code_of(lambda: desk.service.next_ballot(waiting.id, "Ann")) == "nothing_to_vote"
    assert code_of(lambda: desk.service.next_ballot("0" * 32, "Ann")) == "not_found"
    assert code_of(lambda: desk.service.votes("0" * 32)) == "not_found"
    assert code_of(lambda: desk.service.ranking("0" * 32)) == "not_found"


@pytest.mark.parametrize("name", ["", "  \n", "x" * 61])
def test_a_voter_needs_a_name_that_is_not_too_long(desk: Desk, name: str) -> None:
    job = finished(desk, "a.png")
    assert code_of(lambda: desk.service.next_ballot(job.id, name)) == "voter_name"
    assert code_of(lambda: desk.service.vote(job.id, "0-00", name, Choice.TIE)) == "voter_name"


def test_a_name_that_would_turn_the_text_around_is_shown_without_that(desk: Desk) -> None:
    job = finished(desk, "a.png")
    slip = asked(desk, job, "A\u202enn")
    desk.service.vote(job.id, slip.id, "A\u202enn", Choice.TIE)
    assert [vote.voter for vote in desk.service.votes(job.id)] == ["A�nn"]


def test_the_cutouts_of_a_ballot_are_those_of_its_sides(desk: Desk) -> None:
    job = finished(desk, "a.png", "b.png")
    slip = asked(desk, job, "Ann")
    _, tasks = desk.service.ballot(job.id, slip.id)
    assert (tasks["left"].model, tasks["right"].model) == (slip.left, slip.right)
    for side in ("left", "right"):
        full, small, cutout = desk.service.ballot_cutout(job.id, slip.id, side)
        task = tasks[side]
        assert task.cutout == cutout
        assert (full.name, small.name) == (cutout.file, cutout.preview)
    assert desk.service.ballot_photo(job.id, slip.id).read_bytes().startswith(b"before of")


def test_a_pair_without_a_cutout_is_not_taken_for_a_deleted_job(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(desk, "a.png", "b.png")
    slip = asked(desk, job, "Ann")
    whole = desk.store.tasks
    with monkeypatch.context() as meanwhile:
        without = lambda *asked: (replace(task, cutouts=()) for task in whole(*asked))  # noqa: E731
        meanwhile.setattr(desk.store, "tasks", without)
        assert code_of(lambda: desk.service.ballot(job.id, slip.id)) == "cutout_gone"
        assert code_of(lambda: desk.service.ballot_photo(job.id, slip.id)) == "cutout_gone"
    assert desk.service.ballot(job.id, slip.id)[0] == slip
    assert code_of(lambda: desk.service.ballot(job.id, f"{slip.id}0")) == "ballot_gone"
    desk.service.delete(job.id)
    assert code_of(lambda: desk.service.next_ballot(job.id, "Ann")) == "not_found"


def test_undo_brings_the_pair_back(desk: Desk) -> None:
    job = finished(desk, "a.png", "b.png")
    slip = asked(desk, job, "Ann")
    desk.service.vote(job.id, slip.id, "Ann", Choice.LEFT)
    anew = desk.service.undo(job.id, slip.id, "Ann")
    assert desk.service.votes(job.id) == []
    assert asked(desk, job, "Ann").id == anew.id
    assert desk.service.next_ballot(job.id, "Ann").left == 2


def test_the_ranking_is_fitted_once_for_the_same_votes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []
    fit = judging.rank

    def counted(models: object, ballots: list[judging.Ballot]) -> judging.Ranking:
        fitted.append(len(ballots))
        return fit(models, ballots)  # type: ignore[arg-type]

    monkeypatch.setattr(judging, "rank", counted)
    job = finished(desk, *(f"{number}.png" for number in range(12)))
    assert desk.service.ranking(job.id) is None
    last: Callable[[], object] = lambda: None  # noqa: E731
    for _ in range(12):
        slip = asked(desk, job, "Ann")
        choice = Choice.LEFT if slip.left == "u2net" else Choice.RIGHT
        desk.service.vote(job.id, slip.id, "Ann", choice)
        last = lambda slip=slip: desk.service.undo(job.id, slip.id, "Ann")  # type: ignore[misc] # noqa: E731
    found = desk.service.ranking(job.id)
    assert found is not None
    assert desk.service.ranking(job.id) is found
    assert (found.votes, found.enough, found.standings[0].model) == (12, True, "u2net")
    assert found.standings[0].preferred.share == 1
    last()
    again = desk.service.ranking(job.id)
    assert again is not None
    assert again.votes == 11
    assert fitted == [12, 11]
