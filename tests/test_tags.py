"""Tags: folders that photos came in, and what people call them; nothing lost where several do at once."""

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.errors import InputError
from photoproc.jobs import Job
from photoproc.recipe import Recipe
from photoproc.store import Store
from photoproc.tagbook import _PER_RECORD
from photoproc.tags import LONGEST, MOST, checked, distinct, folders
from tests.api.support import Api, check_problem, local
from tests.pictures import encoded, picture
from tests.test_service import code_of
from tests.test_store import create
from tests.waiting import at_once, until

EVIL = "<img src=x onerror=alert(1)>"


def test_each_folder_of_a_name_is_a_tag() -> None:
    assert folders("01.jpg") == ()
    assert folders("shoes/01.jpg") == ("shoes",)
    assert folders("shop/ red  shoes /left\\01.jpg") == ("shop", "red shoes", "left")
    assert folders("../a/./A/b//01.jpg") == ("a", "b")
    assert folders(f"{'x' * 60}/01.jpg") == (f"{'x' * 39}…",)
    assert len(folders("/".join(str(n) for n in range(30)))) == MOST


@given(st.text(max_size=200))
def test_folders_are_always_tags_that_could_be_given(name: str) -> None:
    found = folders(name)
    assert [checked(tag) for tag in found] == list(found)
    assert len({tag.casefold() for tag in found}) == len(found) <= MOST


@given(st.text(max_size=60))
def test_a_tag_is_kept_as_it_would_be_kept_again_or_refused(text: str) -> None:
    with suppress(InputError):
        tag = checked(text)
        assert checked(tag) == tag == tag.strip()
        assert 0 < len(tag) <= LONGEST
        assert "/" not in tag
        assert tag.isprintable() or not tag.isascii()


@pytest.mark.parametrize("text", ["", "  ", "\n", "x" * 41, "a/b", "a\\b", ".", " .. "])
def test_what_cannot_be_a_tag_is_refused(text: str) -> None:
    assert code_of(lambda: checked(text)) == "tag_invalid"
    assert checked(" dark \n hair ") == "dark hair"


@given(st.lists(st.sampled_from(["hair", "Hair", "HAIR", "glass", "Glass", "x"])))
def test_distinct_tags_keep_the_first_spelling(tags: list[str]) -> None:
    found = distinct(tags)
    assert len({tag.casefold() for tag in found}) == len(found)
    assert {tag.casefold() for tag in found} == {tag.casefold() for tag in tags}
    assert all(tags.index(tag) == [one.casefold() for one in tags].index(tag.casefold()) for tag in found)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


def test_tags_that_are_given_at_once_are_all_there(store: Store) -> None:
    create(store, "j", count=3)
    names = [f"tag {number}" for number in range(8)]
    at_once(*(partial(store.give_tag, "j", place, name, most=12) for name in names for place in (0, 1)))
    kept = store.given_tags("j", 3)
    assert {place: sorted(tags) for place, tags in kept.items()} == {0: names, 1: names}
    more = [f"more {number}" for number in range(4)]
    at_once(
        *(partial(store.take_tag, "j", 0, name) for name in names),
        *(partial(store.give_tag, "j", 0, name, most=12) for name in more),
    )
    assert sorted(store.given_tags("j", 3)[0]) == more
    assert sorted(store.given_tags("j", 3)[1]) == names


def test_what_is_full_or_not_there_is_refused_and_changes_nothing(store: Store) -> None:
    create(store, "j", count=1)
    for number in range(12):
        store.give_tag("j", 0, str(number), most=12)
    assert code_of(lambda: store.give_tag("j", 0, "one more", most=12)) == "too_many_tags"
    store.give_tag("j", 0, "3", most=12)  # it has that already
    assert store.given_tags("j", 1) == {0: tuple(map(str, range(12)))}
    for place in (-1, 1, 10_000):
        assert code_of(lambda place=place: store.give_tag("j", place, "x", most=12)) == "not_found"  # type: ignore[misc]
    assert code_of(lambda: store.give_tag("k", 0, "x", most=12)) == "not_found"
    assert not store.take_tag("j", 0, "never there")


def test_a_full_record_stays_in_the_database(store: Store) -> None:
    create(store, "j", count=_PER_RECORD)
    widest = '"😀\\'
    for place in range(_PER_RECORD):
        for number in range(MOST):
            store.give_tag("j", place, f"{number:02}" + (widest * 13)[: LONGEST - 2], most=MOST)
    record = store._db.get("tags:j:0")
    assert len(json.dumps(record, ensure_ascii=False).encode()) < 32 * 1024
    assert sum(map(len, store.given_tags("j", _PER_RECORD).values())) == MOST * _PER_RECORD


