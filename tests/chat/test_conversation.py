"""What a conversation asks, how long it is, and by which keys it is known again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tryage.chat import Conversation, Turn

ASKED = [Turn("system", "Be brief."), Turn("user", "What is 2 + 2?")]
LOOP = [Turn("assistant", calls='add{"a": 2}'), Turn("tool", "4")]
NEXT = [Turn("assistant", "4"), Turn("user", "And 3 + 3?")]

turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        st.text(st.characters(exclude_categories=[])),
        images=st.integers(0, 2),
    )
)


def test_the_request_is_what_the_user_said_last_not_what_a_tool_put_out():
    assert Conversation(ASKED + LOOP).request == "What is 2 + 2?"
    assert Conversation(ASKED + LOOP + NEXT).request == "And 3 + 3?"


def test_a_query_that_a_program_wrapped_in_more_is_the_request():
    wrapped = [Turn("user", "Context: ... Query: What is 2 + 2? Answer:")]
    assert Conversation(wrapped, query="What is 2 + 2?").request == "What is 2 + 2?"


def test_without_a_user_the_last_message_is_the_request():
    assert Conversation([Turn("system", "a"), Turn("assistant", "b")]).request == "b"
    assert Conversation([]).request == ""


def test_length_counts_every_turn_its_tool_calls_its_pictures_and_the_schemas():
    def count(text):
        return len(text)

    shown = Turn("user", "abc", calls="de", images=1, audio=1)
    assert shown.tokens(count) == 5 + 2 * 1_000 + 4
    assert Conversation([shown, shown], tools="12345").tokens(count) == 2 * 2_009 + 5
    assert Conversation([Turn("user", "x" * 400)]).tokens() == 100 + 4


def test_what_is_cached_ends_with_the_last_answer():
    talk = Conversation([Turn("user", "aa"), Turn("assistant", "b"), Turn("user", "ccc")], "tool")
    assert talk.answered_tokens(len) == 4 + (2 + 4) + (1 + 4)
    assert Conversation(ASKED).answered_tokens(len) == 0


def test_a_turn_keeps_its_key_through_a_tool_loop():
    first = Conversation(ASKED)
    assert Conversation(ASKED + LOOP).turn_keys == first.turn_keys
    later = Conversation(ASKED + LOOP + NEXT)
    assert later.turn_keys[1:] == first.turn_keys
    assert later.turn_keys[0] != first.turn_keys[0]


def test_a_rewritten_system_prompt_is_the_same_turn():
    rewritten = Conversation([Turn("system", "It is noon."), *ASKED[1:]])
    assert rewritten.turn_keys == Conversation(ASKED).turn_keys


def test_another_picture_another_word_or_another_thread_is_another_turn():
    talks = [
        Conversation([Turn("user", "What is it?", images=1, digest="cat")]),
        Conversation([Turn("user", "What is it?", images=1, digest="dog")]),
        Conversation([Turn("user", "What is this?", images=1, digest="cat")]),
        Conversation([Turn("user", "What is it?", images=1, digest="cat")], thread="7"),
    ]
    assert len({talk.turn_keys for talk in talks}) == len(talks)


@given(turns)
def test_any_conversation_has_a_key_a_length_and_a_request(said):
    talk = Conversation(said)
    assert len(talk.turn_keys) == max(1, sum(turn.role == "user" for turn in said))
    assert len(set(talk.turn_keys)) == len(talk.turn_keys)
    assert talk.tokens() >= 4 * len(said)
    assert isinstance(talk.request, str)
