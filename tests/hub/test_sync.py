"""What a sync brings: models, changes, renames, prices, scans, and the end of models."""

from __future__ import annotations

import datetime

import pytest

from tryage.errors import (
    CatalogueError,
    HubAccessError,
    HubError,
    HubMissingError,
    HubOfflineError,
    HubReplyError,
    InputError,
)
from tryage.hub import catalog_sync as lock
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_sync import sync
from tryage.hub.catalog_write import CatalogWriter
from tryage.hub.sync_stages import utc_now
from tryage.testing.hub import Gated, RepositoryDeleted, ServerError, Unauthorized, WrongShape

pytestmark = pytest.mark.usefixtures("pages_of_four")
AT_ONCE = datetime.timedelta(0)


def names(catalogue, **conditions):
    return {entry.name for entry in catalogue.search(Query(**conditions))}


def paths(hub, start=0):
    return [request.target.split("&expand")[0] for request in hub.requests[start:]]


def test_the_first_sync_fetches_the_most_downloaded_and_what_is_served(world, client, catalogue):
    done = sync(client(world), catalogue, limit=2)
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2"}
    assert (done.new, done.models) == (3, 3)
    assert names(catalogue, served=True) == {"org/m1", "org/m2"}
    price = catalogue.get("org/m1").facts["input_price"]
    assert (price.value, price.source) == (0.1, "served by one")


def test_without_a_limit_all_pages_are_fetched_and_every_model_once(world, client, catalogue):
    done = sync(client(world), catalogue)
    assert names(catalogue) == set(world)
    assert done.new == len(world)
    listings = [path for path in paths(world) if "sort=downloads" in path]
    assert len(listings) == 4
    assert done.requests == len(world.requests)


def test_a_second_sync_asks_for_news_only_and_finds_none(world, client, catalogue):
    sync(client(world), catalogue)
    start = len(world.requests)
    done = sync(client(world), catalogue)
    assert (done.new, done.changed, done.renamed, done.deleted) == (0, 0, 0, 0)
    assert paths(world, start) == ["/api/models?sort=lastModified&limit=4", "/v1/models"]


def test_all_that_happened_arrives(world, client, catalogue, move_on):
    sync(client(world), catalogue)
    move_on(world)
    done = sync(client(world), catalogue, refresh=AT_ONCE)
    assert (done.new, done.renamed, done.deleted) == (1, 1, 1)
    assert names(catalogue) == set(world)
    assert catalogue.get("org/m4").name == "new/m4"
    assert catalogue.deleted_at("org/m5") is not None
    assert names(catalogue, gated=True) == {"org/m6"}
    assert [e.name for e in catalogue.search(Query(limit=1))] == ["org/m6"]
    assert names(catalogue, served=True) == {"org/m2", "org/m8"}
    assert catalogue.get("org/m1").value("input_price") is None  # served no more: price unknown
    assert catalogue.get("org/m12").value("license") == "llama2"  # as its base is now


def test_what_changes_silently_waits_for_the_refresh(world, client, catalogue):
    sync(client(world), catalogue)
    world.update("org/m3", downloads=5_000)
    world.remove("org/m9")
    sync(client(world), catalogue)
    assert catalogue.get("org/m3").downloads == 970
    assert catalogue.deleted_at("org/m9") is None
    tomorrow = utc_now() + datetime.timedelta(days=1, hours=1)
    sync(client(world), catalogue, clock=lambda: tomorrow)
    assert catalogue.get("org/m3").downloads == 5_000
    assert catalogue.deleted_at("org/m9") is not None


def test_with_a_limit_news_of_unknown_models_is_left_out(world, client, catalogue):
    sync(client(world), catalogue, limit=2)
    now = utc_now()
    world.update("org/m1", likes=7, lastModified=now)
    world.update("org/m9", likes=7, lastModified=now)
    sync(client(world), catalogue, limit=2)
    assert catalogue.get("org/m1").likes == 7
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2"}
    sync(client(world), catalogue, limit=4)
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2", "org/m3"}


