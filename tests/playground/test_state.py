"""The state of the page as pairs of a form or a link, and back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.preferences import Requirement
from tryage.errors import InputError
from tryage_playground.policy_choice import PolicyChoice
from tryage_playground.state import (
    WEIGHTS,
    PageState,
    Side,
    format_number,
    read_state,
    to_query,
)

DEFAULT = PageState(models=("a", "b"))

numbers = st.none() | st.floats(1e-6, 1e6)
policies = st.builds(PolicyChoice, st.just("quality_gap"), st.floats(0, 1)) | st.builds(
    PolicyChoice, st.just("threshold"), st.floats(0, 1), st.just("a"), st.just("b c&d")
)
sides = st.builds(
    Side,
    numbers,
    st.none() | st.floats(0, 1),
    st.dictionaries(st.sampled_from(WEIGHTS), st.floats(1e-6, 100)),
    st.just(PolicyChoice()) | policies,
)
states = st.builds(
    PageState,
    prompt=st.text(max_size=50),
    models=st.lists(st.sampled_from(["a", "gpt-5.4", "o3@high", "a/b c"]), unique=True).map(tuple),
    uses_all_models=st.booleans(),
    requirements=st.sampled_from(["", "cost<0.01, needs=vision"]),
    first=sides,
    second=st.none() | sides,
    table=st.sampled_from(["", "abc"]),
    traffic=st.sampled_from(["", "def"]),
    shares_prompt=st.just(True),
    shows_all_rows=st.booleans(),
)


def read(query):
    return read_state(parse_qsl(query, keep_blank_values=True), DEFAULT)


@given(states)
def test_a_link_says_the_whole_state(state):
    assert read(to_query(state)) == (state, ())


@given(states)
def test_the_links_of_equal_states_are_equal(state):
    assert to_query(read(to_query(state))[0]) == to_query(state)


def test_a_link_holds_the_prompt_only_if_the_visitor_has_agreed():
    secret = PageState(prompt="my secret", models=("a",))
    assert "secret" not in to_query(secret)
    assert read(to_query(secret))[0].prompt == PageState().prompt


def test_a_prompt_that_browsers_may_refuse_in_an_address_is_left_out():
    short, long = (PageState(prompt="é" * n, shares_prompt=True) for n in (1_000, 1_001))
    assert read(to_query(short))[0].prompt == short.prompt
    assert len(to_query(long)) < 100


def test_without_pairs_the_page_opens_with_its_default():
    opened = PageState(models=("a",), table="abc")
    assert read_state([], opened) == (opened, ())


def test_an_empty_number_is_none_and_a_missing_one_the_default():
    state, problems = read("answer_value=&prompt=x")
    assert state.first.answer_value is None
    assert state.first.tolerance == Side().tolerance
    assert problems == ()


def test_a_form_without_a_ticked_model_has_none():
    assert read("model=")[0].models == ()
    assert read("model=&model=a&model=a")[0].models == ("a",)


def test_a_name_in_other_letters_is_the_same_model():
    assert read("model=gpt-5.4&model=GPT-5.4&model=b")[0].models == ("gpt-5.4", "b")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("answer_value=cheap", "answer_value is 'cheap': expected a number"),
        ("answer_value=-1", "answer_value"),
        ("answer_value=nan", "answer_value is 'nan': expected a number"),
        ("policy_value=inf", "policy_value is 'inf'"),
        ("tolerance=7", "tolerance"),
        ("latency=1e999", "latency is"),
        ("latency=-1", "weight of latency"),
        ("compare=1&b_size=x", "b_size is 'x'"),
        ("require=" + "x" * 301, "require has more than 300 characters"),
    ],
)
def test_a_value_that_cannot_be_read_is_told_and_has_its_default(query, said):
    state, problems = read(query)
    assert said in problems[0]
    assert state.first == Side()


def test_a_long_prompt_is_cut_and_that_is_told():
    state, problems = read_state([("prompt", "x" * 11)], DEFAULT, max_prompt=10)
    assert state.prompt == "x" * 10
    assert "more than 10 characters" in problems[0]


def test_a_preset_replaces_the_trade_off_and_keeps_the_weights():
    side = read("answer_value=5&size=0.5&preset=thrifty")[0].first
    assert side == Side(answer_value=0.1, tolerance=None, weights={"size": 0.5})


def test_requirements_are_in_the_words_of_flags():
    state = PageState(requirements=" cost<0.01 , needs=vision,")
    assert state.parsed_requirements() == (
        Requirement("cost", "<", 0.01),
        Requirement("capabilities", "has", ("vision",)),
    )
    with pytest.raises(InputError, match="nearest valid form"):
        PageState(requirements="cheap").parsed_requirements()


@pytest.mark.parametrize(("value", "text"), [(None, ""), (1.0, "1"), (0.1, "0.1"), (1e20, "1e+20")])
def test_numbers_are_written_exactly(value, text):
    assert format_number(value) == text
