"""One line says what an unknown model is like: its quality, and its price or half of it."""

from __future__ import annotations

import pytest

from tryage import Expert, Library, Router, like
from tryage.chat.candidates import ClientFacts, candidate_experts
from tryage.chat.like import read_experts
from tryage.chat.model_names import bundled_library
from tryage.errors import InputError
from tryage.models.lookup import look_up

MINI = look_up("gpt-5-mini")


def test_quality_and_prices_are_those_of_the_reference_and_nothing_else():
    expert = like("gpt-5-mini", name="mine")
    assert (expert.name, expert.about_as_good_as) == ("mine", "gpt-5-mini")
    assert expert.input_price == MINI.value("input_price")
    assert expert.output_price == MINI.value("output_price")
    assert (expert.context_length, expert.capabilities, expert.released) == (None, None, None)


def test_a_cheaper_model_costs_half():
    expert = like("openai:gpt-5-mini", cheaper=True)
    assert expert.output_price == MINI.value("output_price") / 2
    assert expert.input_price == MINI.value("input_price") / 2
    assert "half" in expert.metadata["sources"]["output_price"]


def test_facts_replace_what_is_taken_over():
    expert = like("gpt-5-mini", cheaper=True, output_price=9.0, context_length=8, metadata={"a": 1})
    assert (expert.output_price, expert.context_length, expert.metadata["a"]) == (9.0, 8, 1)
    assert "output_price" not in expert.metadata["sources"]


def test_a_model_that_only_the_bundled_router_knows_may_be_the_reference():
    name = next(
        one.name
        for one in bundled_library()
        if one.output_price is None and look_up(one.name) is None
    )
    assert like(name).about_as_good_as == name
    with pytest.raises(InputError, match="Give input_price and output_price instead of cheaper"):
        like(name, cheaper=True)
    assert like(name, cheaper=True, output_price=1).output_price == 1


def test_wrong_arguments_are_errors_that_say_what_to_do():
    with pytest.raises(
        InputError, match=r"'gpt-5-minni' is no known model. Did you mean gpt-5-mini"
    ):
        like("gpt-5-minni")
    with pytest.raises(InputError, match="cheaper is 2; expected True or False"):
        like("gpt-5-mini", cheaper=2)
    with pytest.raises(InputError, match=r"like has no argument 'input_prise'.*input_price"):
        like("gpt-5-mini", input_prise=2)
    with pytest.raises(InputError, match="metadata must be a dict"):
        like("gpt-5-mini", metadata=3)
    for wrong in ("", None, 3, ["gpt-5"]):
        with pytest.raises(InputError, match="needs the name of a known model"):
            like(wrong)


def test_a_router_predicts_it_as_well_as_the_reference():
    perception = Router.from_pretrained().perception
    library = Library(["gpt-4o-2024-11-20", like("gpt-4o", name="mine", cheaper=True)])
    first, second = Router(perception, library).route("hi").ranking
    assert first.predicted_loss == pytest.approx(second.predicted_loss, abs=1e-6)


def test_experts_may_be_a_dict_by_the_names_of_models():
    experts = read_experts({"mine": like("gpt-5-mini"), "b": {"name": "x", "latency": 2.0}})
    assert [(one.name, one.latency) for one in experts] == [("mine", None), ("b", 2.0)]
    assert read_experts([Expert("a")]) == (Expert("a"),)
    for wrong in ("a", Expert("a"), 3, {"a": "gpt-5-mini"}, {1: Expert("a")}):
        with pytest.raises(InputError):
            read_experts(wrong)


@pytest.mark.usefixtures("no_catalogue")
def test_a_model_on_this_machine_stays_free_whatever_it_is_like():
    told = like("gpt-5-mini", name="ollama:mine")
    (expert,) = candidate_experts({"ollama:mine": ClientFacts(None, {})}, None, [told])
    assert (expert.output_price, expert.about_as_good_as) == (0.0, "gpt-5-mini")
    priced = like("gpt-5-mini", name="ollama:mine", input_price=1.0, output_price=2.0)
    (expert,) = candidate_experts({"ollama:mine": ClientFacts(None, {})}, None, [priced])
    assert (expert.input_price, expert.output_price) == (1.0, 2.0)


@pytest.fixture
def no_catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
