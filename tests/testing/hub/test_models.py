"""A listing has the JSON, the filters and the pages of the Hub's."""

from __future__ import annotations

import pytest


def test_a_listed_model_has_the_fields_of_a_recorded_answer(hub, ask):
    hub.add("org/a", downloads=3, tags=["x"], pipeline_tag="text-generation")
    (item,) = ask.get("/api/models").json()
    # without library_name, which the Hub leaves out as well if it is unknown
    assert set(item) == {"_id", "id", "modelId", "likes", "trendingScore", "private", "downloads",
                         "tags", "pipeline_tag", "createdAt"}  # fmt: skip
    assert len(item["_id"]) == 24


@pytest.mark.parametrize("spelling", ["expand", "expand[]"])
def test_expand_returns_exactly_the_requested_fields(hub, ask, spelling):
    hub.add("org/a", downloads=3, gated="manual", gguf={"total": 7})
    params = [(spelling, "gated"), (spelling, "gguf"), (spelling, "evalResults")]
    (item,) = ask.get("/api/models", params=params).json()
    assert set(item) == {"_id", "id", "gated", "gguf"}


def test_an_unknown_expand_is_refused_with_a_list_of_the_known_ones(ask):
    reply = ask.get("/api/models", params={"expand": ["gated", "securityStatus"]})
    assert reply.status_code == 400
    assert 'Invalid option: expected one of "author"|"baseModels"|' in reply.json()["error"]
    assert reply.json()["error"].endswith("at expand[1]")


def test_providers_are_a_list_in_a_listing_and_an_object_in_an_info(hub, ask):
    mapping = {"together": {"status": "live", "providerId": "a"}}
    hub.add("org/a", inferenceProviderMapping=mapping)
    params = {"expand": "inferenceProviderMapping"}
    (listed,) = ask.get("/api/models", params=params).json()
    info = ask.get("/api/models/org/a", params=params).json()
    assert listed["inferenceProviderMapping"] == [
        {"provider": "together", "status": "live", "providerId": "a"}
    ]
    assert info["inferenceProviderMapping"] == mapping


def test_the_address_of_the_next_page_is_absolute_and_keeps_the_parameters(hub, ask):
    hub.load({"id": f"o/m{i}", "tags": ["x"]} for i in range(3))
    params = {"expand[]": ["likes", "tags"], "filter": "x", "limit": 2, "sort": "likes"}
    link = ask.get("/api/models", params=params).links["next"]["url"]
    assert link.startswith(f"{hub.url}/api/models?")
    assert set(ask.get(link).json()[0]) == {"_id", "id", "likes", "tags"}


def test_filters_narrow_a_listing(hub, ask, names):
    hub.add("meta/Llama", tags=["license:mit", "en"], pipeline_tag="text-generation",
            safetensors={"total": 8_000_000_000}, gated="auto")  # fmt: skip
    hub.add("meta/tiny", tags=["license:mit"], gguf={"total": 1_000_000})
    hub.add("other/x", inferenceProviderMapping={"groq": {"status": "live"}})
    assert set(names(ask)) == {"meta/Llama", "meta/tiny", "other/x"}
    queries = {
        "meta/Llama": [{"filter": ["license:mit", "en"]}, {"filter": "text-generation"},
                       {"search": "lLaMa"}, {"pipeline_tag": "text-generation"}, {"gated": True},
                       {"num_parameters": "min:6B,max:128B"}],
        "meta/tiny": [{"author": "meta", "gated": False}, {"num_parameters": "max:1M"}],
        "other/x": [{"inference_provider": "groq"}, {"inference_provider": "all"},
                    {"inference": "warm"}],
    }  # fmt: skip
    for expected, params in queries.items():
        for one in params:
            assert names(ask, **one) == [expected], one
    assert names(ask, filter="en,fr") == []


def test_private_models_are_listed_only_for_their_owner(hub, ask, anonymous, names):
    hub.add("tester/secret", private=True)
    assert names(ask) == ["tester/secret"]
    assert names(anonymous) == []


@pytest.mark.parametrize(
    "params",
    [{"sort": "size"}, {"limit": "0"}, {"limit": "x"}, {"cursor": "?"}, {"num_parameters": "6B"},
     {"cursor": "WzEsICJhIl0=", "sort": "createdAt"}, {"expand": "likes", "full": "true"}],
)  # fmt: skip
def test_invalid_parameters_are_refused_with_400(hub, ask, params):
    hub.add("org/a")
    reply = ask.get("/api/models", params=params)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_a_page_holds_at_most_a_thousand_models(hub, ask, names):
    hub.load({"id": f"o/m{i}"} for i in range(1001))
    assert len(ask.get("/api/models", params={"limit": 5000}).json()) == 1000
    assert len(names(ask)) == 1001
