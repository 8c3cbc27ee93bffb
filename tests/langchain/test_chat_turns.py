"""How long a conversation stays with its model, seen by a user of ChatTryage."""

from __future__ import annotations

import pytest
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from tryage import Router
from tryage.testing import FixedPerception
from tryage.traffic.health import process_health
from tryage_langchain import ChatTryage


class Unsteady(SimpleChatModel):
    """Answers with its name, after as many failures as are left."""

    label: str
    failures: int = 0

    @property
    def _llm_type(self):
        return "unsteady"

    def _call(self, *_, **__):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("503")
        return self.label


@pytest.fixture
def models():
    return {name: Unsteady(label=name) for name in ("favourite", "other")}


@pytest.fixture
def chat(models):
    return ChatTryage(models=models, router=Router(FixedPerception({"favourite": 0, "other": 1})))


def fail_once(chat, models, messages, config=None):
    """Let the favourite fail once, so that the other model answers; it recovers at once."""
    models["favourite"].failures = 1
    answer = chat.invoke(messages, config)
    assert answer.content == "other"
    process_health().clear()
    return answer


@pytest.mark.parametrize("sticky", ["turn", "thread"])
def test_one_failure_moves_nobody_elses_equal_prompt(chat, models, sticky):
    chat = chat.model_copy(update={"sticky": sticky})
    fail_once(chat, models, "Prove it")
    answers = [chat.invoke("Prove it") for _ in range(50)]
    assert {answer.content for answer in answers} == {"favourite"}


def test_each_of_two_equal_tool_loops_stays_with_its_own_model(chat, models):
    question = HumanMessage("What is the weather?")

    def next_step(answer):
        asked = AIMessage(
            "",
            tool_calls=[{"name": "look", "args": {}, "id": "1"}],
            response_metadata=answer.response_metadata,
        )
        return chat.invoke([question, asked, ToolMessage("sunny", tool_call_id="1")])

    moved = fail_once(chat, models, [question])
    steady = chat.invoke([question])
    for _ in range(2):
        assert next_step(moved).content == "other"
        assert next_step(steady).content == "favourite"


def test_a_thread_stays_with_the_model_that_took_over_and_no_other_thread_does(chat, models):
    chat = chat.model_copy(update={"sticky": "thread"})
    one, other = ({"configurable": {"thread_id": name}} for name in "12")
    first = fail_once(chat, models, "Hello", one)
    talk = [HumanMessage("Hello"), AIMessage(first.content), HumanMessage("And now?")]
    assert chat.invoke(talk, one).content == "other"
    assert chat.invoke(talk, other).content == "favourite"


def test_a_model_that_fails_within_its_turn_is_left(chat, models):
    config = {"configurable": {"thread_id": "1"}}
    assert chat.invoke("Hello", config).content == "favourite"
    fail_once(chat, models, "Hello", config)
    kept = chat.invoke("Hello", config)
    assert (kept.content, kept.response_metadata["tryage"]["how"]) == ("other", "kept for the turn")
