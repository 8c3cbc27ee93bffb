"""Billed dollars of LLMs of LlamaIndex equal hand-worked cases, also where answers hide them."""

from __future__ import annotations

import json

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from tryage import Expert, Router
from tryage.core.usage import TokenUsage
from tryage.testing import FunctionPerception
from tryage.testing.hub.http import FakeResponse, LoopbackServer
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._usage import HiddenUsages, usage_of
from tryage_llamaindex.testing import USAGE, ScriptedLLM

# The scripted LLMs report USAGE tokens. The dear expert is the best one on average.
EXPERTS = (
    Expert("cheap", input_price=2, output_price=8, cached_input_price=0.5),
    Expert("dear", input_price=10, output_price=50, cached_input_price=1),
)
NAMES = ("cheap", "dear")


class TwoExperts(FunctionPerception):
    """Predicts that the dear one is better on typical prompts, and the cheap one on others."""

    def __init__(self):
        super().__init__(NAMES, lambda prompt: [1.0, 0.0] if prompt == "typical" else [0.0, 1.0])

    def typical_prompts(self):
        return ("typical",)


def usd(per_million):
    return pytest.approx(per_million / 1e6)


def bill(usage, name):
    """Return the USD per million of the tokens that scripted LLMs report."""
    expert = EXPERTS[NAMES.index(name)]
    return (
        usage["prompt_tokens"] * expert.input_price
        + usage["completion_tokens"] * expert.output_price
    )


@pytest.fixture
def make_llm():
    def make(cheap=None, dear=None, **settings):
        llms = {
            "cheap": cheap or ScriptedLLM(model="cheap"),
            "dear": dear or ScriptedLLM(model="dear"),
        }
        return TryageLLM.from_llms(llms, router=Router(TwoExperts()), experts=EXPERTS, **settings)

    return make


# Every method ------------------------------------------------------------------------------------


async def test_every_method_is_billed_by_the_tokens_that_the_child_reports(call, make_llm, method):
    llm = make_llm()
    chunks = await call(llm, method, "question")
    cost = chunks[-1].additional_kwargs["tryage"]["cost"]
    assert cost["billed"] == usd(bill(USAGE, "cheap"))
    assert cost["best_single"] == cost["dearest"]
    assert cost["dearest"] == usd(bill(USAGE, "dear"))
    assert cost["expected"] > 0
    savings = llm.savings()
    assert (savings.answers, savings.unknown, savings.best_single_name) == (1, 0, "dear")
    assert savings.saved == usd(bill(USAGE, "dear") - bill(USAGE, "cheap"))


async def test_tools_are_billed(make_llm, tool_method):
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    llm = make_llm()
    name = tool_method.removesuffix("_with_tools")
    answer = getattr(llm, tool_method)([FunctionTool.from_defaults(add)], user_msg="question")
    if name.startswith("a"):
        answer = await answer
    if name == "stream_chat":
        list(answer)
    if name == "astream_chat":
        assert [chunk async for chunk in answer]
    assert llm.savings().billed == usd(bill(USAGE, "cheap"))


class Number(BaseModel):
    """A number."""

    value: int


@pytest.mark.parametrize(
    "name",
    ["structured_predict", "astructured_predict", "stream_structured_predict",
     "astream_structured_predict"],
)  # fmt: skip
async def test_structured_answers_are_billed_though_they_hide_their_tokens(make_llm, name):
    llm = make_llm()
    answer = getattr(llm, name)(Number, PromptTemplate("question"))
    if name.startswith("a"):
        answer = await answer
    if name == "stream_structured_predict":
        list(answer)
    if name == "astream_structured_predict":
        assert [model async for model in answer]
    savings = llm.savings()
    assert (savings.answers, savings.billed) == (1, usd(bill(USAGE, "cheap")))


