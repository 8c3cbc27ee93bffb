"""Base models that licences depend on: fetched where a listing lacks them, or named as unknown."""

from __future__ import annotations

import pytest

from tryage import Library, Preferences, Router
from tryage.errors import InputError
from tryage.hub.catalog_query import Query
from tryage.hub.license_bases import MAX_BASES, missing_bases
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub
from tryage.testing.hub import ServerError

CHAT = "text-generation"


def record(name, downloads, license_="apache-2.0", base=None, relation="finetune"):
    tags = [] if license_ is None else [f"license:{license_}"]
    return {
        "id": name,
        "pipeline_tag": CHAT,
        "downloads": downloads,
        "tags": tags if base is None else [*tags, f"base_model:{relation}:{base}"],
    }


@pytest.fixture
def hub():
    """A Hub of 2,004 models: the most popular is made from two of the least popular."""
    with LocalHub() as running:
        running.load([record("org/base-instruct", 10**6, base="org/base")])
        running.load([record(f"org/filler-{i}", 10_000 - i, "mit") for i in range(2_000)])
        running.load([record("org/base", 10, base="org/root")])
        running.load([record("org/root", 1)])
        running.load([record("org/tune", 9 * 10**5, base="org/gone")])
        running.load([record("org/copy", 8 * 10**5, base="org/closed")])
        running.load([record("org/closed", 2, license_="cc-by-nc-4.0")])
        running.load([record("org/plain", 7 * 10**5)])
        yield running


@pytest.fixture
def load(catalogue, hub):
    settings = HubSettings(endpoint=hub.url, inference=hub.url, retries=0)

    def read(**query):
        return Library.from_hub(CHAT, catalogue=catalogue, settings=settings, **query)

    return read


@pytest.mark.parametrize("limit", [1, 2, 5, 500])
def test_a_model_is_found_whose_base_is_on_no_page_of_the_listing(load, limit):
    assert load(limit=limit, license=["apache-2.0"]).names[0] == "org/base-instruct"


def test_the_licence_of_a_base_counts_and_a_base_that_the_hub_lacks_stays_unknown(load):
    assert set(load(limit=500, license=["apache-2.0"]).names) == {
        "org/base-instruct", "org/plain", "org/base", "org/root",
    }  # fmt: skip


def test_bases_are_fetched_once_and_absent_ones_are_not_asked_for_again_today(load, hub):
    load(limit=500, license=["apache-2.0"])
    assert [request.path for request in hub.requests].count("/api/models/org/gone") == 1
    count = len(hub.requests)
    load(limit=500, license=["apache-2.0"])
    assert len(hub.requests) == count


def test_without_a_condition_on_the_licence_no_base_is_fetched(load, hub):
    load(limit=5)
    assert not [request for request in hub.requests if "org/base" in request.path]


def test_a_catalogue_with_enough_models_still_gets_the_bases_that_it_needs(load, catalogue):
    load(limit=5)  # the page has base-instruct, not its base
    assert missing_bases(catalogue, Query(task=CHAT, license=["apache-2.0"], limit=1)) == [
        "org/base"
    ]
    assert load(limit=1, license=["apache-2.0"]).names == ("org/base-instruct",)


def test_a_hub_that_fails_leaves_the_models_that_are_known(load, hub):
    load(limit=5)
    hub.fail(ServerError(503), times=None)
    with pytest.warns(UserWarning, match="could not be asked"):
        assert load(limit=1, license=["apache-2.0"]).names == ("org/plain",)


def test_at_most_some_hundred_bases_are_fetched(catalogue):
    with LocalHub() as hub:
        hub.load([record(f"org/m{i}", 1_000 - i, base=f"org/b{i}") for i in range(300)])
        settings = HubSettings(endpoint=hub.url, inference=hub.url, retries=0)
        hub.load([record("org/plain", 1)])
        Library.from_hub(
            CHAT, catalogue=catalogue, settings=settings, limit=500, license=["apache-2.0"]
        )
        asked = [request for request in hub.requests if "/api/models/org/b" in request.path]
    assert len(asked) == MAX_BASES


def test_what_is_left_out_is_named_with_the_reason(load):
    library = load(limit=500, license=["apache-2.0"])
    text = library.explain_missing()
    assert text.splitlines()[0] == "Left out because something about them is unknown: 1 models."
    assert "license: 1" in text
    assert "  org/tune: " in text
    assert "base org/gone is not known here" in text
    assert "org/copy" not in text  # its licence is known, and it is another one


def test_a_router_names_them_too_and_a_subset_cannot(catalogue, hub):
    settings = HubSettings(endpoint=hub.url, inference=hub.url, retries=0)
    router = Router.from_hub(
        CHAT, catalogue=catalogue, settings=settings, limit=500, license=["apache-2.0"]
    )
    assert "org/gone" in router.explain_missing()
    kept = router.with_preferences(Preferences({"cost": 1}))
    assert kept.explain_missing() == router.explain_missing()
    with pytest.raises(InputError, match="ask the whole library"):
        router.subset(["org/plain"]).explain_missing()
    with pytest.raises(InputError, match="from_hub"):
        Library(["a"]).explain_missing()


def test_without_a_condition_on_a_fact_nothing_is_left_out(load):
    assert load(limit=5).explain_missing() == (
        "No model is left out because something about it is unknown."
    )
