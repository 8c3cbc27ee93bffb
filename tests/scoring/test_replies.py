"""Replies as clients return them: recorded shapes of text, tokens and cost."""

from __future__ import annotations

from types import SimpleNamespace as Object

import pytest

from tryage import Expert
from tryage.errors import InputError
from tryage.learning.scoring.replies import Answer, as_callable, parse_reply, reply_cost

PRICED = Expert("gpt", input_price=2.0, output_price=10.0, cached_input_price=0.5)
OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 40},
}


def langchain():
    messages = pytest.importorskip("langchain_core.messages")
    return messages.AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "hello"}],
        usage_metadata={
            "input_tokens": 100,
            "output_tokens": 20,
            "total_tokens": 120,
            "input_token_details": {"cache_read": 40},
        },
    )


def llamaindex():
    llms = pytest.importorskip("llama_index.core.llms")
    return llms.CompletionResponse(text="hello", raw={"usage": OPENAI})


def llamaindex_chat():
    llms = pytest.importorskip("llama_index.core.llms")
    message = llms.ChatMessage(role="assistant", content="hello")
    return llms.ChatResponse(message=message, raw=Object(usage=Object(**OPENAI)))


@pytest.mark.parametrize(
    "reply",
    [
        langchain,
        llamaindex,
        llamaindex_chat,
        lambda: {"text": "hello", "usage": OPENAI},
        lambda: Object(content="hello", usage=Object(**OPENAI)),
        lambda: Object(content="hello", response_metadata={"token_usage": OPENAI}),
        lambda: Answer("hello", 100, 20, 40),
    ],
)
def test_text_tokens_and_cost_are_read(reply):
    found = parse_reply(reply())
    assert found == Answer("hello", 100, 20, 40)
    assert reply_cost(found, PRICED) == pytest.approx((60 * 2 + 40 * 0.5 + 20 * 10) / 1e6)


def test_tokens_that_nobody_told_are_unknown_and_so_is_the_cost():
    found = parse_reply("hello")
    assert found == Answer("hello")
    assert reply_cost(found, PRICED) is None
    assert reply_cost(Answer("hello", 100, 20), Expert("gpt")) is None
    assert reply_cost(Answer("hello", 100, 20), Expert("gpt", input_price=1.0)) is None


def test_without_a_cached_price_cached_tokens_cost_the_whole():
    plain = Expert("gpt", input_price=2.0, output_price=10.0)
    assert reply_cost(Answer("", 100, 20, 40), plain) == pytest.approx(400 / 1e6)


def test_a_cost_that_the_provider_tells_counts_and_free_is_free():
    told = parse_reply({"content": "hi", "usage": {"cost": 0.25, "prompt_tokens": 3}})
    assert reply_cost(told, PRICED) == 0.25
    assert reply_cost(Answer("hi"), Expert("local", input_price=0, output_price=0)) == 0.0


@pytest.mark.parametrize("reply", [None, 3, {}, {"usage": OPENAI}, Object()])
def test_a_reply_without_text_is_refused(reply):
    with pytest.raises(InputError, match="without text"):
        parse_reply(reply)


def test_runnables_llms_and_functions_can_be_asked():
    assert as_callable(Object(invoke=str.upper))("a") == "A"
    assert as_callable(Object(complete=str.upper))("a") == "A"
    assert as_callable(str.upper)("a") == "A"
    for wrong in ("gpt-4", None, Object(), Object):
        with pytest.raises(InputError, match="cannot be asked"):
            as_callable(wrong)
