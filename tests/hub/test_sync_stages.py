"""The stages of a sync: changes, listings, scans, base models, leaderboards and deletions."""

from __future__ import annotations

import datetime

import pytest

from tryage.errors import HubAccessError, HubError, HubMissingError, HubReplyError
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_sync import sync
from tryage.hub.sync_stages import utc_now
from tryage.testing.hub import RepositoryDeleted, ServerError, Unauthorized, WrongShape

pytestmark = pytest.mark.usefixtures("pages_of_four")
AT_ONCE = datetime.timedelta(0)


def names(catalogue, **conditions):
    return {row.name for row in catalogue.search(Query(**conditions))}


def paths(hub, start=0):
    return [request.target.split("&expand")[0] for request in hub.requests[start:]]


def test_with_a_limit_changes_of_unknown_models_are_left_out(hub, client, catalogue):
    sync(client(hub), catalogue, limit=2)
    now = utc_now()
    hub.update("org/m1", likes=7, lastModified=now)
    hub.update("org/m9", likes=7, lastModified=now)
    sync(client(hub), catalogue, limit=2)
    assert catalogue.get("org/m1").likes == 7
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2"}
    sync(client(hub), catalogue, limit=4)
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2", "org/m3"}


def test_the_overlap_catches_modifications_that_were_indexed_late(hub, client, catalogue):
    hub.update("org/m0", lastModified="2025-02-01T12:00:00.000Z")
    sync(client(hub), catalogue)
    hub.update("org/m9", likes=9, lastModified="2025-02-01T11:30:00.000Z")
    hub.update("org/m8", likes=9, lastModified="2025-02-01T10:30:00.000Z")
    sync(client(hub), catalogue)
    assert catalogue.get("org/m9").likes == 9
    assert catalogue.get("org/m8").likes != 9


def test_a_full_sync_lists_the_oldest_models_first(hub, client, catalogue):
    done = sync(client(hub), catalogue, full=True)
    assert names(catalogue) == set(hub)
    assert sum("sort=createdAt&direction=1" in path for path in paths(hub)) == 4
    assert done.new == len(hub)
    hub.remove("org/m11")
    assert sync(client(hub), catalogue, full=True).deleted == 1


def test_a_cursor_that_the_hub_rejects_starts_the_listing_over(hub, client, catalogue):
    def stop(stage, done, _):
        if (stage, done) == ("listed", 8):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(client(hub), catalogue, progress=stop)
    state = catalogue.get_state("usual:listed")
    catalogue.set_state({"usual:listed": {**state, "cursor": "sort=downloads&cursor=bm90aGluZw=="}})
    sync(client(hub), catalogue)
    assert names(catalogue) == set(hub)


def test_a_record_without_a_key_does_not_affect_others(hub, client, catalogue):
    good = [{"_id": "1" * 24, "id": "org/good"}, {"id": "org/without"}, {"_id": "2" * 24}]
    hub.fail(WrongShape(good), when=lambda r: "sort=downloads" in r.target, times=None)
    done = sync(client(hub), catalogue, served=False, scans=0)
    assert names(catalogue) == {"org/good"}
    assert done.unreadable == 2


def test_a_named_model_is_fetched_whatever_its_downloads(hub, client, catalogue):
    done = sync(client(hub), catalogue, limit=1, served=False, names=["org/m9", "org/none"])
    assert names(catalogue) == {"org/m0", "org/m9"}
    assert done.missing == ("org/none",)
    assert "/v1/models" not in paths(hub)


def test_served_names_that_no_repository_can_have_are_ignored(hub, client, catalogue):
    hub.served.append({**hub.served[0], "id": "not a name/at all/x"})
    hub.served.append({**hub.served[0], "id": "org/deleted"})
    assert sync(client(hub), catalogue, limit=2).missing == ()


def test_a_few_models_without_an_answer_stay_as_they_were(hub, client, catalogue):
    hub.fail(ServerError(500), when=lambda r: "org/m0?security" in r.target, times=None)
    done = sync(client(hub), catalogue)
    assert done.unanswered == ("org/m0",)
    assert names(catalogue) == set(hub)


