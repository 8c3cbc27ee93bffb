"""If the chosen LLM fails, the next one answers, unless the answer has begun."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage

from tryage.errors import AllFailedError
from tryage.traffic import process_health
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

DOWN = ConnectionError("no route to api_key=sk-SECRET123")


async def test_the_next_llm_answers_and_the_record_says_why_without_secrets(
    llm, small, method, call
):
    small.fails = [DOWN]
    last = (await call(llm, method, "small question"))[-1]
    record = last.additional_kwargs["tryage"]
    assert record["model"] == "big"
    assert record["reason"] == "small failed"
    assert record["failed"]["small"].startswith("ConnectionError: no route")
    assert "SECRET" not in str(record)


async def test_every_attempt_has_an_event(llm, small, observer, method, call):
    small.fails = [DOWN]
    await call(llm, method, "small question")
    assert [one.model for one in observer.of("RoutingDecisionEvent")] == ["small", "big"]


@pytest.mark.parametrize("stream", ["stream_chat", "astream_chat"])
async def test_a_stream_falls_back_before_its_first_word_and_never_after(
    llm, small, big, call, stream
):
    small.breaks_after = 0
    assert (await call(llm, stream, "small question"))[-1].message.content.startswith(
        "Hello from scripted-big"
    )
    process_health().clear()
    small.breaks_after, big.calls = 1, []
    with pytest.raises(ConnectionError, match="scripted-small broke off"):
        await call(llm, stream, "small again")
    assert big.calls == []


async def test_a_wrong_request_is_not_sent_to_another_llm(llm, small, big, method, call):
    small.fails = [ValueError("no such argument")]
    with pytest.raises(ValueError, match="no such argument"):
        await call(llm, method, "small question")
    assert big.calls == []


async def test_when_all_fail_every_error_is_listed(llm, small, big, method, call):
    small.fails, big.fails = [DOWN], [TimeoutError("slow")]
    with pytest.raises(
        AllFailedError, match=r"small: ConnectionError.*\n.*big: TimeoutError"
    ) as raised:
        await call(llm, method, "small question")
    assert "SECRET" not in str(raised.value)


async def test_a_child_that_cannot_be_made_counts_as_failed(router, small, method, call):
    def broken():
        raise ImportError("no such package")

    llm = TryageLLM(llms={"small": small, "big": broken}, router=router)
    last = (await call(llm, method, "big question"))[-1]
    assert last.additional_kwargs["tryage"]["failed"] == {"big": "ImportError: no such package"}


def test_max_attempts_limits_the_llms_that_are_asked(router, small, big):
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, max_attempts=1)
    small.fails = [DOWN]
    with pytest.raises(ConnectionError):
        llm.chat([ChatMessage("small")])
    assert big.calls == []


def test_a_child_that_failed_is_left_out_of_the_next_call(llm, small):
    small.fails = [DOWN]
    messages = [ChatMessage("small question")]
    assert llm.chat(messages).additional_kwargs["tryage"]["model"] == "big"
    record = llm.chat(messages).additional_kwargs["tryage"]
    assert (record["model"], record["reason"]) == ("big", "small is cooling down")
    assert record["cooling_down"] == ["small"]
    assert "failed" not in record
    assert len(small.calls) == 1


def test_a_child_that_changes_its_messages_changes_copies(router, big):
    class Changing(ScriptedLLM):
        def _record_call(self, messages, kwargs):  # noqa: ARG002 - the signature of the base class
            messages[0].content = "changed"
            messages.append(ChatMessage("more"))
            raise DOWN

    messages = [ChatMessage("small question")]
    TryageLLM(llms={"small": Changing(model="m"), "big": big}, router=router).chat(messages)
    assert [message.content for message in messages] == ["small question"]
    assert [message.content for message in big.calls[0]["messages"]] == ["small question"]
