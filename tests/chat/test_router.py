"""Which expert answers a conversation: what it must do, how long it stays, what leaving costs."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tryage import Expert, Preferences, Router
from tryage.chat import ChatRouter, Conversation, Turn, conversation_requirements
from tryage.chat.router import check_sticky
from tryage.errors import InputError, LibraryError, NoExpertError, TryageError
from tryage.testing import FixedPerception


def talk_of(*texts, **fields):
    """Return a conversation in which user and assistant take turns."""
    roles = ["user", "assistant"] * len(texts)
    turns = [Turn(role, text) for role, text in zip(roles, texts, strict=False)]
    return Conversation(turns, **fields)


def words(n):
    """Return a text of about n tokens."""
    return " word" * n


TOOL_LOOP = [Turn("assistant", calls="look()"), Turn("tool", "big news")]


@pytest.fixture
def chat(router):
    return ChatRouter(router)


def ask(chat, conversation, **arguments):
    """Plan, and let the first expert answer."""
    plan = chat.plan(conversation, **arguments)
    chat.mark_served(plan, plan.first)
    return plan


def rejection_reasons(plan):
    return {one.name: one.reasons for one in plan.decision.rejected}


# What the conversation requires ------------------------------------------------------------------


def test_an_expert_without_a_required_ability_is_rejected_and_an_unknown_one_is_tried(chat):
    seen = Conversation([Turn("user", "small what is it?", images=1)])
    plan = chat.plan(seen)
    assert rejection_reasons(plan) == {
        "small": ("capabilities lack vision",),
        "plain": ("capabilities lack vision",),
    }
    assert [one.name for one in plan.decision.ranking] == ["big", "unknown"]


@pytest.mark.parametrize(
    ("talk", "rejected"),
    [
        (talk_of("plain", tools="{}"), {"plain"}),
        (talk_of("plain", structured_output=True), {"small", "plain"}),
        (Conversation([Turn("user", "plain", audio=1)]), {"small", "plain"}),
        (talk_of("plain", answer_tokens=100), set()),
        (Conversation([Turn("user", "plain", pdfs=1)]), {"small", "plain"}),
        (Conversation([Turn("user", "plain", videos=1)]), {"small", "plain"}),
        (Conversation([Turn("user", "plain", files=1)]), {"small", "plain"}),
        (talk_of("plain " * 2_100), {"small"}),
        (talk_of("plain", words(2_375), "again"), {"small"}),
        (talk_of("plain", answer_tokens=5_000), {"small"}),
    ],
)
def test_tools_structure_media_and_length_become_requirements(chat, talk, rejected):
    assert set(rejection_reasons(chat.plan(talk))) == rejected


def test_if_no_expert_has_the_ability_the_error_names_it(router):
    chat = ChatRouter(router.subset(["small", "plain"]))
    with pytest.raises(NoExpertError, match="capabilities lack vision"):
        chat.plan(Conversation([Turn("user", "look", images=1)]))


def test_requirements_that_all_experts_meet_do_not_split_a_batch(chat, perception):
    talks = [talk_of("big " + "x" * n) for n in range(20)]
    plans = chat.plan_batch(talks, [None] * 20, [None] * 20)
    assert [plan.first for plan in plans] == ["big"] * 20
    assert len(perception.passes) == 1
    assert not plans[0].decision.preferences.requirements
    assert conversation_requirements(talks[0], 1.0)[0].value == 17


# A conversation that seems too long for every expert ----------------------------------------------


@pytest.fixture
def short(router):
    """Return the experts that have a known context: small 2,000, big and plain 100,000 tokens."""
    return router.subset(["small", "plain", "big"])


def test_the_expert_with_the_largest_context_is_asked_and_the_record_says_so(short, library):
    assert library["small"].context_length < library["big"].context_length
    plan = ChatRouter(short).plan(talk_of("big " + words(125_000)))
    assert (plan.first, plan.reason_kind, plan.reason) == ("big", "routed", "the largest context")
    assert list(plan.order()) == ["big", "plain", "small"]
    assert re.fullmatch(
        "about 1[12].,... tokens seem to be more than every model can read; big has the largest "
        "context, 100,000 tokens",
        plan.record()["context"],
    )


def test_of_equally_large_contexts_the_better_expert_is_asked_first(short):
    plan = ChatRouter(short).plan(talk_of("plain " + words(125_000)))
    assert list(plan.order()) == ["plain", "big", "small"]


def test_whoever_has_room_is_asked_without_a_word(chat):
    record = chat.plan(talk_of("plain " + words(75_000))).record()
    assert record["model"] == "plain"
    assert "context" not in record


def test_what_a_call_says_of_costs_holds_with_what_its_conversation_requires(perception, library):
    library = library.subset(["small", "plain", "big"])
    chat = ChatRouter(Router(perception, library, preferences="thrifty"))
    seen = Conversation([Turn("user", "big what is it? " + words(20_000))])
    best = chat.plan(seen, Preferences(tolerance=0))
    assert [one.field for one in best.decision.preferences.requirements] == ["context_length"]
    assert best.decision.preferences.tolerance == 0
    assert (best.first, chat.plan(seen).first) == ("big", "plain")
    usd = best.record()["cost"]["expected"]
    assert usd == best.decision.ranking.entry("big").cost
    assert usd > 0.1


def test_nobody_is_refused_because_of_an_estimate_of_the_length(short):
    chat, long = ChatRouter(short), talk_of("small " + words(2_500))
    assert chat.plan(long, model="small").reason_kind == "asked for"
    assert chat.plan(long, Preferences(only=["small"])).first == "small"
    seen = Conversation([Turn("user", words(125_000), images=1)])
    assert chat.plan(seen).first == "big"


def test_another_requirement_that_nobody_meets_is_still_an_error(short):
    chat = ChatRouter(short.subset(["small", "plain"]))
    with pytest.raises(NoExpertError, match="vision"):
        chat.plan(Conversation([Turn("user", words(125_000), images=1)]))


def test_the_context_that_the_operator_requires_stays_hard(short):
    with pytest.raises(NoExpertError, match="context_length"):
        ChatRouter(short).plan(talk_of(words(125_000)), Preferences(min_context=200_000))
    plan = ChatRouter(short).plan(
        talk_of("small " + words(125_000)), Preferences(min_context=3_000)
    )
    assert list(plan.order()) == ["big", "plain"]


def test_an_exempt_default_does_not_step_in_for_an_estimate_of_the_length(perception, library):
    library = library.subset(["small", "plain", "big"])
    settings = {"default": "small", "default_exempt": True, "preferences": "best"}
    router = Router(perception, library, **settings)
    assert ChatRouter(router).plan(talk_of(words(125_000))).first == "big"


def test_in_a_batch_only_the_conversations_that_are_too_long_go_to_the_largest(short):
    talks = [talk_of("small a"), talk_of("big " + words(125_000)), talk_of("plain b")]
    plans = ChatRouter(short).plan_batch(talks, [None] * 3, [None] * 3)
    assert [plan.first for plan in plans] == ["small", "big", "plain"]
    assert [plan.context is not None for plan in plans] == [False, True, False]


def test_a_prompt_that_is_packed_to_the_window_less_the_answer_fits(short):
    chat = ChatRouter(short, count=lambda text: len(text.split()))
    packed = talk_of("small" + " word" * (2_000 - 256 - 1), answer_tokens=256)
    assert chat.plan(packed).first == "small"
    over = talk_of("small" + " word" * (2_000 - 256), answer_tokens=256)
    assert chat.plan(over).first != "small"


def test_the_tokenizer_is_asked_only_where_the_estimate_leaves_the_choice_open(short):
    counted = []

    def count(text):
        counted.append(text)
        return len(text) / 4

    chat = ChatRouter(short, count=count)
    chat.plan(talk_of("small " + words(500)))
    chat.plan(talk_of("small " + words(10_000)))
    assert counted == []
    chat.plan(talk_of("small " + words(1_750)))
    assert len(counted) == 1


# How long a conversation stays -------------------------------------------------------------------


def going_on(talk):
    """Return the conversation after a tool has run."""
    return replace(talk, turns=[*talk.turns, *TOOL_LOOP])


def test_a_turn_is_decided_once_and_stays_through_a_tool_loop(chat, perception):
    talk = talk_of("small question", tools="{}")
    first = ask(chat, talk)
    again = ask(chat, going_on(talk))
    assert (first.first, first.reason_kind) == ("small", "routed")
    assert (again.first, again.reason_kind) == ("small", "kept for the turn")
    assert again.record()["scores"] == first.record()["scores"]
    assert len(perception.passes) == 1
    assert chat.plan(talk_of("small question", "answer", "big question")).first == "big"


def test_the_tool_loop_stays_with_the_expert_that_answered_after_a_failure(chat):
    plan = chat.plan(talk_of("small question"))
    chat.mark_served(plan, "big")
    assert chat.plan(going_on(talk_of("small question"))).first == "big"


@pytest.mark.parametrize("sticky", ["turn", "thread"])
def test_one_failure_does_not_pin_equal_first_messages_to_the_fallback(router, sticky):
    chat = ChatRouter(router, sticky=sticky)
    talk = talk_of("small question", tools="{}")
    failed = chat.plan(talk)
    chat.mark_failed(failed, "small")
    chat.mark_served(failed, "big")
    later = [ask(chat, talk) for _ in range(200)]
    assert {plan.first for plan in later} == {"small"}
    assert {plan.reason_kind for plan in later} == {"routed"}


def test_the_id_on_an_answer_tells_equal_tool_loops_apart(chat):
    talk = talk_of("small question")
    one, other = chat.plan(talk), chat.plan(talk)
    chat.mark_served(one, "small")
    chat.mark_served(other, "big")
    loops = [
        [*talk.turns, Turn("assistant", calls="look()", decision_id=plan.id), TOOL_LOOP[1]]
        for plan in (one, other)
    ]
    assert [chat.plan(Conversation(loop)).first for loop in loops] == ["small", "big"]


def test_within_a_thread_a_call_that_is_repeated_stays_with_its_expert(chat):
    talk = talk_of("small question", thread="7")
    chat.mark_served(chat.plan(talk), "big")
    assert chat.plan(talk).first == "big"
    assert chat.plan(replace(talk, thread="8")).first == "small"


def test_a_turn_is_forgotten_after_its_time(router):
    seconds = [0.0]
    chat = ChatRouter(router, max_age=60, clock=lambda: seconds[0])
    talk = talk_of("small question", thread="7")
    chat.mark_served(chat.plan(talk), "big")
    seconds[0] = 59
    assert chat.plan(talk).first == "big"
    seconds[0] = 61
    assert chat.plan(talk).first == "small"


@pytest.mark.parametrize("sticky", ["turn", "thread"])
def test_an_expert_that_has_failed_is_forgotten(router, sticky):
    chat = ChatRouter(router, sticky=sticky)
    talk = talk_of("small question", thread="7")
    chat.mark_served(chat.plan(talk), "big")
    kept = chat.plan(talk)
    chat.mark_failed(kept, "small")  # another one
    assert chat.plan(talk).first == "big"
    chat.mark_failed(kept, "big")
    assert chat.plan(talk).first == "small"
    assert chat.last_served_by(talk) is None


@pytest.mark.parametrize("sticky", ["turn", "thread"])
def test_a_turn_whose_expert_is_not_available_is_decided_anew(router, sticky):
    chat = ChatRouter(router, sticky=sticky)
    talk = talk_of("small question", thread="7")
    chat.mark_served(chat.plan(talk), "big")
    assert chat.plan(talk, is_available=lambda name: name != "big").first == "small"
    assert chat.plan(talk).first == "big"


def test_a_kept_turn_is_decided_only_if_its_expert_fails(chat, perception):
    talk = talk_of("small question")
    ask(chat, talk)
    order = chat.plan(going_on(talk)).order()
    assert next(order) == "small"
    assert len(perception.passes) == 1
    assert list(order) == ["big", "plain", "unknown"]
    assert len(perception.passes) == 2


def test_if_nobody_else_can_answer_a_kept_turn_its_expert_is_the_only_one(router):
    chat = ChatRouter(router)
    talk, only_small = talk_of("small question"), Preferences(only=["small"])
    ask(chat, talk, preferences=only_small)
    plan = chat.plan(going_on(talk), only_small)
    object.__setattr__(plan, "decide", lambda: chat.router.route("x", Preferences(only=["nobody"])))
    assert list(plan.order()) == ["small"]


def test_what_is_remembered_holds_no_prompt_and_is_small(chat):
    prompts = [f"small secret {i} " + "x" * 200_000 for i in range(30)]
    for prompt in prompts:
        ask(chat, talk_of(prompt, thread="secret thread"))
    chat.router.perception.passes.clear()  # the fake keeps the prompts, a real perception does not
    remembered = repr(chat._answers._entries)
    assert "secret" not in remembered
    assert len(remembered) < 1_000 * 2 * len(prompts)


def test_a_plan_that_was_not_carried_out_is_forgotten(chat, perception):
    for _ in range(2):
        chat.plan(talk_of("small question", thread="7"))
    assert len(perception.passes) == 2


def test_a_turn_that_becomes_too_long_for_its_expert_is_decided_anew(chat):
    talk = talk_of("small question")
    ask(chat, talk)
    grown = Conversation([*talk.turns, Turn("assistant", calls="f()"), Turn("tool", words(2_250))])
    plan = chat.plan(grown)
    assert (plan.first, plan.reason_kind) == ("big", "routed")


def test_other_preferences_are_decided_anew(chat):
    talk = talk_of("small question", thread="7")
    ask(chat, talk)
    plan = chat.plan(talk, Preferences(only=["big"]))
    assert plan.first == "big"


def test_sticky_call_decides_every_call(router, perception):
    chat, talk = ChatRouter(router, sticky="call"), talk_of("small question", thread="7")
    ask(chat, talk)
    assert ask(chat, going_on(talk)).reason_kind == "routed"
    assert len(perception.passes) == 2


def test_a_call_may_set_how_long_its_conversation_stays(chat):
    one, other = talk_of("small one"), talk_of("small one", "answer", "big two")
    ask(chat, one)
    assert chat.plan(going_on(one), sticky="call").reason_kind == "routed"
    kept = chat.plan(other, sticky="thread")
    assert (kept.first, kept.reason_kind) == ("small", "kept for the thread")
    plans = chat.plan_batch([other, other], [None, None], [None, None], ["thread", None])
    assert [plan.first for plan in plans] == ["small", "big"]
    with pytest.raises(InputError, match="forever"):
        chat.plan(one, sticky="forever")


def test_two_threads_that_begin_alike_stay_apart_by_their_ids(router):
    chat = ChatRouter(router, sticky="thread")
    one, other = talk_of("small hello", thread="1"), talk_of("small hello", thread="2")
    ask(chat, one)
    chat.mark_served(chat.plan(other), "big")
    later = [talk_of("small hello", "answer", "plain two", thread=name) for name in "12"]
    assert [chat.plan(talk).first for talk in later] == ["small", "big"]


def test_sticky_thread_stays_as_long_as_the_expert_can_answer(router):
    chat = ChatRouter(router, sticky="thread")
    assert ask(chat, talk_of("small one")).first == "small"
    later = ask(chat, talk_of("small one", "answer", "big two"))
    assert (later.first, later.reason_kind) == ("small", "kept for the thread")
    assert later.decision.expert.name == "big"
    too_long = ask(chat, talk_of("small one", "answer", "big two", words(2_500), "plain three"))
    assert (too_long.first, too_long.reason_kind) == ("plain", "routed")


def test_leaving_an_expert_has_a_price_that_grows_with_the_conversation(router):
    stay = Preferences(weights={"switching": 1.0})
    chat = ChatRouter(router, sticky="call")
    long = ("big one", words(5_000), "plain two")
    ask(chat, talk_of(long[0]))
    assert chat.plan(talk_of(*long)).first == "plain"
    assert chat.plan(talk_of(*long), stay).first == "big"
    assert chat.plan(talk_of("big one", "short", "plain two"), stay).first == "plain"


# Records that the caller stores -------------------------------------------------------------------


def test_a_stored_record_keeps_the_turn_with_its_reason_and_scores(chat, perception):
    talk = talk_of("small question")
    first = chat.plan_record(talk, {}, "turn 1")
    assert (first["model"], first["how"], first["turn"]) == ("small", "routed", "turn 1")
    going_on = Conversation([*talk.turns, *TOOL_LOOP])
    again = chat.plan_record(going_on, {**first, "served_by": "small"}, "turn 1")
    assert again["cost"].keys() == first["cost"].keys()  # the conversation is longer now
    assert again == {
        **first, "id": again["id"], "how": "kept for the turn", "cost": again["cost"]
    }  # fmt: skip
    assert again["id"] != first["id"]
    assert len(perception.passes) == 1


def test_a_stored_record_of_another_turn_is_decided_anew(chat):
    first = chat.plan_record(talk_of("small question"), {}, "turn 1")
    later = chat.plan_record(talk_of("small question", "answer", "big one"), first, "turn 2")
    assert (later["model"], later["how"], later["turn"]) == ("big", "routed", "turn 2")


def test_the_turn_of_a_stored_record_stays_with_the_expert_that_answered(chat):
    first = chat.plan_record(talk_of("small question"), {}, "turn 1")
    again = chat.plan_record(talk_of("small question"), {**first, "served_by": "big"}, "turn 1")
    assert (again["model"], again["how"]) == ("big", "kept for the turn")
    assert "served_by" not in again


def test_a_stored_record_may_name_the_expert_by_an_alias(chat):
    first = chat.plan_record(talk_of("small question"), {}, "turn 1")
    answered = {**first, "served_by": "unknown-2025"}
    again = chat.plan_record(talk_of("small question"), answered, "turn 1")
    assert (again["model"], again["how"]) == ("unknown", "kept for the turn")


def test_a_stored_record_of_an_expert_that_is_not_there_is_decided_anew(chat):
    stored = {"turn": "turn 1", "model": "huge", "served_by": None}
    record = chat.plan_record(talk_of("small question"), stored, "turn 1")
    assert (record["model"], record["how"]) == ("small", "routed")


@pytest.mark.parametrize(
    ("sticky", "model", "how"),
    [
        ("turn", "big", "routed"),
        ("thread", "small", "kept for the thread"),
        ("call", "big", "routed"),
    ],
)
def test_sticky_holds_for_stored_records_too(router, sticky, model, how):
    chat = ChatRouter(router, sticky=sticky)
    first = chat.plan_record(talk_of("small one"), {}, "turn 1")
    later = chat.plan_record(talk_of("small one", "answer", "big two"), first, "turn 2")
    assert (later["model"], later["how"]) == (model, how)


def test_a_named_model_counts_more_than_a_stored_record(chat):
    first = chat.plan_record(talk_of("small question"), {}, "turn 1")
    again = chat.plan_record(talk_of("small question"), first, "turn 1", model="BIG")
    assert (again["model"], again["how"]) == ("big", "asked for")
    with pytest.raises(LibraryError, match="huge"):
        chat.plan_record(talk_of("small question"), first, "turn 1", model="huge")


# What the caller asks for -------------------------------------------------------------------------


def test_an_expert_asked_for_by_name_is_not_remembered_as_the_choice(chat):
    talk = talk_of("big question", thread="7")
    plan = ask(chat, talk, model="SMALL")
    assert (plan.first, plan.reason_kind, list(plan.order())) == ("small", "asked for", ["small"])
    assert chat.plan(talk).first == "big"
    with pytest.raises(LibraryError, match="huge"):
        chat.plan(talk_of("big question"), model="huge")


def test_an_expert_may_be_asked_for_without_its_provider():
    experts = [Expert("openai:small"), Expert("other:big")]
    names = FixedPerception({"openai:small": 0.2, "other:big": 0.1})
    plan = ChatRouter(Router(names, experts)).plan(talk_of("hello"), model="small")
    assert (plan.first, plan.reason_kind) == ("openai:small", "asked for")


def test_asking_for_an_expert_that_lacks_the_ability_is_an_error(chat):
    with pytest.raises(NoExpertError, match="vision"):
        chat.plan(Conversation([Turn("user", "a", images=1)]), model="plain")


def test_the_declared_default_answers_and_the_record_says_so(perception, library):
    chat = ChatRouter(Router(perception, library, default="plain", default_exempt=True))
    plan = chat.plan(talk_of("a"), Preferences(only=["nobody"]))
    assert (plan.first, list(plan.order())) == ("plain", ["plain"])
    assert plan.record()["reason"].startswith("default: ")


def test_flags_count_within_a_conversation(perception, library):
    chat = ChatRouter(Router(perception, library, prompt_flags=True))
    plan = chat.plan(talk_of("[Flag: model=plain] big question"))
    assert (plan.first, plan.decision.prompt) == ("plain", "big question")


# Plans --------------------------------------------------------------------------------------------


def test_an_error_in_a_batch_takes_only_its_own_place(chat):
    talks = [talk_of("big"), talk_of("small"), talk_of("plain")]
    wrong = Preferences(weights={"colour": 1.0})
    plans = chat.plan_batch(talks, [None, wrong, None], [None, None, "huge"])
    assert plans[0].first == "big"
    assert isinstance(plans[1], InputError)
    assert isinstance(plans[2], TryageError)
    assert chat.plan_batch([], [], []) == []


def test_the_order_of_asking_is_the_ranking(chat):
    assert list(chat.plan(talk_of("unknown")).order()) == ["unknown", "small", "big", "plain"]


def test_a_record_is_short_and_holds_no_text_of_the_prompt(chat):
    record = chat.plan(talk_of("small secret")).record()
    assert record["model"] == "small"
    assert record["reason"] == "lowest total of 4"
    assert record["scores"]["small"] == 0.0
    assert "secret" not in repr(record)
    assert chat.plan(talk_of("small")).record("big")["reason"] == "small failed"


def test_the_id_of_a_plan_is_random_and_in_its_record(chat):
    plans = [chat.plan(talk_of("small question")) for _ in range(50)]
    assert len({plan.id for plan in plans}) == 50
    assert all(plan.record()["id"] == plan.record("big")["id"] == plan.id for plan in plans)
    assert re.fullmatch("[0-9a-f]{16}", plans[0].id)


def test_many_threads_may_plan_at_the_same_time(chat):
    names = ["small", "big", "plain", "unknown"] * 50
    with ThreadPoolExecutor(8) as pool:
        talks = [talk_of(f"{name} {row}") for row, name in enumerate(names)]
        plans = list(pool.map(lambda talk: ask(chat, talk), talks))
    assert [plan.first for plan in plans] == names


def test_copies_and_pickles_forget_conversations():
    perception = FixedPerception({"small": 0.1, "big": 0.2})
    chat = ChatRouter(Router(perception))
    talk = talk_of("a secret", thread="7")
    ask(chat, talk)
    perception.calls.clear()  # the fake keeps the prompts, a real perception does not
    assert chat.last_served_by(talk) == "small"
    written = pickle.dumps(chat)
    assert b"secret" not in written
    assert "secret" not in repr(vars(chat))
    for clone in (copy.deepcopy(chat), pickle.loads(written)):  # noqa: S301 - written just above
        assert clone.last_served_by(talk) is None


def test_a_wrong_sticky_is_refused(router):
    with pytest.raises(InputError, match="forever"):
        ChatRouter(router, sticky="forever")


def test_a_setting_for_the_conversation_is_one_of_three_words():
    assert check_sticky("thread") == "thread"
    with pytest.raises(InputError, match=r"tryage_sticky is 'always'; expected one of .*'turn'"):
        check_sticky("always", "tryage_sticky")
