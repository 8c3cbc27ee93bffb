"""Cascades in LlamaIndex: whole answers, streams, tools and structured prediction."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from tryage import Expert, Router
from tryage.core.policy_change import CallPlan, CallStep, Verdict
from tryage.testing import FixedPerception, FixedPolicy
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

EXPERTS = [
    Expert("small", input_price=100_000, output_price=0),
    Expert("big", input_price=1_000_000, output_price=0),
]  # an answer of 10 tokens costs 1 and 10 USD

PLACE = {"logprob": -0.1, "top_logprobs": []}


class LogProbabilityLLM(ScriptedLLM):
    """Gives log probabilities if it is asked for them, as LlamaIndex's LLM of OpenAI does."""

    logprobs: bool | None = None
    refuses: bool = False

    def _reply(self, messages, kwargs):
        if self.logprobs and self.refuses:
            raise TypeError("got an unexpected keyword argument 'logprobs'")
        answer = super()._reply(messages, kwargs)
        if self.logprobs:
            answer.raw["choices"] = [{"logprobs": {"content": [PLACE]}}]
        return answer


class City(BaseModel):
    city: str


@pytest.fixture
def make_llm():
    def make_llm(policy, **small):
        llms = {
            "small": LogProbabilityLLM(model="scripted-small", **small),
            "big": LogProbabilityLLM(model="scripted-big"),
        }
        router = Router(FixedPerception({"small": 0.3, "big": 0.1}), EXPERTS)
        return TryageLLM(llms=llms, router=router, policy=policy)

    return make_llm


def cascade(seen, *, is_kept=False, **step):
    """Return a policy that asks "small", notes the evidence, and asks "big" unless it is kept."""

    def verify(evidence):
        seen.append(evidence)
        return Verdict(is_kept, "as told")

    first = CallStep("small", verify=verify, **step)
    return FixedPolicy("small", CallPlan((first, CallStep("big"))))


async def test_an_answer_that_is_not_kept_is_billed_and_the_next_llm_answers(
    make_llm, call, method, observer
):
    seen = []
    policy = cascade(seen)
    chunks = await call(make_llm(policy), method, "a question")
    answer = chunks[-1]
    record = answer.additional_kwargs["tryage"]
    assert record["model"] == "big"
    assert "scripted-big" in str(answer)
    assert not any("scripted-small" in str(chunk) for chunk in chunks)
    told = [(one["model"], one["billed"], one["kept"]) for one in record["cost"]["steps"]]
    assert told == [("small", 1.0, False), ("big", 10.0, True)]
    assert record["cost"]["billed"] == 11.0
    assert policy.settled == [(record["id"], "big", 11.0)]
    assert "scripted-small" in seen[0].text
    assert seen[0].question == "a question"
    assert [event.model for event in observer.of("RoutingDecisionEvent")] == ["small", "big"]
    (event,) = observer.of("RoutingCostEvent")
    assert event.billed == 11.0


async def test_an_answer_that_is_kept_is_the_answer(make_llm, call, method):
    answer = (await call(make_llm(cascade([], is_kept=True)), method, "a question"))[-1]
    assert "scripted-small" in str(answer)
    (step,) = answer.additional_kwargs["tryage"]["cost"]["steps"]
    assert (step["model"], step["billed"], step["reason"]) == ("small", 1.0, "as told")


async def test_log_probabilities_are_asked_for_where_the_cascade_reads_them(make_llm, call):
    seen = []
    llm = make_llm(cascade(seen, is_kept=True, needs_log_probabilities=True))
    for method in ("chat", "achat", "complete"):
        await call(llm, method, "a question")
    assert [one.log_probabilities for one in seen] == [(-0.1,)] * 3
    plain = []
    await call(make_llm(cascade(plain, is_kept=True)), "chat", "a question")
    assert plain[0].log_probabilities is None


async def test_an_llm_that_refuses_log_probabilities_is_asked_without_them(make_llm, call):
    seen = []
    llm = make_llm(cascade(seen, is_kept=True, needs_log_probabilities=True), refuses=True)
    answer = (await call(llm, "chat", "a question"))[-1]
    assert "failed" not in answer.additional_kwargs["tryage"]
    assert seen[0].log_probabilities is None


async def test_samples_are_asked_for_and_billed(make_llm, call, method):
    seen = []
    llm = make_llm(cascade(seen, is_kept=True, samples=("small", "big")))
    answer = (await call(llm, method, "a question"))[-1]
    assert ["scripted-big" in one.text for one in seen[0].samples] == [False, True]
    (step,) = answer.additional_kwargs["tryage"]["cost"]["steps"]
    assert step["billed"] == 12.0


def test_a_tool_call_is_evidence(make_llm):
    seen = []
    tool = FunctionTool.from_defaults(fn=lambda city: city, name="weather", description="Weather.")
    llm = make_llm(cascade(seen))
    answer = llm.chat_with_tools([tool], user_msg="the weather in Rome?")
    assert [one["name"] for one in seen[0].tool_calls] == ["weather"]
    assert answer.additional_kwargs["tryage"]["model"] == "big"
    assert llm.get_tool_calls_from_response(answer)[0].tool_name == "weather"


def test_a_structured_prediction_is_evidence_and_its_samples_are_billed(make_llm):
    seen = []
    policy = cascade(seen, samples=("small",))
    prediction = make_llm(policy).structured_predict(City, PromptTemplate("Which city?"))
    assert isinstance(prediction, City)
    assert isinstance(seen[0].parsed, City)
    assert isinstance(seen[0].samples[0].parsed, City)
    assert [settled[1:] for settled in policy.settled] == [("big", 12.0)]


def test_a_stream_that_is_sure_to_be_kept_streams_live(make_llm):
    seen = []
    policy = cascade(seen, is_kept=True, is_certain=lambda evidence: bool(evidence.text))
    llm = make_llm(policy)
    stream = llm.stream_chat([ChatMessage("a question")])
    assert seen[0].text == "Hello "  # what was read when it was sure
    assert "scripted-small" in str(list(stream)[-1])