def test_the_overlap_brings_what_was_indexed_late(world, client, catalogue):
    world.update("org/m0", lastModified="2025-02-01T12:00:00.000Z")
    sync(client(world), catalogue)
    world.update("org/m9", likes=9, lastModified="2025-02-01T11:30:00.000Z")
    world.update("org/m8", likes=9, lastModified="2025-02-01T10:30:00.000Z")
    sync(client(world), catalogue)
    assert catalogue.get("org/m9").likes == 9
    assert catalogue.get("org/m8").likes != 9


def test_the_whole_hub_is_walked_oldest_first(world, client, catalogue):
    done = sync(client(world), catalogue, full=True)
    assert names(catalogue) == set(world)
    assert sum("sort=createdAt&direction=1" in path for path in paths(world)) == 4
    assert done.new == len(world)
    world.remove("org/m11")
    assert sync(client(world), catalogue, full=True).deleted == 1


def test_a_wanted_model_is_fetched_whatever_its_downloads(world, client, catalogue):
    done = sync(client(world), catalogue, limit=1, served=False, names=["org/m9", "org/none"])
    assert names(catalogue) == {"org/m0", "org/m9"}
    assert done.missing == ("org/none",)
    assert "/v1/models" not in paths(world)


def test_served_names_that_no_repository_can_have_are_left_alone(world, client, catalogue):
    world.served.append({**world.served[0], "id": "not a name/at all/x"})
    world.served.append({**world.served[0], "id": "org/deleted"})
    assert sync(client(world), catalogue, limit=2).missing == ()


def quantised(base):
    return {"tags": [f"base_model:quantized:{base}", "license:mit"], "safetensors": None}


def test_bases_that_were_not_listed_are_fetched_and_theirs_too(world, client, catalogue):
    world.update("org/m0", **quantised("org/m12"))  # which is made from m3
    world.update("org/m3", tags=["license:llama2"])
    before = sync(client(world), catalogue, limit=1, served=False, bases=0)
    assert (before.models, catalogue.get("org/m0").value("license")) == (1, None)
    assert catalogue.get("org/m0").value("parameters") is None
    sync(client(world), catalogue, limit=1, served=False, refresh=AT_ONCE)
    assert names(catalogue) == {"org/m0", "org/m12", "org/m3"}
    model = catalogue.get("org/m0")
    assert (model.value("parameters"), model.value("license")) == (4e9, "llama2")


def test_the_most_wanted_bases_come_first_and_the_others_later(world, client, catalogue):
    for name, base in (("m0", "m8"), ("m1", "m9"), ("m2", "m9")):
        world.update(f"org/{name}", **quantised(f"org/{base}"))
    options = {"limit": 3, "served": False, "bases": 1}
    sync(client(world), catalogue, **options)
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2", "org/m9"}
    sync(client(world), catalogue, **options)  # nothing new came, and no listing was due
    assert "org/m8" not in names(catalogue)
    sync(client(world), catalogue, **options, refresh=AT_ONCE)
    assert "org/m8" in names(catalogue)


def test_a_base_that_nobody_has_is_not_asked_for_every_day(world, client, catalogue):
    world.update("org/m0", **quantised("gone/base"))
    options = {"limit": 1, "served": False, "refresh": AT_ONCE}

    def asked(clock=utc_now):
        start = len(world.requests)
        assert sync(client(world), catalogue, **options, clock=clock).models == 1
        return sum("gone/base" in path for path in paths(world, start))

    assert asked() == 2  # the Hub says the same of a bad login, so it is asked twice
    assert asked() == 0
    later = utc_now() + datetime.timedelta(days=31)
    assert asked(lambda: later) == 2


