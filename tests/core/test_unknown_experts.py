"""What is not known of experts is said once, with a line that mends it."""

from __future__ import annotations

from tryage import Expert
from tryage.core.unknown_experts import describe_unknown

KNOWN = Expert("known", input_price=1.0, output_price=2.0, context_length=9)


def test_nothing_is_said_where_all_is_known():
    assert describe_unknown([KNOWN], ()) is None
    assert describe_unknown([], ()) is None


def test_names_gaps_assumptions_and_the_line_that_mends_them_are_in_one_message():
    message = describe_unknown([KNOWN, Expert("mine")], {"mine"})
    assert message is not None
    for sentence in (
        "Nothing was measured of 'mine': how well they answer is guessed from their facts.",
        "The prices of 'mine' are unknown: a weight on the cost counts them as the dearest",
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
    assert "Nothing was measured of 'm': " in message
    assert message.count("Expert('m'") == 1


def test_the_line_names_two_models_of_many():
    experts = [Expert(f"m{i}") for i in range(9)]
    message = describe_unknown(experts, [expert.name for expert in experts])
    assert message is not None
    assert "'m5' and 3 more" in message
    assert message.count("Expert(") == 2
    assert ", ...]" in message