def test_nothing_is_left_of_the_tags_of_a_deleted_job(store: Store) -> None:
    create(store, "j", count=30)
    create(store, "k", count=1)
    for place in (0, 29):
        store.give_tag("j", place, "hair", most=12)
    store.give_tag("k", 0, "hair", most=12)
    store.delete_job("j")
    assert store.given_tags("j", 30) == {}
    assert store.given_tags("k", 1) == {0: ("hair",)}
    assert code_of(lambda: store.give_tag("j", 0, "hair", most=12)) == "not_found"
    assert not [key for key in store._db.cache.iterkeys() if key.startswith("tags:j:")]


@pytest.fixture
def job(running: Runtime) -> Iterator[Job]:
    """A job of two photos, one of them in folders, whose model is not there to run."""
    service = running.service
    batch = service.new_batch()
    photos = [
        photo
        for seed, name in enumerate(("shoes/Red/01.jpg", "02.jpg"))
        for photo in service.accept(batch, name, io.BytesIO(encoded(picture(seed=seed)))).photos
    ]
    made = service.submit(batch, photos, Recipe(models=("silueta", "isnet-anime")))
    yield made
    service.delete(made.id)


def test_a_photo_has_its_folders_and_what_people_call_it(running: Runtime, job: Job) -> None:
    service = running.service
    assert service.tags(job.id) == {0: ("shoes", "Red")}
    assert service.tag(job.id, 0, add="  hair ") == ("shoes", "Red", "hair")
    assert service.tag(job.id, 0, add="HAIR") == ("shoes", "Red", "hair")
    assert service.tag(job.id, 0, add="red") == ("shoes", "Red", "hair")
    assert service.tag(job.id, 1, add=EVIL) == (EVIL,)
    assert service.tags(job.id) == {0: ("shoes", "Red", "hair"), 1: (EVIL,)}
    assert service.tag(job.id, 0, remove="Hair") == ("shoes", "Red")
    assert code_of(lambda: service.tag(job.id, 0, remove="shoes")) == "tag_of_folder"
    assert code_of(lambda: service.tag(job.id, 2, add="x")) == "not_found"
    assert code_of(lambda: service.tag("0" * 32, 0, add="x")) == "not_found"
    for number in range(MOST - 2):
        service.tag(job.id, 0, add=f"tag {number}")
    assert code_of(lambda: service.tag(job.id, 0, add="one more")) == "too_many_tags"
    assert len(service.tags(job.id)[0]) == MOST


@pytest.fixture
def api(running: Runtime) -> Iterator[Api]:
    until(lambda: running.service is not None)
    with local(create_api(lambda: running.service)) as client:
        yield Api(client)


def test_the_api_gives_and_takes_single_tags(api: Api, running: Runtime, job: Job) -> None:
    photo = f"/v1/jobs/{job.id}/photos/0/tags"
    given = api.client.put(f"{photo}/hair")
    assert (given.status_code, given.json()) == (
        200,
        {"place": 0, "tags": ["shoes", "Red", "hair"], "given": ["hair"]},
    )
    api.client.put(f"/v1/jobs/{job.id}/photos/1/tags/{EVIL}")
    assert api.client.get(f"/v1/jobs/{job.id}/tags").json() == {
        "job": job.id,
        "photos": [
            {"place": 0, "tags": ["shoes", "Red", "hair"], "given": ["hair"]},
            {"place": 1, "tags": [EVIL], "given": [EVIL]},
        ],
    }
    assert api.client.delete(f"{photo}/HAIR").json()["tags"] == ["shoes", "Red"]
    assert api.client.delete(f"{photo}/hair").json()["given"] == []
    check_problem(api.client.delete(f"{photo}/shoes"), 409, "tag_of_folder")
    check_problem(api.client.put(f"{photo}/%20"), 422, "tag_invalid")
    check_problem(api.client.put(f"{photo}/{'x' * 41}"), 422, "invalid_request")
    check_problem(api.client.put(f"/v1/jobs/{job.id}/photos/2/tags/x"), 404, "not_found")
    for number in range(MOST - 2):
        api.client.put(f"{photo}/{number}")
    check_problem(api.client.put(f"{photo}/more"), 422, "too_many_tags")


def test_a_link_to_pictures_shows_tags_and_changes_none(running: Runtime, job: Job) -> None:
    token = running.service.sign(job.id)
    with local(create_api(lambda: running.service), host="10.0.0.5") as client:
        assert client.get(f"/v1/jobs/{job.id}/tags?token={token}").status_code == 200
        address = f"/v1/jobs/{job.id}/photos/0/tags/hair?token={token}"
        check_problem(client.put(address), 403, "loopback_only")
        check_problem(client.delete(address), 403, "loopback_only")
    assert running.service.given_tags(job.id) == {}