def test_a_base_that_was_renamed_is_found_by_the_name_it_had(world, client, catalogue):
    world.update("org/m0", **quantised("org/m9"))
    world.rename("org/m9", "new/m9")
    options = {"limit": 1, "served": False, "refresh": AT_ONCE}
    sync(client(world), catalogue, **options)
    assert catalogue.get("org/m9").name == "new/m9"
    assert catalogue.get("org/m0").value("parameters") == 10e9
    start = len(world.requests)
    sync(client(world), catalogue, **options)
    assert not any("m9" in path for path in paths(world, start))


def results(catalogue, name):
    rows = catalogue.get(name).value("quality") or ()
    return [(row["dataset"], row["value"], row["weight"]) for row in rows]


def test_a_leaderboards_results_stay_until_it_is_asked_again(world, client, catalogue, move_on):
    world.leaderboards["data/other"] = [{"modelId": "org/m1", "value": -3}]
    sync(client(world), catalogue, leaderboards=["data/board", "data/other"])
    both = [("data/board", 61.5, 0.8), ("data/other", -3, 0.5)]
    assert results(catalogue, "org/m1") == both
    assert results(catalogue, "org/m12") == [("data/board", 70, 0.72)]  # a quantised m3
    world.update("org/m1", likes=9, lastModified=utc_now())
    sync(client(world), catalogue, refresh=AT_ONCE)
    assert results(catalogue, "org/m1") == both
    move_on(world)
    sync(client(world), catalogue, leaderboards=["data/board"])
    assert results(catalogue, "org/m1") == [("data/board", 62, 0.8), ("data/other", -3, 0.5)]
    assert results(catalogue, "org/m3") == results(catalogue, "org/m12") == []
    world.leaderboards["data/board"].clear()
    sync(client(world), catalogue, leaderboards=["data/board"])
    assert results(catalogue, "org/m1") == [("data/other", -3, 0.5)]


def test_a_result_goes_with_its_model_when_that_is_renamed(world, client, catalogue):
    sync(client(world), catalogue, leaderboards=["data/board"])
    world.rename("org/m1", "new/m1")
    sync(client(world), catalogue, refresh=AT_ONCE)
    assert results(catalogue, "new/m1") == [("data/board", 61.5, 0.8)]


def test_a_leaderboard_that_is_none_is_said_before_anything_else_is_asked(
    world, client, catalogue, content
):
    sync(client(world), catalogue, leaderboards=["data/board"])
    before, start = content(catalogue), len(world.requests)
    with pytest.raises(HubMissingError, match="data/none"):
        sync(client(world), catalogue, leaderboards=["data/none"])
    world.leaderboards["data/board"] = [{"modelId": "org/m1", "score": 3}]
    with pytest.raises(HubReplyError, match="data/board"):
        sync(client(world), catalogue, leaderboards=["data/board"])
    assert len(paths(world, start)) == 2
    assert content(catalogue)["told"] == before["told"]


def test_scans_are_those_of_this_commit(world, client, catalogue):
    status = {"scansDone": True, "filesWithIssues": [{"path": "x.bin", "level": "unsafe"}]}
    world.update("org/m0", securityRepoStatus=status)
    sync(client(world), catalogue, scans=1)
    assert catalogue.get("org/m0").value("security") == 0
    assert sum("securityStatus" in path for path in paths(world)) == 1
    world.update("org/m0", lastModified=utc_now())
    sync(client(world), catalogue)
    assert catalogue.get("org/m0").value("security") == 0  # a listing has no scans: it stays
    world.update("org/m0", lastModified=utc_now(), sha="f" * 40)
    sync(client(world), catalogue)
    assert catalogue.get("org/m0").value("security") != 0  # nobody has scanned this one


def test_a_model_that_comes_back_is_there_again(world, client, catalogue):
    sync(client(world), catalogue)
    record = world.record("org/m9")
    world.remove("org/m9")
    sync(client(world), catalogue, refresh=AT_ONCE)
    assert catalogue.deleted_at("org/m9") is not None
    world.load([record])
    sync(client(world), catalogue, refresh=AT_ONCE)
    assert catalogue.deleted_at("org/m9") is None
    assert "org/m9" in names(catalogue)


