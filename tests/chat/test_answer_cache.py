"""What a cache does for one call: nobody is asked for an answer that is at hand."""

from __future__ import annotations

import pytest

from tryage.chat import ChatRouter, Conversation, Turn
from tryage.chat.clients import ClientPool
from tryage.chat.fallback import ChatRequest, FallbackSession, fallback_steps, run_steps
from tryage.chat.hooks import FallbackHooks
from tryage.chat.streams import apeek_stream, aresume_stream, peek_stream, resume_stream
from tryage.core.request_key import NOT_COMPARABLE
from tryage.core.usage import TokenUsage
from tryage.errors import InvalidAnswerError
from tryage.policies import AnswerCache, Split
from tryage.policies.answer_cache import answer_caches

USAGE = TokenUsage(1_000_000, 0)  # one million input tokens: the prices of the experts


class TextPool(ClientPool[str]):
    client_type = str
    source_description = "a text"


@pytest.fixture
def cache():
    return AnswerCache(shared=True)


@pytest.fixture
def session(router, cache):
    clients = TextPool({name: f"client of {name}" for name in router.library.names})
    return FallbackSession(ChatRouter(router.with_policy(cache)), clients, None)


def talk(text="small question", **fields):
    return Conversation([Turn("user", text)], **{"settings": {}, **fields})


def ask(session, call=lambda *_: "hello", conversation=None, problems=lambda _: ()):
    """Return the answer, the record, and the events of one call."""
    events = []
    hooks = FallbackHooks(
        session.clients.get_client,
        events.append,
        call,
        problems,
        read_usage=lambda _: USAGE,
        to_cache="".join,
        from_cache=lambda kept: f"{kept} again",
    )
    request = ChatRequest(conversation or talk(), None, None)
    return *run_steps(fallback_steps(session, session.plan(request), hooks)), events


def fail(*_):
    raise AssertionError("A model was asked.")


def test_an_answer_at_hand_is_returned_and_reported_without_a_call(session, cache):
    _, first, _ = ask(session)
    assert first["cost"]["billed"] == 1.0
    answer, record, events = ask(session, fail)
    assert answer == "hello again"
    assert (record["how"], record["cost"]["billed"]) == ("cached", 0.0)
    assert events == [record]
    assert (cache.hits, cache.saved) == (1, 1.0)


def test_the_savings_count_an_answer_from_a_cache_as_free(session):
    ask(session)
    ask(session, fail)
    assert session.savings().billed == 1.0


def test_an_answer_of_a_fallback_is_kept_as_that_of_the_expert_that_gave_it(session, cache):
    def call(_, record):
        if record["model"] == "small":
            raise ConnectionError("down")
        return "hello"

    ask(session, call)
    (key,) = cache._store
    assert list(cache._store.get(key)) == ["big"]


def test_refused_answers_are_not_kept(session, cache):
    def refuse(*_):
        raise InvalidAnswerError("It does not parse.", "hello", is_usable=True)

    assert ask(session, refuse)[0] == "hello"
    assert len(cache) == 0


def test_answers_with_problems_are_not_kept(session, cache):
    ask(session, problems=lambda _: ("length",))
    assert len(cache) == 0


def test_a_call_whose_settings_are_unknown_is_not_kept(session, cache):
    ask(session, conversation=talk(settings=None))
    ask(session, conversation=talk(settings={"callback": print}))
    assert len(cache) == 0


def test_a_stream_is_kept_at_its_end_only(session, cache):
    stream, *_ = ask(session, lambda *_: peek_stream(iter(["hel", "lo"]), bool))
    chunks = resume_stream(stream, str)
    assert next(chunks) == "hel"
    assert len(cache) == 0
    assert list(chunks) == ["lo"]
    assert ask(session, fail)[0] == "hello again"


def test_a_stream_that_is_given_up_is_closed_and_not_kept(session, cache):
    closed = []

    def chunks():
        try:
            yield "hel"
            yield "lo"
        finally:
            closed.append(True)

    stream, *_ = ask(session, lambda *_: peek_stream(chunks(), bool))
    reader = resume_stream(stream, str)
    next(reader)
    reader.close()
    assert closed
    assert len(cache) == 0


async def test_a_stream_that_is_awaited_is_kept_at_its_end(session):
    async def chunks():
        yield "hel"
        yield "lo"

    peeked = await apeek_stream(chunks(), bool)
    stream, *_ = ask(session, lambda *_: peeked)
    assert [chunk async for chunk in aresume_stream(stream, str)] == ["hel", "lo"]
    assert ask(session, fail)[0] == "hello again"


def test_the_caches_of_a_split_are_those_of_its_routers(router, cache):
    other = AnswerCache(shared=True)
    split = Split({"a": router.with_policy(cache), "b": router.with_policy(other)})
    assert answer_caches(split) == [cache, other]
    assert answer_caches(router) == []


@pytest.mark.parametrize(
    "other",
    [
        talk("another question"),
        talk(tools="[add]"),
        talk(structured_output=True),
        talk(settings={"temperature": 1}),
        Conversation([Turn("system", "Be brief."), *talk().turns], settings={}),
        Conversation([Turn("user", "small question", images=1, digest="x")], settings={}),
    ],
)
def test_whatever_is_sent_is_part_of_the_key(other):
    assert other.request_key.whole != talk().request_key.whole


def test_the_words_of_the_user_alone_are_not_in_the_rest_of_the_key():
    assert talk("a question").request_key.rest == talk("other words").request_key.rest
    one, other = (
        talk(f"Context: {text}\nQuestion: why?", query="why?") for text in ("red", "blue")
    )
    assert one.request_key.rest != other.request_key.rest
    asked = talk("Context: red\nQuestion: how?", query="how?")
    assert one.request_key.rest == asked.request_key.rest


def test_a_conversation_has_the_same_key_whichever_decision_its_answers_came_from():
    turns = [
        [Turn("user", "a"), Turn("assistant", "b", decision_id=one), Turn("user", "c")]
        for one in ("1", "2")
    ]
    one, other = (Conversation(talked, settings={}).request_key for talked in turns)
    assert one == other
    assert Conversation([], settings={}).request_key == NOT_COMPARABLE
