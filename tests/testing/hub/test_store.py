"""Names, metadata and sorted pages stay right while models change."""

from __future__ import annotations

import itertools

import pytest

from tryage.errors import InputError


def test_a_new_model_may_have_the_name_of_a_former_one(hub, ask):
    first = hub.add("org/a")
    hub.rename("org/a", "org/b")
    second = hub.add("org/a")
    assert ask.get("/api/models/org/a").json()["_id"] == second != first
    hub.remove("org/a")
    assert hub.add("org/a") not in {first, second}
    with pytest.raises(InputError, match="org/b"):
        hub.rename("org/a", "org/b")


def test_a_changed_field_leaves_the_date_unchanged_and_none_removes_a_field(hub, ask):
    hub.add("org/a", {"a.txt": "x"}, pipeline_tag="text-generation")
    before = hub.record("org/a")["lastModified"]
    hub.update("org/a", downloads=7, pipeline_tag=None)
    info = ask.get("/api/models/org/a").json()
    assert (info["downloads"], info["lastModified"]) == (7, before)
    assert "pipeline_tag" not in info


@pytest.mark.parametrize("sort", ["downloads", "likes", "trendingScore", "createdAt"])
@pytest.mark.parametrize("ascending", [False, True])
def test_pages_hold_every_model_once_in_order(hub, ask, walk, sort, ascending):
    date = "2025-01-{:02}T00:00:00.000Z".format
    hub.load(
        {"id": f"o/m{i}", sort: date(i % 5 + 1) if sort == "createdAt" else i % 5}
        for i in range(53)
    )
    direction = {"direction": 1} if ascending else {}
    items = list(walk(ask, sort=sort, limit=7, expand=[sort], **direction))
    assert len({item["_id"] for item in items}) == 53 == len(items)
    values = [item[sort] for item in items]
    assert values == sorted(values, reverse=not ascending)


def test_a_cursor_neither_repeats_nor_hides_models_while_others_change(hub, ask, walk):
    hub.load({"id": f"o/m{i:02}", "downloads": i} for i in range(40))
    first = ask.get("/api/models", params={"sort": "downloads", "limit": 10})
    hub.remove("o/m30")  # the last model of the page, which the cursor names
    hub.update("o/m05", downloads=1000)  # moves to the front
    hub.add("o/new", downloads=20.5)
    hub.rename("o/m20", "o/renamed")
    rest = [item["id"] for item in walk(ask, first.links["next"]["url"])]
    expected = [f"o/m{i:02}" for i in range(29, -1, -1) if i != 5]
    expected[expected.index("o/m20")] = "o/renamed"
    expected.insert(expected.index("o/renamed"), "o/new")
    assert rest == expected


def test_a_listing_that_was_dropped_from_memory_is_sorted_again(hub, ask, names):
    hub.load({"id": f"o/m{i}", "downloads": i} for i in range(5))
    for word in itertools.islice(iter("abcdefghijklmnopqrstu"), 20):
        assert names(ask, search=f"{word}zz") == []
    hub.add("o/m9", downloads=9)
    assert names(ask, sort="downloads") == ["o/m9", "o/m4", "o/m3", "o/m2", "o/m1", "o/m0"]
