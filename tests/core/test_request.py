"""A checked batch: preferences and conversations per prompt, and flags."""

from __future__ import annotations

import pytest

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences, Requirement
from tryage.core.request import (
    ConversationContext,
    RoutingRequest,
    apply_flags,
    build_requests,
    check_preferences,
    check_prompts,
    conversation_state,
    group_by_preferences,
    merge_preferences,
    read_preferences,
)
from tryage.errors import FlagError, InputError

SIZE, COST, MIT = (
    Preferences({"size": 1.0}),
    Preferences({"cost": 1.0}),
    Preferences(licenses=["mit"]),
)


def build(prompts, preferences=None, contexts=None, defaults=SIZE):
    return build_requests(
        prompts, preferences, contexts, defaults=defaults, constraints=DEFAULT_CONSTRAINTS
    )


def test_preferences_of_a_call_are_merged_with_the_defaults():
    (one,) = build(["a"], MIT)
    assert one.preferences.weights == SIZE.weights
    assert one.preferences.requirements == MIT.requirements
    assert [one.preferences for one in build(["a", "b"], [None, MIT], defaults=COST)] == [
        COST,
        merge_preferences(COST, MIT),
    ]


def test_weights_of_a_call_replace_those_of_the_same_name_and_requirements_add_up():
    own = Preferences({"size": 1.0, "cost": 0.5}, licenses=["mit"])
    merged = merge_preferences(own, Preferences({"size": 0.0}, max_parameters=8e9))
    assert merged.weights == {"size": 0.0, "cost": 0.5}
    assert merged.requirements == (
        Requirement("license", "in", ("mit",)),
        Requirement("parameters", "<=", 8e9),
    )


def test_a_batch_needs_one_element_of_preferences_and_contexts_per_prompt():
    with pytest.raises(InputError, match="1 preferences for 2 prompts"):
        build(["a", "b"], [None])
    with pytest.raises(InputError, match="1 contexts for 2 prompts"):
        build(["a", "b"], contexts=[ConversationContext(1)])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [("abc", "a str; expected a list"), (None, "NoneType"), (["a", 1], "Prompt 1 is a int")],
)
def test_prompts_that_are_not_a_list_of_strings_are_refused(prompts, message):
    with pytest.raises(InputError, match=message):
        check_prompts(prompts)


def test_preferences_may_be_a_preset_or_a_dict():
    thrifty = Preferences.preset("thrifty")
    assert check_preferences("thrifty", DEFAULT_CONSTRAINTS) == thrifty
    assert read_preferences(thrifty.to_dict()) == thrifty
    with pytest.raises(InputError, match="Did you mean thrifty"):
        read_preferences("thrify")
    with pytest.raises(InputError, match="tryage_preferences is a list; expected Preferences"):
        read_preferences([thrifty], "tryage_preferences")


def test_none_means_no_preferences_and_other_types_are_refused():
    assert check_preferences(None, DEFAULT_CONSTRAINTS) == Preferences()
    with pytest.raises(InputError, match="preferences is a float; expected Preferences"):
        check_preferences(1.0, DEFAULT_CONSTRAINTS)
    with pytest.raises(InputError, match="Did you mean size"):
        check_preferences(Preferences({"sise": 1.0}), DEFAULT_CONSTRAINTS)


def test_flags_tighten_the_preferences_and_leave_the_text():
    request = RoutingRequest("hello [Flag: size=0.5, license=mit]", SIZE)
    library = Library([Expert("a", license="mit")])
    applied = apply_flags(request, library, strict=False)
    assert (applied.text, applied.flags) == ("hello", ("size=0.5", "license=mit"))
    assert applied.preferences == Preferences({"size": 1.0}, licenses=["mit"])
    assert applied.operator_preferences == SIZE
    malformed = RoutingRequest("hello [Flag: smalest]", SIZE)
    assert apply_flags(malformed, library, strict=False).warnings
    with pytest.raises(FlagError):
        apply_flags(malformed, library, strict=True)


def test_a_request_without_its_flags_has_the_preferences_of_the_operator_and_a_warning():
    library = Library(["a"])
    request = apply_flags(RoutingRequest("hi [Flag: size<1, newest]", SIZE), library, strict=False)
    assert request.has_flag_requirements
    plain = request.without_flags()
    assert (plain.text, plain.preferences, plain.flags) == ("hi", SIZE, ())
    assert plain.dropped_flags == ("size<1", "newest")
    assert plain.warnings == ("The flags leave no expert, so they are dropped: size<1, newest.",)
    assert not plain.has_flag_requirements
    assert not apply_flags(
        RoutingRequest("[Flag: new]", SIZE), library, strict=False
    ).has_flag_requirements


def test_rows_are_grouped_by_equal_preferences():
    requests = build(["a", "b", "c"], [COST, None, COST], defaults=Preferences())
    groups = {
        preferences: rows.tolist() for preferences, rows in group_by_preferences(requests).items()
    }
    assert groups == {COST: [0, 2], Preferences(): [1]}


def test_the_serving_expert_is_found_by_any_of_its_names_or_is_absent():
    contexts = [ConversationContext(9, "B", 5), ConversationContext(9, "gone", 5), None]
    requests = [RoutingRequest("x", SIZE, context=context) for context in contexts]
    state = conversation_state(requests, Library(["a", "b"]))
    assert state.current.tolist() == [1, -1, -1]
    assert state.cached_tokens.tolist() == [5, 5, 0]
    assert conversation_state(requests[2:], Library(["a", "b"])) is None


@pytest.mark.parametrize(
    ("name", "value"), [("tags", "critical"), ("tags", None), ("tools", "search"), ("keys", "t1")]
)
def test_tags_and_tools_that_are_no_list_and_keys_that_are_no_mapping_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be a"):
        ConversationContext(**{name: value})


def test_numbers_as_keys_become_texts_and_unknown_keys_are_left_out():
    context = ConversationContext(keys={"thread_id": 7, "user_id": None})
    assert context.keys == {"thread_id": "7"}