def test_scans_count_only_for_their_commit(hub, client, catalogue):
    status = {"scansDone": True, "filesWithIssues": [{"path": "x.bin", "level": "unsafe"}]}
    hub.update("org/m0", securityRepoStatus=status)
    sync(client(hub), catalogue, scans=1)
    assert catalogue.get("org/m0").value("security") == 0
    assert sum("securityStatus" in path for path in paths(hub)) == 1
    hub.update("org/m0", lastModified=utc_now())
    sync(client(hub), catalogue)
    assert catalogue.get("org/m0").value("security") == 0  # a listing has no scans: it stays
    hub.update("org/m0", lastModified=utc_now(), sha="f" * 40)
    sync(client(hub), catalogue)
    assert catalogue.get("org/m0").value("security") != 0  # this commit is not scanned


# Base models


def quantized(base):
    return {"tags": [f"base_model:quantized:{base}", "license:mit"], "safetensors": None}


def test_bases_that_are_not_listed_are_fetched_and_their_bases_too(hub, client, catalogue):
    hub.update("org/m0", **quantized("org/m12"))  # which is made from m3
    hub.update("org/m3", tags=["license:llama2"])
    before = sync(client(hub), catalogue, limit=1, served=False, bases=0)
    assert (before.models, catalogue.get("org/m0").value("license")) == (1, None)
    assert catalogue.get("org/m0").value("parameters") is None
    sync(client(hub), catalogue, limit=1, served=False, refresh=AT_ONCE)
    assert names(catalogue) == {"org/m0", "org/m12", "org/m3"}
    model = catalogue.get("org/m0")
    assert (model.value("parameters"), model.value("license")) == (4e9, "llama2")


def test_bases_of_most_models_come_first_and_others_after_the_next_listing(hub, client, catalogue):
    for name, base in (("m0", "m8"), ("m1", "m9"), ("m2", "m9")):
        hub.update(f"org/{name}", **quantized(f"org/{base}"))
    options = {"limit": 3, "served": False, "bases": 1}
    sync(client(hub), catalogue, **options)
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2", "org/m9"}
    sync(client(hub), catalogue, **options)  # nothing new came, and no listing was due
    assert "org/m8" not in names(catalogue)
    sync(client(hub), catalogue, **options, refresh=AT_ONCE)
    assert "org/m8" in names(catalogue)


def test_a_missing_base_is_not_asked_for_again_for_a_month(hub, client, catalogue):
    hub.update("org/m0", **quantized("gone/base"))
    options = {"limit": 1, "served": False, "refresh": AT_ONCE}

    def asked(clock=utc_now):
        start = len(hub.requests)
        assert sync(client(hub), catalogue, **options, clock=clock).models == 1
        return sum("gone/base" in path for path in paths(hub, start))

    assert asked() == 2  # the Hub says the same of a bad login, so it is asked twice
    assert asked() == 0
    later = utc_now() + datetime.timedelta(days=31)
    assert asked(lambda: later) == 2


def test_a_renamed_base_is_found_by_its_former_name(hub, client, catalogue):
    hub.update("org/m0", **quantized("org/m9"))
    hub.rename("org/m9", "new/m9")
    options = {"limit": 1, "served": False, "refresh": AT_ONCE}
    sync(client(hub), catalogue, **options)
    assert catalogue.get("org/m9").name == "new/m9"
    assert catalogue.get("org/m0").value("parameters") == 10e9
    start = len(hub.requests)
    sync(client(hub), catalogue, **options)
    assert not any("m9" in path for path in paths(hub, start))


# Leaderboards


def results(catalogue, name):
    rows = catalogue.get(name).value("quality") or ()
    return [(row["dataset"], row["value"], row["weight"]) for row in rows]


