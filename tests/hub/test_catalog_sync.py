"""`sync`: what it changes, its options, its lock, and that an error leaves the catalogue alone."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys

import pytest

from tryage.errors import CatalogueError, HubAccessError, HubError, HubOfflineError, InputError
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_schema import transaction
from tryage.hub.catalog_sync import LOCK_HOLDER, sync, sync_lock
from tryage.hub.sync_stages import utc_now
from tryage.testing.hub import Gated

pytestmark = pytest.mark.usefixtures("pages_of_four")
AT_ONCE = datetime.timedelta(0)


def names(catalogue, **conditions):
    return {row.name for row in catalogue.search(Query(**conditions))}


def paths(hub, start=0):
    return [request.target.split("&expand")[0] for request in hub.requests[start:]]


def test_the_first_sync_fetches_the_most_downloaded_and_what_is_served(hub, client, catalogue):
    done = sync(client(hub), catalogue, limit=2)
    assert names(catalogue) == {"org/m0", "org/m1", "org/m2"}
    assert (done.new, done.models) == (3, 3)
    assert names(catalogue, served=True) == {"org/m1", "org/m2"}
    price = catalogue.get("org/m1").facts["input_price"]
    assert (price.value, price.source) == (0.1, "served by one")


def test_without_a_limit_all_pages_are_fetched_and_every_model_once(hub, client, catalogue):
    done = sync(client(hub), catalogue)
    assert names(catalogue) == set(hub)
    assert done.new == len(hub)
    listings = [path for path in paths(hub) if "sort=downloads" in path]
    assert len(listings) == 4
    assert done.requests == len(hub.requests)


def test_a_second_sync_asks_only_for_changes_and_finds_none(hub, client, catalogue):
    sync(client(hub), catalogue)
    start = len(hub.requests)
    done = sync(client(hub), catalogue)
    assert (done.new, done.changed, done.renamed, done.deleted) == (0, 0, 0, 0)
    assert paths(hub, start) == ["/api/models?sort=lastModified&limit=4", "/v1/models"]


def test_every_kind_of_change_arrives(hub, client, catalogue, change_hub):
    sync(client(hub), catalogue)
    change_hub(hub)
    done = sync(client(hub), catalogue, refresh=AT_ONCE)
    assert (done.new, done.renamed, done.deleted) == (1, 1, 1)
    assert names(catalogue) == set(hub)
    assert catalogue.get("org/m4").name == "new/m4"
    assert catalogue.deleted_at("org/m5") is not None
    assert names(catalogue, gated=True) == {"org/m6"}
    assert [e.name for e in catalogue.search(Query(limit=1))] == ["org/m6"]
    assert names(catalogue, served=True) == {"org/m2", "org/m8"}
    assert catalogue.get("org/m1").value("input_price") is None  # no longer served: price unknown
    assert catalogue.get("org/m12").value("license") == "llama2"  # as its base has now


def test_changes_without_a_modification_wait_for_the_next_listing(hub, client, catalogue):
    sync(client(hub), catalogue)
    hub.update("org/m3", downloads=5_000)
    hub.remove("org/m9")
    sync(client(hub), catalogue)
    assert catalogue.get("org/m3").downloads == 970
    assert catalogue.deleted_at("org/m9") is None
    tomorrow = utc_now() + datetime.timedelta(days=1, hours=1)
    sync(client(hub), catalogue, clock=lambda: tomorrow)
    assert catalogue.get("org/m3").downloads == 5_000
    assert catalogue.deleted_at("org/m9") is not None


def test_a_sync_under_a_clock_that_was_a_year_ahead_is_corrected_by_the_next(
    hub, client, catalogue
):
    ahead = utc_now() + datetime.timedelta(days=365)
    sync(client(hub), catalogue, clock=lambda: ahead)
    # Pages have the time of the process, so their records are moved by hand.
    with transaction(catalogue.connection()):
        catalogue.connection().execute("UPDATE models SET seen = seen + 365 * 86400")
    hub.update("org/m3", downloads=5_000)
    hub.update("org/m1", tags=["license:gemma"])
    hub.remove("org/m9")
    done = sync(client(hub), catalogue)
    assert done.changed == 1
    assert done.deleted == 1
    assert catalogue.get("org/m3").downloads == 5_000
    assert catalogue.get("org/m1").value("license") == "gemma"
    assert catalogue.deleted_at("org/m9") is not None
    (latest,) = catalogue.connection().execute("SELECT max(seen) FROM models").fetchone()
    assert latest <= utc_now().timestamp()
    assert catalogue.synced_at <= utc_now()


def test_an_empty_hub_makes_an_empty_catalogue(hub, client, catalogue):
    for name in list(hub):
        hub.remove(name)
    hub.served.clear()
    assert sync(client(hub), catalogue).models == 0
    assert catalogue.synced_at is not None
    assert sync(client(hub), catalogue, full=True).models == 0


# Errors


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
def test_a_wrong_option_is_refused_before_anything_is_asked(hub, client, catalogue, wrong, says):
    with pytest.raises(InputError, match=says):
        sync(client(hub), catalogue, **wrong)
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_a_clear_error(hub, client, catalogue):
    hub.close()
    with pytest.raises(HubError):
        sync(client(hub), catalogue)
    assert catalogue.synced_at is None


def test_offline_nothing_is_asked_and_the_catalogue_stays(hub, client, catalogue, content):
    sync(client(hub), catalogue)
    before, start = content(catalogue), len(hub.requests)
    with pytest.raises(HubOfflineError):
        sync(client(hub, offline=True), catalogue)
    assert paths(hub, start) == []
    assert content(catalogue)["models"] == before["models"]
    assert catalogue.age() is not None


def test_a_bad_token_deletes_no_model(hub, client, catalogue, content):
    sync(client(hub), catalogue)
    hub.remove("org/m9")
    before = content(catalogue)
    with pytest.raises(HubAccessError, match="token"):
        sync(client(hub, token=f"un{hub.token}"), catalogue, refresh=AT_ONCE)
    hub.fail(Gated("org/m9"), times=None)
    with pytest.raises(HubAccessError):
        sync(client(hub, token=hub.token), catalogue, refresh=AT_ONCE)
    assert content(catalogue)["models"] == before["models"]
    assert content(catalogue)["deleted"] == set()


# The lock


def test_a_second_sync_at_the_same_time_is_refused(hub, client, catalogue):
    with (
        Catalogue(catalogue.path) as other,
        sync_lock(other),
        pytest.raises(CatalogueError, match="being synced by process"),
    ):
        sync(client(hub), catalogue)


def test_a_second_sync_is_refused_with_the_process_that_holds_the_lock(catalogue):
    with (
        Catalogue(catalogue.path) as other,
        sync_lock(catalogue),
        pytest.raises(CatalogueError, match=f"synced by process {os.getpid()} on .* since 20"),
        sync_lock(other),
    ):
        pass
    with sync_lock(catalogue):
        pass


def test_the_lock_is_free_again_after_an_error(catalogue):
    with pytest.raises(ZeroDivisionError), sync_lock(catalogue):
        raise ZeroDivisionError
    with sync_lock(catalogue):
        assert catalogue.get_state(LOCK_HOLDER)["process"] == os.getpid()


def test_the_lock_of_another_process_holds_until_that_is_killed(catalogue):
    code = f"""
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_sync import sync_lock
with sync_lock(Catalogue({str(catalogue.path)!r})):
    print("locked", flush=True)
    input()
"""
    other = subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(CatalogueError, match=f"process {other.pid} on"), sync_lock(catalogue):
            pass
        other.kill()
    with sync_lock(catalogue):
        pass


def test_a_lock_file_that_cannot_be_written_is_an_error_that_says_what_to_do(catalogue):
    catalogue.path.with_name("catalogue.sqlite.lock").mkdir(parents=True)
    with (
        pytest.raises(CatalogueError, match=r"cannot be written .*TRYAGE_HOME"),
        sync_lock(catalogue),
    ):
        pass


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user can write everywhere")
def test_a_sync_in_a_read_only_folder_is_an_error_that_says_what_to_do(hub, client, catalogue):
    catalogue.set_state({"synced": 0.0})
    catalogue.close()
    catalogue.path.parent.chmod(0o500)
    try:
        with pytest.raises(CatalogueError, match=r"cannot be written .*TRYAGE_HOME"):
            sync(client(hub), catalogue)
    finally:
        catalogue.close()
        catalogue.path.parent.chmod(0o700)
