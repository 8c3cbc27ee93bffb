"""Experts that are given by name alone have the numbers of public tables, or of their family."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.models.lookup import look_up
from tryage.models.results import prior_results
from tryage.perception import public_facts
from tryage.perception.public_facts import add_public_facts, with_published_facts

FIELDS = ("released", "output_price", "context_length", "index", "overall")


def fill(*experts, **own):
    """Fill gaps of experts of which nothing is known but `own` columns."""
    facts = {name: np.full(len(experts), np.nan) for name in FIELDS}
    facts |= {name: np.array(column) for name, column in own.items()}
    return facts, add_public_facts(Library(experts), facts)


def test_a_known_name_has_the_facts_and_the_results_of_public_tables():
    facts, is_expected = fill("openai:gpt-5")
    model = look_up("openai:gpt-5")
    assert facts["output_price"][0] == model.value("output_price")
    assert facts["context_length"][0] == model.value("context_length")
    assert facts["index"][0] == prior_results("gpt-5")["index"]
    assert not is_expected[0]


def test_what_the_library_says_is_kept():
    facts, _ = fill("gpt-5", output_price=[3.0])
    assert facts["output_price"][0] == 3.0
    assert facts["index"][0] == prior_results("gpt-5")["index"]


def test_what_is_published_of_a_model_comes_before_what_its_user_pays_and_serves():
    published = Expert("gpt-5", output_price=10.0, context_length=400_000)
    own = with_published_facts(Expert("gpt-5", output_price=3.0, context_length=8_000), published)
    facts, _ = fill(own, output_price=[3.0], context_length=[8_000.0])
    assert (facts["output_price"][0], facts["context_length"][0]) == (10.0, 400_000)
    assert (own.output_price, own.context_length) == (3.0, 8_000)
    same = Expert("gpt-5", output_price=10.0)
    assert with_published_facts(same, Expert("gpt-5", output_price=10.0)) is same


@pytest.mark.parametrize(
    "published",
    [7, {"output_price": "high"}, {"output_price": -1}, {"output_price": float("nan")}, {"x": 1}],
)
def test_published_facts_of_unknown_origin_are_read_only_if_they_are_numbers(published):
    expert = Expert("mine", metadata={"published": published})
    facts, _ = fill(expert, output_price=[3.0])
    assert facts["output_price"][0] == 3.0


def test_an_unknown_name_of_a_known_family_has_expected_facts_and_no_results():
    facts, is_expected = fill("gpt-9-mini")
    assert is_expected[0]
    assert facts["released"][0] > 0
    assert facts["output_price"][0] > 0
    assert np.isnan(facts["index"][0])


def test_nothing_is_expected_of_a_model_whose_price_is_told():
    facts, is_expected = fill("gpt-9-mini", output_price=[1.0])
    assert not is_expected[0]
    assert np.isnan(facts["released"][0])


def test_a_stranger_stays_unknown():
    facts, is_expected = fill("me/thing")
    assert all(np.isnan(column[0]) for column in facts.values())
    assert not is_expected[0]


def test_a_free_local_server_does_not_make_a_model_look_cheap():
    assert fill("ollama:gemma3")[0]["output_price"][0] > 0 or np.isnan(
        fill("ollama:gemma3")[0]["output_price"][0]
    )


@pytest.mark.parametrize("metadata", [{"hub": {"likes": 3}}, {"hub": {}}])
def test_an_expert_of_the_catalogue_is_not_looked_up(metadata):
    facts, _ = fill(Expert("openai/gpt-5", metadata=metadata))
    assert np.isnan(facts["index"][0])


def test_a_library_as_large_as_a_catalogue_is_not_looked_up(monkeypatch):
    monkeypatch.setattr(public_facts, "MAX_EXPERTS", 1)
    monkeypatch.setattr(public_facts, "look_up", lambda _: pytest.fail("it was looked up"))
    facts, _ = fill("gpt-5", "gpt-5-mini")
    assert np.isnan(facts["index"]).all()