def test_results_of_a_leaderboard_stay_until_it_is_fetched_again(
    hub, client, catalogue, change_hub
):
    hub.leaderboards["data/other"] = [{"modelId": "org/m1", "value": -3}]
    sync(client(hub), catalogue, leaderboards=["data/board", "data/other"])
    both = [("data/board", 61.5, 0.8), ("data/other", -3, 0.5)]
    assert results(catalogue, "org/m1") == both
    assert results(catalogue, "org/m12") == [("data/board", 70, 0.72)]  # a quantized m3
    hub.update("org/m1", likes=9, lastModified=utc_now())
    sync(client(hub), catalogue, refresh=AT_ONCE)
    assert results(catalogue, "org/m1") == both
    change_hub(hub)
    sync(client(hub), catalogue, leaderboards=["data/board"])
    assert results(catalogue, "org/m1") == [("data/board", 62, 0.8), ("data/other", -3, 0.5)]
    assert results(catalogue, "org/m3") == results(catalogue, "org/m12") == []
    hub.leaderboards["data/board"].clear()
    sync(client(hub), catalogue, leaderboards=["data/board"])
    assert results(catalogue, "org/m1") == [("data/other", -3, 0.5)]


def test_a_result_stays_with_its_model_after_a_rename(hub, client, catalogue):
    sync(client(hub), catalogue, leaderboards=["data/board"])
    hub.rename("org/m1", "new/m1")
    sync(client(hub), catalogue, refresh=AT_ONCE)
    assert results(catalogue, "new/m1") == [("data/board", 61.5, 0.8)]


def test_a_wrong_leaderboard_is_an_error_before_anything_else_is_asked(
    hub, client, catalogue, content
):
    sync(client(hub), catalogue, leaderboards=["data/board"])
    before, start = content(catalogue), len(hub.requests)
    with pytest.raises(HubMissingError, match="data/none"):
        sync(client(hub), catalogue, leaderboards=["data/none"])
    hub.leaderboards["data/board"] = [{"modelId": "org/m1", "score": 3}]
    with pytest.raises(HubReplyError, match="data/board"):
        sync(client(hub), catalogue, leaderboards=["data/board"])
    assert len(paths(hub, start)) == 2
    assert content(catalogue)["models"] == before["models"]


# Deletions


def test_a_model_that_comes_back_is_there_again(hub, client, catalogue):
    sync(client(hub), catalogue)
    record = hub.record("org/m9")
    hub.remove("org/m9")
    sync(client(hub), catalogue, refresh=AT_ONCE)
    assert catalogue.deleted_at("org/m9") is not None
    hub.load([record])
    sync(client(hub), catalogue, refresh=AT_ONCE)
    assert catalogue.deleted_at("org/m9") is None
    assert "org/m9" in names(catalogue)


def test_a_model_whose_name_another_one_has_now_is_deleted(hub, client, catalogue):
    sync(client(hub), catalogue)
    first = catalogue.get("org/m9").key
    hub.remove("org/m9")
    hub.load([{"id": "org/m9", "_id": "f" * 24, "downloads": 3}])
    sync(client(hub), catalogue, refresh=AT_ONCE)
    assert catalogue.get("org/m9").key == "f" * 24
    assert catalogue.deleted_at(first) is not None


def test_an_empty_listing_deletes_no_model(hub, client, catalogue, content):
    sync(client(hub), catalogue)
    before = content(catalogue)
    hub.fail(WrongShape([]), when=lambda r: "sort=downloads" in r.target, times=None)
    assert sync(client(hub), catalogue, refresh=AT_ONCE).deleted == 0
    assert content(catalogue)["models"] == before["models"]


def test_a_model_deleted_between_two_requests_is_deleted_by_the_next_sync(hub, client, catalogue):
    hub.fail(RepositoryDeleted("org/m0"), times=None)
    assert sync(client(hub), catalogue).unanswered == ("org/m0",)
    assert catalogue.deleted_at("org/m0") is None
    hub.clear_faults()
    hub.remove("org/m0")
    assert sync(client(hub), catalogue, refresh=AT_ONCE).deleted == 1


def test_a_hub_that_denies_a_listed_model_deletes_no_model(hub, client, catalogue):
    sync(client(hub), catalogue)
    hub.remove("org/m9")
    denied = Unauthorized()
    hub.fail(denied, when=lambda r: "/api/models/" in r.target, times=None)
    with pytest.raises(HubError):
        sync(client(hub), catalogue, refresh=AT_ONCE)
    with pytest.raises(HubAccessError, match="has just listed"):
        sync(client(hub), catalogue, refresh=AT_ONCE, scans=0)
    assert catalogue.deleted_at("org/m9") is None
    hub.clear_faults()
    assert sync(client(hub), catalogue, refresh=AT_ONCE, scans=0).deleted == 1
