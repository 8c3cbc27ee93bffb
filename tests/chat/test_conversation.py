"""What a conversation asks, how long it is, how a turn is recognised, and what a model must do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage import Expert, Library
from tryage.chat import Conversation, Turn, conversation_requirements
from tryage.chat.conversation import (
    discriminating_requirements,
    has_unverified_requirements,
    is_near_context_limit,
    meets_requirements,
)
from tryage.core.token_estimate import estimate_tokens

QUESTION = [Turn("system", "Be brief."), Turn("user", "What is 2 + 2?")]
TOOL_LOOP = [Turn("assistant", calls='add{"a": 2}'), Turn("tool", "4")]
NEXT_TURN = [Turn("assistant", "4"), Turn("user", "And 3 + 3?")]

random_turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        st.text(st.characters(exclude_categories=[])),
        images=st.integers(0, 2),
    )
)


def test_the_request_is_the_last_user_message_not_the_output_of_a_tool():
    assert Conversation(QUESTION + TOOL_LOOP).request == "What is 2 + 2?"
    assert Conversation(QUESTION + TOOL_LOOP + NEXT_TURN).request == "And 3 + 3?"


HARD = "Prove that there are infinitely many primes of the form 4k + 3."


def talk(*texts):
    """Return a conversation in which the user says the texts and each is answered."""
    turns = [turn for text in texts for turn in (Turn("user", text), Turn("assistant", "Sure?"))]
    return Conversation(turns[:-1])


@pytest.mark.parametrize("text", ["yes please", "go on", "and in French?", "请继续说明", "  "])
def test_a_short_follow_up_is_read_with_what_was_asked_before(text):
    assert talk(HARD, text).request == f"{text}\n\n{HARD}"


def test_it_is_read_with_the_last_message_that_says_what_it_is_about():
    assert talk("Write a poem about the sea.", HARD, "yes", "go on").request == (
        f"go on\n\nyes\n\n{HARD}"
    )


@pytest.mark.parametrize("text", ["What is the capital of Italy?", "x" * 61, HARD])
def test_a_question_of_its_own_is_read_alone(text):
    assert talk(HARD, text).request == text


def test_a_first_message_an_answer_of_a_tool_and_a_query_are_read_alone():
    assert talk("yes please").request == "yes please"
    assert replace(talk(HARD, "yes"), query="Why?").request == "Why?"
    tools = Conversation([Turn("user", HARD), *TOOL_LOOP])
    assert tools.request == HARD


def test_flags_of_earlier_messages_do_not_count_again():
    request = talk(f"[Flag: model=a] {HARD}", "yes please").request
    assert request == f"yes please\n\n{HARD}"
    cut = "x" * 3_990 + "[Flag: model=" + "y" * 50
    assert "[" not in talk(cut, "and]").request


def test_a_long_earlier_message_is_cut():
    assert len(talk(HARD * 1_000, "yes please").request) < 4_100


def test_a_query_inside_a_template_is_the_request():
    wrapped = [Turn("user", "Context: ... Query: What is 2 + 2? Answer:")]
    assert Conversation(wrapped, query="What is 2 + 2?").request == "What is 2 + 2?"


def test_without_a_user_message_the_last_message_is_the_request():
    assert Conversation([Turn("system", "a"), Turn("assistant", "b")]).request == "b"
    assert Conversation([]).request == ""


def test_the_length_counts_every_turn_with_tool_calls_media_and_the_schemas():
    def count(text):
        return len(text)

    turn = Turn("user", "abc", calls="de", images=1, audio=1)
    assert turn.tokens(count) == 5 + 2 * 1_000 + 4
    assert Conversation([turn, turn], tools="12345").tokens(count) == 2 * 2_009 + 5


def test_without_a_counter_the_content_is_estimated_as_one_text():
    turns = [Turn("user", "What is 2 + 2?", images=1), Turn("assistant", "f()", calls="g()")]
    talk = Conversation(turns, tools="{}")
    text = "What is 2 + 2?\nf()\ng()\n{}"
    assert talk.text_tokens() == estimate_tokens(text) + 1_000
    assert talk.tokens() == talk.text_tokens() + 2 * 4
    long = Conversation([Turn("user", " word" * 1_000)] * 200)
    assert long.text_tokens() == pytest.approx(200_000, rel=0.15)


@given(random_turns, st.text())
def test_no_tokenizer_makes_more_tokens_than_the_limit_says(turns, tools):
    talk = Conversation(turns, tools=tools)

    def count_bytes(text):
        return len(text.encode("utf-8", "surrogatepass"))

    assert talk.text_tokens(count_bytes) <= talk.max_text_tokens


def test_a_document_and_a_video_have_tokens_too():
    turn = Turn("user", "abc", pdfs=1, videos=1, files=1)
    assert turn.tokens(len) == 3 + 3 * 2_000 + 4


def test_what_must_fit_is_the_content_without_what_providers_add_to_messages():
    talk = Conversation([Turn("user", "abc"), Turn("assistant", "de", calls="f")], tools="12345")
    assert talk.text_tokens(len) == 3 + 2 + 1 + 5
    assert talk.tokens(len) == talk.text_tokens(len) + 2 * 4


def test_the_answered_part_ends_with_the_last_answer():
    talk = Conversation([Turn("user", "aa"), Turn("assistant", "b"), Turn("user", "ccc")], "tool")
    assert talk.answered_tokens(len) == 4 + (2 + 4) + (1 + 4)
    assert Conversation(QUESTION).answered_tokens(len) == 0


def test_a_turn_keeps_its_key_through_a_tool_loop():
    first = Conversation(QUESTION)
    assert Conversation(QUESTION + TOOL_LOOP).turn_keys == first.turn_keys
    later = Conversation(QUESTION + TOOL_LOOP + NEXT_TURN)
    assert later.turn_keys[1:] == first.turn_keys
    assert later.turn_keys[0] != first.turn_keys[0]


def test_a_changed_system_prompt_does_not_change_the_turn():
    changed = Conversation([Turn("system", "It is noon."), *QUESTION[1:]])
    assert changed.turn_keys == Conversation(QUESTION).turn_keys


def test_another_image_another_text_or_another_thread_is_another_turn():
    talks = [
        Conversation([Turn("user", "What is it?", images=1, digest="cat")]),
        Conversation([Turn("user", "What is it?", images=1, digest="dog")]),
        Conversation([Turn("user", "What is this?", images=1, digest="cat")]),
        Conversation([Turn("user", "What is it?", images=1, digest="cat")], thread="7"),
    ]
    assert len({talk.turn_keys for talk in talks}) == len(talks)


def test_of_a_long_text_both_ends_and_the_length_make_the_key():
    long = "x" * 200_000
    texts = [long, long + "x", "y" + long[1:], long[1:] + "y"]
    assert len({Conversation([Turn("user", text)]).turn_keys for text in texts}) == len(texts)


# Which earlier answers belong to a conversation ---------------------------------------------------


def test_an_equal_first_message_is_not_a_known_conversation():
    assert Conversation(QUESTION).answer_keys == ((),)
    prefilled = Conversation([*QUESTION, Turn("assistant", "{")])
    assert prefilled.answer_keys == ((),)
    asked_twice = Conversation([*QUESTION, *QUESTION])
    assert asked_twice.answer_keys == ((), ())


@pytest.mark.parametrize("loop", [TOOL_LOOP, TOOL_LOOP[:1], [Turn("assistant"), TOOL_LOOP[1]]])
def test_a_tool_loop_is_known_by_what_came_before_it(loop):
    first = Conversation(QUESTION)
    assert Conversation(QUESTION + loop).answer_keys == (first.turn_keys,)


def test_a_later_turn_is_known_by_what_came_before_its_answers():
    later = Conversation(QUESTION + TOOL_LOOP + NEXT_TURN)
    assert later.answer_keys == ((), later.turn_keys[1:])


def test_within_a_thread_the_same_message_is_the_same_turn():
    talk = Conversation(QUESTION, thread="7")
    assert talk.answer_keys == (talk.turn_keys,)
    assert talk.turn_keys != Conversation(QUESTION, thread="8").turn_keys


def test_the_ids_of_the_decisions_on_answers_are_keys_newest_first():
    one, other = Turn("assistant", calls="f()", decision_id="1"), Turn("tool", "4")
    third = Turn("assistant", calls="g()", decision_id="2")
    talk = Conversation([*QUESTION, one, other, third, other])
    assert talk.answer_keys == (("2", "1", *Conversation(QUESTION).turn_keys),)
    assert Conversation([*QUESTION, replace(one, calls="")]).answer_keys == (("1",),)


@given(random_turns)
def test_every_conversation_has_keys_for_the_answers_to_each_message(turns):
    for thread in (None, "7"):
        talk = Conversation(turns, thread=thread)
        assert len(talk.answer_keys) == len(talk.turn_keys)
        assert {key for keys in talk.answer_keys for key in keys} <= set(talk.turn_keys)


@given(random_turns)
def test_every_conversation_has_keys_a_length_and_a_request(turns):
    talk = Conversation(turns)
    assert len(talk.turn_keys) == max(1, sum(turn.role == "user" for turn in turns))
    assert len(set(talk.turn_keys)) == len(talk.turn_keys)
    assert talk.tokens() >= 4 * len(turns)
    assert isinstance(talk.request, str)


def test_tools_structure_and_media_are_required_capabilities():
    turn = Turn("user", "a", images=1, audio=1, pdfs=1, videos=1, files=1)
    talk = Conversation([turn], tools="{}", structured_output=True)
    length, *abilities = conversation_requirements(talk, 10)
    assert (length.field, length.op, length.value) == ("context_length", ">=", 26)
    assert [one.value for one in abilities] == [(name,) for name in talk.capabilities]
    media = ("vision", "audio", "pdf", "video", "files")
    assert talk.capabilities == ("tools", "structured_output", *media)
    assert all(one.unknown_passes for one in (length, *abilities))


def test_the_context_has_room_for_the_longest_answer():
    talk = Conversation([Turn("user", "a")], answer_tokens=7)
    assert [one.value for one in conversation_requirements(talk, 10)] == [17]


@pytest.mark.parametrize(
    ("length", "is_near"),
    [
        (900, False),
        (1_100, True),
        (3_900, True),
        (4_100, False),
        (49_000, False),
        (51_000, True),
        (199_000, True),
        (201_000, False),
    ],
)
def test_a_length_is_near_a_limit_within_a_factor_of_two(library, length, is_near):
    assert is_near_context_limit(length, library) is is_near
    assert not is_near_context_limit(length, library.subset(["unknown"]))


@pytest.mark.parametrize("names", [("small", "big", "unknown"), ("big", "plain"), ("unknown",)])
@pytest.mark.parametrize("tokens", [1, 1_500, 1_500.5, 99_500, 99_501, 10**9])
def test_a_requirement_counts_only_if_an_expert_is_known_to_fail_it(library, names, tokens):
    some = library.subset(names)
    talk = Conversation([Turn("user", "look", images=1)], tools="{}")
    required = conversation_requirements(talk, tokens)
    expected = [one for one in required if not one.satisfied(some).all()]
    assert [list(discriminating_requirements(required, some)) for _ in range(2)] == [expected] * 2


def test_an_expert_of_unknown_capabilities_meets_a_requirement_unverified(library):
    required = conversation_requirements(Conversation([Turn("user", "look", images=1)]), 10)
    checks = {
        name: (
            meets_requirements(required, library, library.index(name)),
            has_unverified_requirements(required, library, library.index(name)),
        )
        for name in ("big", "plain", "unknown")
    }
    assert checks == {"big": (True, False), "plain": (False, True), "unknown": (True, True)}


def test_an_assumed_capability_is_met_unverified():
    assumed = Expert("a", capabilities=["pdf"], metadata={"assumed_capabilities": ["pdf"]})
    library = Library([assumed, Expert("b", capabilities=["pdf"])])
    required = conversation_requirements(Conversation([Turn("user", "read", pdfs=1)]), 10)
    assert [meets_requirements(required, library, i) for i in range(2)] == [True, True]
    assert [has_unverified_requirements(required, library, i) for i in range(2)] == [True, False]


def test_an_unknown_context_length_is_not_an_unverified_requirement(library):
    required = conversation_requirements(Conversation([Turn("user", "hello")]), 10)
    assert not has_unverified_requirements(required, library, library.index("unknown"))


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        ("", ()),
        (
            '{"type": "function", "function": {"name": "search"}}\n{"type": "web_search"}',
            ("search", "web_search"),
        ),
        (
            '[{"function": {"name": "search"}}, {"name": "read"}, {"name": "read"}]',
            ("search", "read"),
        ),
        ("ToolStrategy(schema=Answer)\n3\n[null]", ()),
    ],
)
def test_tools_are_known_by_their_names(tools: str, names: tuple[str, ...]) -> None:
    assert Conversation([], tools=tools).tool_names == names
