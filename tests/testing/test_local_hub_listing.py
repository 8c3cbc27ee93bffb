"""The listing of the local Hub has the wire shapes, filters, orders and pages of the real one."""

from __future__ import annotations

import itertools

import pytest


def walk(client, target="/api/models", **params):
    """Return all items, page by page, following the Link header."""
    reply = client.get(target, params=params or None)
    while True:
        assert reply.status_code == 200, reply.text
        yield from reply.json()
        if "next" not in reply.links:
            return
        reply = client.get(reply.links["next"]["url"])


def names(client, **params):
    return [item["id"] for item in walk(client, **params)]


def test_a_listed_model_has_the_fields_of_a_recorded_answer(hub, ask):
    hub.add("org/a", downloads=3, tags=["x"], pipeline_tag="text-generation")
    (item,) = ask.get("/api/models").json()
    # without library_name, which the Hub leaves out as well where there is none
    assert set(item) == {"_id", "id", "modelId", "likes", "trendingScore", "private", "downloads",
                         "tags", "pipeline_tag", "createdAt"}  # fmt: skip
    assert len(item["_id"]) == 24


@pytest.mark.parametrize("spelling", ["expand", "expand[]"])
def test_expand_gives_exactly_the_fields_asked_for(hub, ask, spelling):
    hub.add("org/a", downloads=3, gated="manual", gguf={"total": 7})
    params = [(spelling, "gated"), (spelling, "gguf"), (spelling, "evalResults")]
    (item,) = ask.get("/api/models", params=params).json()
    assert set(item) == {"_id", "id", "gated", "gguf"}


def test_an_unknown_expand_is_refused_with_the_list_of_those_there_are(ask):
    reply = ask.get("/api/models", params={"expand": ["gated", "securityStatus"]})
    assert reply.status_code == 400
    assert 'Invalid option: expected one of "author"|"baseModels"|' in reply.json()["error"]
    assert reply.json()["error"].endswith("at expand[1]")


def test_providers_are_a_list_in_a_listing_and_an_object_in_an_info(hub, ask):
    mapping = {"together": {"status": "live", "providerId": "a"}}
    hub.add("org/a", inferenceProviderMapping=mapping)
    params = {"expand": "inferenceProviderMapping"}
    (listed,) = ask.get("/api/models", params=params).json()
    told = ask.get("/api/models/org/a", params=params).json()
    assert listed["inferenceProviderMapping"] == [
        {"provider": "together", "status": "live", "providerId": "a"}
    ]
    assert told["inferenceProviderMapping"] == mapping


@pytest.mark.parametrize("sort", ["downloads", "likes", "trendingScore", "createdAt"])
@pytest.mark.parametrize("ascending", [False, True])
def test_pages_hold_every_model_once_in_order(hub, ask, sort, ascending):
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


def test_a_cursor_neither_repeats_nor_hides_models_while_others_change(hub, ask):
    hub.load({"id": f"o/m{i:02}", "downloads": i} for i in range(40))
    first = ask.get("/api/models", params={"sort": "downloads", "limit": 10})
    hub.remove("o/m30")  # the last one shown, where the cursor stands
    hub.update("o/m05", downloads=1000)  # jumps to the front
    hub.add("o/new", downloads=20.5)
    hub.rename("o/m20", "o/renamed")
    rest = [item["id"] for item in walk(ask, first.links["next"]["url"])]
    expected = [f"o/m{i:02}" for i in range(29, -1, -1) if i != 5]
    expected[expected.index("o/m20")] = "o/renamed"
    expected.insert(expected.index("o/renamed"), "o/new")
    assert rest == expected


def test_the_address_of_the_next_page_is_absolute_and_keeps_the_question(hub, ask):
    hub.load({"id": f"o/m{i}", "tags": ["x"]} for i in range(3))
    params = {"expand[]": ["likes", "tags"], "filter": "x", "limit": 2, "sort": "likes"}
    link = ask.get("/api/models", params=params).links["next"]["url"]
    assert link.startswith(f"{hub.url}/api/models?")
    assert set(ask.get(link).json()[0]) == {"_id", "id", "likes", "tags"}


def test_filters_narrow_a_listing(hub, ask):
    hub.add("meta/Llama", tags=["license:mit", "en"], pipeline_tag="text-generation",
            safetensors={"total": 8_000_000_000}, gated="auto")  # fmt: skip
    hub.add("meta/tiny", tags=["license:mit"], gguf={"total": 1_000_000})
    hub.add("other/x", inferenceProviderMapping={"groq": {"status": "live"}})
    assert set(names(ask)) == {"meta/Llama", "meta/tiny", "other/x"}
    asked = {
        "meta/Llama": [{"filter": ["license:mit", "en"]}, {"filter": "text-generation"},
                       {"search": "lLaMa"}, {"pipeline_tag": "text-generation"}, {"gated": True},
                       {"num_parameters": "min:6B,max:128B"}],
        "meta/tiny": [{"author": "meta", "gated": False}, {"num_parameters": "max:1M"}],
        "other/x": [{"inference_provider": "groq"}, {"inference_provider": "all"},
                    {"inference": "warm"}],
    }  # fmt: skip
    for expected, questions in asked.items():
        for question in questions:
            assert names(ask, **question) == [expected], question
    assert names(ask, filter="en,fr") == []


def test_private_models_are_listed_for_their_owner_alone(hub, ask, stranger):
    hub.add("tester/secret", private=True)
    assert names(ask) == ["tester/secret"]
    assert names(stranger) == []


@pytest.mark.parametrize(
    "params",
    [{"sort": "size"}, {"limit": "0"}, {"limit": "x"}, {"cursor": "?"}, {"num_parameters": "6B"},
     {"cursor": "WzEsICJhIl0=", "sort": "createdAt"}, {"expand": "likes", "full": "true"}],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_a_400(hub, ask, params):
    hub.add("org/a")
    reply = ask.get("/api/models", params=params)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_a_page_holds_at_most_a_thousand(hub, ask):
    hub.load({"id": f"o/m{i}"} for i in range(1001))
    assert len(ask.get("/api/models", params={"limit": 5000}).json()) == 1000
    assert len(names(ask)) == 1001


def test_orders_that_are_not_asked_for_again_are_dropped_and_come_back_right(hub, ask):
    hub.load({"id": f"o/m{i}", "downloads": i} for i in range(5))
    for word in itertools.islice(iter("abcdefghijklmnopqrstu"), 20):
        assert names(ask, search=f"{word}zz") == []
    hub.add("o/m9", downloads=9)
    assert names(ask, sort="downloads") == ["o/m9", "o/m4", "o/m3", "o/m2", "o/m1", "o/m0"]