def test_a_name_that_now_means_another_model_is_the_end_of_the_first(world, client, catalogue):
    sync(client(world), catalogue)
    first = catalogue.get("org/m9").key
    world.remove("org/m9")
    world.load([{"id": "org/m9", "_id": "f" * 24, "downloads": 3}])
    sync(client(world), catalogue, refresh=AT_ONCE)
    assert catalogue.get("org/m9").key == "f" * 24
    assert catalogue.deleted_at(first) is not None


def test_a_listing_that_is_suddenly_empty_buries_nobody(world, client, catalogue, content):
    sync(client(world), catalogue)
    before = content(catalogue)
    world.fail(WrongShape([]), when=lambda r: "sort=downloads" in r.target, times=None)
    assert sync(client(world), catalogue, refresh=AT_ONCE).deleted == 0
    assert content(catalogue)["told"] == before["told"]


def test_few_models_without_an_answer_stay_as_they_were(world, client, catalogue):
    world.fail(ServerError(500), when=lambda r: "org/m0?security" in r.target, times=None)
    done = sync(client(world), catalogue)
    assert done.unanswered == ("org/m0",)
    assert names(catalogue) == set(world)


def test_a_record_without_a_key_spoils_no_other(world, client, catalogue):
    good = [{"_id": "1" * 24, "id": "org/good"}, {"id": "org/without"}, {"_id": "2" * 24}]
    world.fail(WrongShape(good), when=lambda r: "sort=downloads" in r.target, times=None)
    done = sync(client(world), catalogue, served=False, scans=0)
    assert names(catalogue) == {"org/good"}
    assert done.unreadable == 2


def test_a_bad_token_buries_nobody(world, client, catalogue, content):
    sync(client(world), catalogue)
    world.remove("org/m9")
    before = content(catalogue)
    with pytest.raises(HubAccessError, match="token"):
        sync(client(world, token=f"un{world.token}"), catalogue, refresh=AT_ONCE)
    world.fail(Gated("org/m9"), times=None)
    with pytest.raises(HubAccessError):
        sync(client(world, token=world.token), catalogue, refresh=AT_ONCE)
    assert content(catalogue)["told"] == before["told"]
    assert content(catalogue)["gone"] == set()


def test_a_model_that_vanishes_between_two_questions_is_found_gone_next_time(
    world, client, catalogue
):
    world.fail(RepositoryDeleted("org/m0"), times=None)
    assert sync(client(world), catalogue).unanswered == ("org/m0",)
    assert catalogue.deleted_at("org/m0") is None
    world.clear_faults()
    world.remove("org/m0")
    assert sync(client(world), catalogue, refresh=AT_ONCE).deleted == 1


def test_a_hub_that_denies_what_it_has_listed_is_believed_of_nobody(world, client, catalogue):
    sync(client(world), catalogue)
    world.remove("org/m9")
    denied = Unauthorized()
    world.fail(denied, when=lambda r: "/api/models/" in r.target, times=None)
    with pytest.raises(HubError):
        sync(client(world), catalogue, refresh=AT_ONCE)
    with pytest.raises(HubAccessError, match="listed just now"):
        sync(client(world), catalogue, refresh=AT_ONCE, scans=0)
    assert catalogue.deleted_at("org/m9") is None
    world.clear_faults()
    assert sync(client(world), catalogue, refresh=AT_ONCE, scans=0).deleted == 1


def test_offline_nothing_is_asked_and_the_catalogue_stays(world, client, catalogue, content):
    sync(client(world), catalogue)
    before, start = content(catalogue), len(world.requests)
    with pytest.raises(HubOfflineError):
        sync(client(world, offline=True), catalogue)
    assert paths(world, start) == []
    assert content(catalogue)["told"] == before["told"]
    assert catalogue.age() is not None


