"""What is not known of experts is said once, with a line that mends it."""

from __future__ import annotations

from tryage import Expert, Library
from tryage.core.unknown_experts import announce_once, describe_unknown, example_reference

KNOWN = Expert("known", input_price=1.0, output_price=2.0, context_length=9)


def test_nothing_is_said_where_all_is_known():
    assert describe_unknown([KNOWN], ()) is None
    assert describe_unknown([], ()) is None


def test_names_gaps_assumptions_and_the_line_that_mends_them_are_in_one_message():
    message = describe_unknown([KNOWN, Expert("mine")], {"mine"})
    assert message is not None
    for sentence in (
        "Nothing is known of 'mine': how well they answer is guessed from the name and price.",
        "The prices of 'mine' are unknown: they count as 15 and 75 USD per million tokens, with a "
        "weight on cost as the dearest, and max_cost leaves them out.",
        "The context of 'mine' is unknown: no prompt counts as too long.",
        "experts=[Expert('mine', about_as_good_as='claude-haiku-4-5', input_price=..., "
        "output_price=..., context_length=...)].",
    ):
        assert sentence in message
    assert "'known'" not in message


def test_only_what_is_missing_is_in_the_line():
    message = describe_unknown([Expert("a", input_price=1.0, context_length=8)], ())
    assert message is not None
    assert message.startswith("The prices of 'a' are unknown")
    assert "experts=[Expert('a', output_price=...)]" in message
    assert describe_unknown([Expert("a", input_price=1.0, output_price=1.0)], ()) is None


def test_a_model_with_several_efforts_is_named_once():
    efforts = [Expert(f"m@{effort}", effort=effort) for effort in ("low", "high")]
    message = describe_unknown(efforts, {"m@low", "m@high"})
    assert message is not None
    assert "Nothing is known of 'm': " in message
    assert message.count("Expert('m'") == 1


def test_the_line_names_two_models_of_many():
    experts = [Expert(f"m{i}") for i in range(9)]
    message = describe_unknown(experts, [expert.name for expert in experts])
    assert message is not None
    assert "'m5' and 3 more" in message
    assert message.count("Expert(") == 2
    assert ", ...]" in message


def test_the_example_is_never_the_model_itself():
    assert example_reference(Expert("mine")) == "claude-haiku-4-5"
    assert example_reference(Expert("anthropic:claude-haiku-4-5@low")) == "gpt-5-mini"


def test_a_library_is_announced_once():
    library, calls = Library(["a"]), []
    for _ in range(2):
        announce_once(library, lambda: calls.append(1))
    announce_once(Library(["a"]), lambda: calls.append(2))
    assert calls == [1, 2]


class Names(list):
    """A list in which nothing may be looked for: with many experts that takes hours."""

    def __contains__(self, name):
        raise AssertionError(name)


def test_of_many_names_none_is_looked_for_in_a_list():
    experts = [Expert(f"m{i}") for i in range(50)]
    assert "and 44 more" in describe_unknown(experts, Names(one.name for one in experts))