def test_an_answer_that_is_reported_as_completion_and_as_chat_counts_once():
    usages, raw = HiddenUsages(), {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    usages.add(ChatResponse(message=ChatMessage("a"), raw=raw))
    usages.add(CompletionResponse(text="a", raw=raw))
    assert usages.total == TokenUsage(3, 4)
    usages.add(CompletionResponse(text="a", raw=dict(raw)))
    assert usages.total == TokenUsage(6, 8)
    usages.add(CompletionResponse(text="a"))
    assert usages.total is None


def test_a_child_outside_of_routed_calls_is_not_counted(make_llm):
    child = ScriptedLLM(model="cheap")
    llm = make_llm(child)
    child.chat([ChatMessage("question")])
    child.structured_predict(Number, PromptTemplate("question"))
    assert llm.savings().answers == 0


def test_the_records_of_a_block_have_the_costs_of_streams_that_were_read(make_llm):
    llm = make_llm()
    with llm.using(preferences={}) as records:
        stream = llm.stream_chat([ChatMessage("question")])
        assert records[0]["cost"]["billed"] is None
        list(stream)
        llm.chat([ChatMessage("question")])
    assert [record["cost"]["billed"] for record in records] == [usd(bill(USAGE, "cheap"))] * 2


def test_a_stream_that_is_not_read_to_its_end_has_an_unknown_bill(make_llm):
    llm = make_llm()
    stream = llm.stream_chat([ChatMessage("question")])
    next(stream)
    stream.close()
    assert (llm.savings().answers, llm.savings().unknown, llm.savings().billed) == (1, 1, None)


@pytest.mark.parametrize("name", ["chat", "stream_chat"])
def test_an_event_tells_the_costs_after_the_answer(make_llm, observer, name):
    answer = getattr(make_llm(), name)([ChatMessage("question")])
    if name == "stream_chat":
        assert not observer.of("RoutingCostEvent")
        list(answer)
    (event,) = observer.of("RoutingCostEvent")
    assert (event.model, event.billed) == ("cheap", usd(bill(USAGE, "cheap")))
    assert event.best_single == event.dearest
    assert event.dearest == usd(bill(USAGE, "dear"))


def test_an_answer_that_is_refused_is_billed_too(make_llm):
    llm = make_llm(ScriptedLLM(model="cheap", replies=[""]), retry_on=["empty"])
    cost = llm.chat([ChatMessage("question")]).additional_kwargs["tryage"]["cost"]
    assert cost["failed"] == {"cheap": usd(bill(USAGE, "cheap"))}
    assert cost["billed"] == usd(bill(USAGE, "cheap") + bill(USAGE, "dear"))


def test_an_llm_that_fails_costs_nothing(make_llm):
    llm = make_llm(ScriptedLLM(model="cheap", fails=[ConnectionError("no")]))
    cost = llm.chat([ChatMessage("question")]).additional_kwargs["tryage"]["cost"]
    assert (cost["billed"], "failed" in cost) == (usd(bill(USAGE, "dear")), False)


def test_copies_count_together_and_deep_copies_for_themselves(make_llm):
    llm = make_llm()
    copy, deep_copy = llm.model_copy(), llm.model_copy(deep=True)
    for one in (llm, copy, deep_copy):
        one.chat([ChatMessage("question")])
    assert (llm.savings().answers, deep_copy.savings().answers) == (2, 1)
    assert copy.savings(reset=True).answers == 2
    assert llm.savings().answers == 0


# A real client -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_ollama_is_billed_by_what_it_counts(call, name):
    ollama = pytest.importorskip("llama_index.llms.ollama").Ollama
    end = {
        "model": "m", "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop",
        "message": {"role": "assistant", "content": "4"}, "prompt_eval_count": 100,
        "eval_count": 20,
    }  # fmt: skip
    with LoopbackServer(lambda _: FakeResponse(200, json.dumps(end).encode() + b"\n")) as server:
        llms = {one: ollama(model=one, base_url=server.url, context_window=8_000) for one in NAMES}
        llm = TryageLLM.from_llms(llms, router=Router(TwoExperts()), experts=EXPERTS)
        chunks = await call(llm, name, "question")
    cost = chunks[-1].additional_kwargs["tryage"]["cost"]
    assert cost["billed"] == usd(100 * 2 + 20 * 8)


# What providers report ---------------------------------------------------------------------------


class Report:
    """Fields as a client's own object has them."""

    def __init__(self, **values):
        self.__dict__.update(values)


RESPONSES = {
    "OpenAI": (
        Report(usage=Report(prompt_tokens=100, completion_tokens=20, total_tokens=120,
                            prompt_tokens_details=Report(cached_tokens=40))),
        TokenUsage(100, 20, 40),
    ),
    "OpenAI's responses": (
        Report(usage=Report(input_tokens=100, output_tokens=20, total_tokens=120,
                            input_tokens_details=Report(cached_tokens=40))),
        TokenUsage(100, 20, 40),
    ),
    "Anthropic": (
        {"usage": Report(input_tokens=50, output_tokens=20, cache_read_input_tokens=40,
                         cache_creation_input_tokens=10)},
        TokenUsage(100, 20, 40, 10),
    ),
    "Google": (
        {"usage_metadata": {"prompt_token_count": 100, "candidates_token_count": 15,
                            "thoughts_token_count": 5, "total_token_count": 120,
                            "cached_content_token_count": 40}},
        TokenUsage(100, 20, 40),
    ),
    "Bedrock": (
        {"usage": {"inputTokens": 50, "outputTokens": 20, "totalTokens": 120,
                   "cacheReadInputTokens": 40, "cacheWriteInputTokens": 10}},
        TokenUsage(100, 20, 40, 10),
    ),
    "Mistral's stream": (
        Report(data=Report(usage=Report(prompt_tokens=100, completion_tokens=20))),
        TokenUsage(100, 20),
    ),
    "another tier of OpenAI": (
        Report(service_tier="flex", usage=Report(prompt_tokens=100, completion_tokens=20)),
        TokenUsage(has_other_rates=True),
    ),
    "the beginning of Anthropic's stream": (
        {"type": "message_start",
         "message": {"usage": {"input_tokens": 50, "output_tokens": 1}}},
        None,
    ),
    "nothing": (None, None),
    "a text": ("text", None),
}  # fmt: skip


@pytest.mark.parametrize("provider", RESPONSES)
def test_the_report_of_a_provider_is_read_from_the_raw_response(provider):
    raw, usage = RESPONSES[provider]
    assert usage_of(ChatResponse(message=ChatMessage("a"), raw=raw)) == usage
    assert usage_of(CompletionResponse(text="a", raw=raw)) == usage


def test_the_report_may_be_in_the_arguments_of_the_response():
    kwargs = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    response = CompletionResponse(text="a", additional_kwargs=kwargs)
    assert usage_of(response) == TokenUsage(3, 4)


@pytest.mark.parametrize("answer", [None, "text", Number(value=1)])
def test_other_answers_have_unknown_tokens(answer):
    assert usage_of(answer) is None