def test_an_empty_hub_makes_an_empty_catalogue(world, client, catalogue):
    for name in list(world):
        world.remove(name)
    world.served.clear()
    assert sync(client(world), catalogue).models == 0
    assert catalogue.synced_at is not None
    assert sync(client(world), catalogue, full=True).models == 0


@pytest.mark.parametrize("full", [False, True])
def test_stopped_by_a_key_it_goes_on_from_there(
    world, client, catalogue, tmp_path, content, move_on, full
):
    with Catalogue(tmp_path / "undisturbed.sqlite") as other:
        sync(client(world), catalogue)
        sync(client(world), other)
        move_on(world)
        sync(client(world), other, refresh=AT_ONCE, full=full)
        expected = content(other)
    before = content(catalogue)
    for most in (2, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 99):
        start, steps = len(world.requests), iter(range(most - 1))

        def stop(*_, steps=steps):
            if next(steps, None) is None:
                raise KeyboardInterrupt

        try:
            sync(client(world), catalogue, refresh=AT_ONCE, full=full, progress=stop)
        except KeyboardInterrupt:
            assert {**content(catalogue), "left over": []} == before
        else:
            break
    assert content(catalogue) == expected
    listed = [path for path in paths(world, start) if "sort=" in path]
    assert all("cursor" in path for path in listed)  # not from the beginning


def test_an_interrupted_sync_with_other_options_or_of_long_ago_begins_anew(
    world, client, catalogue
):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(client(world), catalogue, limit=9, progress=stop)
    sync(client(world), catalogue, limit=1, served=False)
    assert names(catalogue) == {"org/m0"}
    with pytest.raises(KeyboardInterrupt):
        sync(client(world), catalogue, limit=9, served=False, progress=stop)
    world.remove("org/m8")
    late = utc_now() + datetime.timedelta(days=2)
    sync(client(world), catalogue, limit=9, served=False, clock=lambda: late)
    assert "org/m8" not in names(catalogue)


def test_a_place_that_the_hub_has_forgotten_is_given_up(world, client, catalogue):
    def stop(stage, done, _):
        if (stage, done) == ("listed", 8):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(client(world), catalogue, progress=stop)
    place = catalogue.get_state("usual:listed")
    catalogue.set_state({"usual:listed": {**place, "cursor": "sort=downloads&cursor=bm90aGluZw=="}})
    sync(client(world), catalogue)
    assert names(catalogue) == set(world)


def test_publishing_that_fails_leaves_what_arrived_for_the_next_time(
    world, client, catalogue, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(CatalogWriter, "propagate", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sync(client(world), catalogue)
    assert len(catalogue) == 0
    start = len(world.requests)
    sync(client(world), catalogue)
    assert names(catalogue) == set(world)
    assert paths(world, start) == []


def test_two_syncs_at_once_are_one_too_many(world, client, catalogue):
    with (
        Catalogue(catalogue.path) as other,
        lock.sync_lock(other),
        pytest.raises(CatalogueError, match="being synced by process"),
    ):
        sync(client(world), catalogue)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 5, "full": True}, "one of them"),
        ({"scans": -1}, "scans"),
        ({"checks": 1.5}, "checks"),
        ({"bases": -1}, "bases"),
        ({"names": "org/m1"}, "names"),
        ({"leaderboards": "data/board"}, "leaderboards"),
        ({"leaderboards": ["no name/at all/x"]}, "org/name"),
    ],
)
def test_a_wrong_option_says_so_before_anything_is_asked(world, client, catalogue, wrong, says):
    with pytest.raises(InputError, match=says):
        sync(client(world), catalogue, **wrong)
    assert world.requests == []


def test_a_hub_that_is_not_there_is_a_clear_error(world, client, catalogue):
    world.close()
    with pytest.raises(HubError):
        sync(client(world), catalogue)
    assert catalogue.synced_at is None
