"""The models that are tested: their names, their facts, and their prices."""

import pytest

from tryage import Expert, Library
from tryage.errors import InputError
from tryage.onboarding.candidates import (
    Candidate,
    check_prices,
    find_candidates,
    model_name,
    with_known_facts,
)


def ask(text):
    return text


class Client:
    def __init__(self, **attributes):
        self.__dict__ |= attributes

    def invoke(self, text):
        return text


class Metadata:
    model_name = "from-metadata"


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (Client(model_name="a"), "a"),
        (Client(model="b"), "b"),
        (Client(metadata=Metadata()), "from-metadata"),
        (ask, "ask"),
        ("openai:gpt-5.4-mini", "openai:gpt-5.4-mini"),
    ],
)
def test_a_client_says_its_name_in_the_words_of_its_framework(client, name):
    assert model_name(client) == name


def test_a_client_without_a_name_is_refused_with_what_to_do():
    with pytest.raises(InputError, match="Give it a name"):
        model_name(lambda text: text)


def test_prices_of_known_models_come_from_public_tables():
    found = with_known_facts(Expert("openai:gpt-4o-mini"))
    assert found.name == "openai:gpt-4o-mini"
    assert found.input_price is not None
    assert found.output_price is not None


def test_what_the_user_says_comes_before_what_tables_say():
    assert with_known_facts(Expert("gpt-4o-mini", input_price=0.0)).input_price == 0.0


def test_an_alias_means_the_expert_of_the_library():
    library = Library([Expert("long-name", aliases=("short",), input_price=1.0)])
    found = find_candidates({"short": ask}, library)
    assert found[0].name == "long-name"
    assert found[0].expert.input_price == 1.0


def test_an_unknown_price_is_never_free():
    free = Candidate(Expert("free", input_price=0.0, output_price=0.0), ask)
    check_prices([free])
    with pytest.raises(InputError, match="half are unknown"):
        check_prices([free, Candidate(Expert("half", input_price=0.0), ask)])


def test_a_client_that_cannot_be_asked_is_refused():
    with pytest.raises(InputError, match="cannot be asked"):
        Candidate(Expert("x"), 3)
    with pytest.raises(InputError, match="needs an Expert"):
        Candidate("x", ask)
