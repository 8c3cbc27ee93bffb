"""Which expert answers a conversation: what it needs, whom it stays with, what leaving costs."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage import Preferences, Router
from tryage.chat import ChatRouter, Conversation, LRUCache, Turn, conversation_requirements
from tryage.chat.conversation import discriminating_requirements
from tryage.errors import InputError, LibraryError, NoExpertError, TryageError


def said(*texts, **parts):
    """Return a conversation in which user and assistant take turns."""
    roles = ["user", "assistant"] * len(texts)
    turns = [Turn(role, text) for role, text in zip(roles, texts, strict=False)]
    return Conversation(turns, **parts)


LOOP = [Turn("assistant", calls="look()"), Turn("tool", "big news")]


@pytest.fixture
def chat(router):
    return ChatRouter(router)


def ask(chat, conversation, **asked):
    """Plan, and let the first expert answer."""
    plan = chat.plan(conversation, **asked)
    chat.mark_served(plan, plan.first)
    return plan


def rejected(plan):
    return {one.name: one.reasons for one in plan.decision.rejected}


def test_who_is_known_to_lack_what_is_needed_is_left_out_and_the_unknown_is_tried(chat):
    seen = Conversation([Turn("user", "small what is it?", images=1)])
    plan = chat.plan(seen)
    assert rejected(plan) == {
        "small": ("capabilities lack vision",),
        "plain": ("capabilities lack vision",),
    }
    assert [one.name for one in plan.decision.ranking] == ["big", "unknown"]


@pytest.mark.parametrize(
    ("talk", "lack"),
    [
        (said("plain", tools="{}"), {"plain"}),
        (said("plain", structured_output=True), {"small", "plain"}),
        (Conversation([Turn("user", "plain", audio=1)]), {"small", "plain"}),
        (said("plain", answer_tokens=100), set()),
        (said("plain " * 1_000), {"small"}),
        (said("plain", "x" * 6_500, "again"), {"small"}),
        (said("plain", answer_tokens=5_000), {"small"}),
    ],
)
def test_tools_formats_media_and_length_become_requirements(chat, talk, lack):
    assert set(rejected(chat.plan(talk))) == lack


def test_when_all_are_known_to_lack_it_the_error_says_what(router):
    chat = ChatRouter(router.subset(["small", "plain"]))
    with pytest.raises(NoExpertError, match="capabilities lack vision"):
        chat.plan(Conversation([Turn("user", "look", images=1)]))


def test_needs_that_all_can_meet_do_not_split_a_batch(chat, perception):
    talks = [said("big " + "x" * n) for n in range(20)]
    plans = chat.plan_batch(talks, [None] * 20, [None] * 20)
    assert [plan.first for plan in plans] == ["big"] * 20
    assert len(perception.passes) == 1
    assert not plans[0].decision.preferences.requirements
    assert conversation_requirements(talks[0], 1.0)[0].value == 501


@pytest.mark.parametrize("names", [("small", "big", "unknown"), ("big", "plain"), ("unknown",)])
@pytest.mark.parametrize("tokens", [1, 1_500, 1_500.5, 99_500, 99_501, 10**9])
def test_a_need_counts_if_and_only_if_somebody_is_known_not_to_meet_it(library, names, tokens):
    some = library.subset(names)
    talk = Conversation([Turn("user", "look", images=1)], tools="{}")
    required = conversation_requirements(talk, tokens)
    expected = [need for need in required if not need.satisfied(some).all()]
    assert [list(discriminating_requirements(required, some)) for _ in range(2)] == [expected] * 2


def test_a_turn_is_decided_once_and_stays_through_a_tool_loop(chat, perception):
    talk = said("small question", tools="{}")
    first = ask(chat, talk)
    going_on = Conversation([*talk.turns, *LOOP], tools="{}")
    again = ask(chat, going_on)
    assert (first.first, first.reason_kind) == ("small", "routed")
    assert (again.first, again.reason_kind) == ("small", "kept for the turn")
    assert again.decision is first.decision
    assert len(perception.passes) == 1
    assert chat.plan(said("small question", "answer", "big question")).first == "big"


def test_the_turn_stays_with_who_answered_when_the_first_had_failed(chat):
    plan = chat.plan(said("small question"))
    chat.mark_served(plan, "big")
    assert chat.plan(said("small question")).first == "big"


def test_a_plan_that_nobody_carried_out_is_forgotten(chat, perception):
    chat.plan(said("small question"))
    chat.plan(said("small question"))
    assert len(perception.passes) == 2


def test_a_turn_that_outgrows_its_expert_is_decided_anew(chat):
    talk = said("small question")
    ask(chat, talk)
    grown = Conversation([*talk.turns, Turn("assistant", calls="f()"), Turn("tool", "x" * 9_000)])
    plan = chat.plan(grown)
    assert (plan.first, plan.reason_kind) == ("big", "routed")


def test_other_preferences_are_another_choice(chat):
    ask(chat, said("small question"))
    plan = chat.plan(said("small question"), Preferences(only=["big"]))
    assert plan.first == "big"


def test_by_call_every_call_is_decided(router, perception):
    chat = ChatRouter(router, sticky="call")
    ask(chat, said("small question"))
    assert ask(chat, said("small question")).reason_kind == "routed"
    assert len(perception.passes) == 2


def test_a_thread_stays_while_its_expert_can_answer(router):
    chat = ChatRouter(router, sticky="thread")
    assert ask(chat, said("small one")).first == "small"
    later = ask(chat, said("small one", "answer", "big two"))
    assert (later.first, later.reason_kind) == ("small", "kept for the thread")
    assert later.decision.expert.name == "big"
    outgrown = ask(chat, said("small one", "answer", "big two", "x" * 8_000, "plain three"))
    assert (outgrown.first, outgrown.reason_kind) == ("plain", "routed")


def test_leaving_has_a_price_that_grows_with_the_conversation(router):
    stay = Preferences(weights={"switching": 1.0})
    chat = ChatRouter(router, sticky="call")
    long = ("big one", "x" * 20_000, "plain two")
    ask(chat, said(long[0]))
    assert chat.plan(said(*long)).first == "plain"
    assert chat.plan(said(*long), stay).first == "big"
    assert chat.plan(said("big one", "short", "plain two"), stay).first == "plain"


def test_an_expert_can_be_asked_for_by_name_and_is_not_remembered_as_the_choice(chat):
    plan = ask(chat, said("big question"), model="SMALL")
    assert (plan.first, plan.reason_kind, list(plan.order())) == ("small", "asked for", ["small"])
    assert chat.plan(said("big question")).first == "big"
    with pytest.raises(LibraryError, match="huge"):
        chat.plan(said("big question"), model="huge")


def test_asking_for_one_that_cannot_do_it_says_so(chat):
    with pytest.raises(NoExpertError, match="vision"):
        chat.plan(Conversation([Turn("user", "a", images=1)]), model="plain")


def test_the_declared_default_steps_in_and_is_told(perception, library):
    chat = ChatRouter(Router(perception, library, default="plain"))
    plan = chat.plan(said("a"), Preferences(only=["nobody"]))
    assert (plan.first, list(plan.order())) == ("plain", ["plain"])
    assert plan.record()["reason"].startswith("default: ")


def test_one_bad_row_does_not_take_the_others_down(chat):
    talks = [said("big"), said("small"), said("plain")]
    wrong = Preferences(weights={"colour": 1.0})
    plans = chat.plan_batch(talks, [None, wrong, None], [None, None, "huge"])
    assert plans[0].first == "big"
    assert isinstance(plans[1], InputError)
    assert isinstance(plans[2], TryageError)
    assert chat.plan_batch([], [], []) == []


def test_the_order_is_the_ranking_with_the_first_first(chat):
    assert list(chat.plan(said("unknown")).order()) == ["unknown", "small", "big", "plain"]


def test_a_record_is_short_and_holds_no_word_of_the_prompt(chat):
    record = chat.plan(said("small secret")).record()
    assert record["model"] == "small"
    assert record["reason"] == "lowest total of 4"
    assert record["scores"]["small"] == 0.0
    assert "secret" not in repr(record)
    assert chat.plan(said("small")).record("big")["reason"] == "small failed"


def test_flags_count_within_a_conversation(perception, library):
    chat = ChatRouter(Router(perception, library, prompt_flags=True))
    plan = chat.plan(said("[Flag: model=plain] big question"))
    assert (plan.first, plan.decision.prompt) == ("plain", "big question")


def test_many_threads_may_plan_at_once(chat):
    names = ["small", "big", "plain", "unknown"] * 50
    with ThreadPoolExecutor(8) as pool:
        talks = [said(f"{name} {row}") for row, name in enumerate(names)]
        plans = list(pool.map(lambda talk: ask(chat, talk), talks))
    assert [plan.first for plan in plans] == names


def test_copies_and_pickles_forget_conversations(chat):
    ask(chat, said("small secret"))
    clone = copy.deepcopy(chat)
    assert clone.last_served_by(said("small secret")) is None
    assert chat.last_served_by(said("small secret")) == "small"
    assert b"secret" not in pickle.dumps(chat._turn_decisions)
    assert "secret" not in repr(chat._turn_decisions)


def test_a_memory_lets_go_of_what_was_unused_for_longest():
    memory = LRUCache(2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.get("a") == 1
    memory.put("c", 3)
    assert [memory.get(key) for key in "abc"] == [1, None, 3]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "many"])
def test_a_memory_without_room_is_refused(size):
    with pytest.raises(InputError, match="at least 1"):
        LRUCache(size)


def test_another_word_for_sticky_is_refused(router):
    with pytest.raises(InputError, match="forever"):
        ChatRouter(router, sticky="forever")
