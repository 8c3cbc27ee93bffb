"""Facts of inference providers, from `/v1/models` in its documented shape."""

from __future__ import annotations

import json

import pytest

from tryage.hub.model import Model, to_expert
from tryage.hub.providers import parse_served, with_served


def offer(provider="fast", price=None, status="live", **more):
    return {
        "provider": provider,
        "status": status,
        **({} if price is None else {"pricing": {"input": price[0], "output": price[1]}}),
        **more,
    }


@pytest.fixture
def served(fetched_at):
    """The facts about one model that these providers serve; None when none does."""

    def reader(*providers, inputs=("text",)):
        record = {
            "id": "acme/model",
            "object": "model",
            "created": 1750000000,
            "owned_by": "acme",
            "architecture": {"input_modalities": list(inputs), "output_modalities": ["text"]},
            "providers": list(providers),
        }
        return parse_served([record], fetched_at).get("acme/model")

    return reader


def values(facts):
    return {name: fact.value for name, fact in facts.items()}


def test_all_facts_are_those_of_the_cheapest_live_provider(served):
    facts = served(
        offer("expensive", (0.9, 0.9), context_length=131072, supports_tools=True),
        offer(
            "cheap",
            (0.1, 0.3),
            context_length=32768,
            first_token_latency_ms=250,
            throughput=100,
            supports_tools=False,
            supports_structured_output=True,
        ),
        offer("cheaper but not live", (0.01, 0.01), status="error"),
    )
    assert values(facts) == {
        "provider": "cheap",
        "providers": ("cheap", "expensive"),
        "input_price": 0.1,
        "output_price": 0.3,
        "context_length": 32768,
        "max_context_length": 131072,
        "latency": 5.25,  # .25 s to the first token, 500 more at 100 per second
        "capabilities": {"chat", "structured_output"},
        "incapable": {"tools"},
    }
    assert facts["input_price"].source == "served by cheap"


def test_offers_are_compared_at_three_input_tokens_per_output_token(served):
    facts = served(offer("a", (1.0, 1.0)), offer("b", (0.5, 2.4)))  # 4.0 against 3.9
    assert values(facts)["provider"] == "b"


@pytest.mark.parametrize(
    "price",
    [
        None,
        (0.1, None),
        (None, 0.1),
        (0, 0),  # not said to be free
        ("0.1", "0.1"),
        (-1, 1),
        (float("nan"), 1),
        (True, True),
    ],
)
def test_an_unknown_price_is_never_free(served, price):
    facts = served(offer(price=price))
    assert not {"input_price", "output_price"} & facts.keys()
    assert values(facts)["provider"] == "fast"


def test_a_price_is_zero_where_the_provider_says_that_the_model_is_free(served):
    facts = served(offer("paid", (0.1, 0.1)), offer("gift", is_free=True))
    assert (facts["input_price"].value, facts["output_price"].value) == (0.0, 0.0)
    assert values(facts)["provider"] == "gift"
    assert "input_price" not in served(offer(is_free="yes"))


@pytest.mark.parametrize("more", [{}, {"first_token_latency_ms": 90}, {"throughput": 50}])
def test_a_latency_needs_both_first_token_and_throughput(served, more):
    assert "latency" not in served(offer(**more))


def test_without_prices_the_fastest_provider_counts(served):
    slow = offer("slow", first_token_latency_ms=900, throughput=10)
    quick = offer("quick", first_token_latency_ms=100, throughput=90)
    assert values(served(slow, offer("silent"), quick))["provider"] == "quick"


@pytest.mark.parametrize("status", ["staging", "error", None, True])
def test_only_live_providers_count(served, status):
    assert served(offer(status=status)) is None
    assert served() is None


def test_input_modalities_are_capabilities(served):
    facts = served(offer(), inputs=("text", "image", "audio", "smell"))
    assert facts["capabilities"].value == {"chat", "vision", "audio"}


def test_facts_of_the_provider_replace_those_of_the_repository(parse, served):
    model = parse(
        tags=["function-calling", "reasoning"], config={"max_position_embeddings": 131072}
    )
    facts = served(offer("p", (1, 2), context_length=8192, supports_tools=False))
    expert = to_expert(with_served(model, facts))
    assert expert.context_length == 8192
    assert expert.capabilities == {"chat", "reasoning"}
    assert (expert.input_price, expert.output_price) == (1, 2)
    assert expert.metadata["hub"]["provider"] == "p"


def test_capabilities_that_the_provider_does_not_mention_stay(parse, served):
    model = with_served(parse(tags=["function-calling"]), served(offer()))
    assert model.value("capabilities") == {"chat", "tools"}


def test_a_served_model_survives_json(parse, served):
    model = with_served(parse(), served(offer(price=(1, 2), supports_tools=False)))
    assert Model.from_dict(json.loads(json.dumps(model.to_dict()))) == model
    json.dumps(to_expert(model).to_dict())


def test_odd_records_are_left_out(fetched_at):
    odd = [None, 3, {}, {"id": 7}, {"id": "a", "providers": {}}, {"id": "a", "providers": [None]}]
    assert parse_served(odd, fetched_at) == {}


@pytest.mark.parametrize(
    "block",
    [
        {
            "together": {"status": "live", "providerId": "acme/m", "task": "conversational"},
            "gone": {"status": "error", "providerId": "m", "task": "conversational"},
        },
        [
            {"provider": "together", "status": "live", "providerId": "acme/m"},
            {"provider": "gone", "status": "error", "providerId": "m"},
            {"status": "live"},
            None,
        ],
    ],
)
def test_live_providers_are_read_from_a_page_and_from_a_listing(parse, block):
    assert parse(inferenceProviderMapping=block).value("providers") == ("together",)


def test_a_model_without_live_providers_has_no_such_fact(parse):
    assert "providers" not in parse(inferenceProviderMapping={}).facts
