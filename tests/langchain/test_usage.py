"""Billed dollars equal hand-worked cases: real client packages ask a loopback server."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from pydantic import BaseModel

from tryage import Expert, Router
from tryage.core.usage import TokenUsage
from tryage.testing import FunctionPerception
from tryage.testing.hub.http import FakeResponse, json_response
from tryage_langchain import ChatTryage
from tryage_langchain._usage import usage_of
from tryage_langchain.testing import ScriptedChatModel

openai = pytest.importorskip("langchain_openai")
anthropic = pytest.importorskip("langchain_anthropic")
google = pytest.importorskip("langchain_google_genai")

# The second expert is the best on average, and dearer: 10 dollars for a million tokens of input, 1
# for cached ones, 50 for output. The first one answers: 2, 0.5 and 8.
EXPERTS = (
    Expert("cheap", input_price=2, output_price=8, cached_input_price=0.5),
    Expert("dear", input_price=10, output_price=50, cached_input_price=1),
)


class TwoExperts(FunctionPerception):
    """Predicts that the dear one is better on typical prompts, and the cheap one on others."""

    def __init__(self):
        super().__init__(
            ("cheap", "dear"), lambda prompt: [1.0, 0.0] if prompt == "typical" else [0.0, 1.0]
        )

    def typical_prompts(self):
        return ("typical",)


# Clients of every protocol -----------------------------------------------------------------------


@pytest.fixture
def server(providers):
    providers.tool_arguments = {"value": 4}
    return providers


def client_of(kind, url, name):
    """Return a real client that asks the server."""
    if kind == "anthropic":
        return anthropic.ChatAnthropic(model=name, api_key="none", base_url=url, max_retries=0)
    if kind == "gemini":
        return google.ChatGoogleGenerativeAI(
            model=name, api_key="none", base_url=url, max_retries=1
        )
    return openai.ChatOpenAI(
        model=name, api_key="none", base_url=f"{url}/v1", max_retries=0, stream_usage=True,
        use_responses_api=kind == "responses",
    )  # fmt: skip


@pytest.fixture
def make_chat(server):
    def make(kind="completions", experts=EXPERTS, **settings):
        clients = {name: client_of(kind, server.url, name) for name in ("cheap", "dear")}
        router = Router(TwoExperts())
        return ChatTryage.from_models(clients, router=router, experts=experts, **settings)

    return make


# Each provider's report, and what it costs by hand at both experts: dollars per million tokens.
#   completions: 1000 input, 400 of them cached, 60 output (20 of reasoning among them)
#   responses: the same numbers
#   anthropic: 500 + 300 read from the cache + 200 written to it, 60 output
#   anthropic, an hour: 500 + 300 read + 200 written, of which 150 stay for an hour
#   gemini: 1000 input, 400 of them cached, 40 output + 20 of thoughts
REPORTS = {
    "completions": {
        "prompt_tokens": 1000, "completion_tokens": 60, "total_tokens": 1060,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
    "responses": {
        "input_tokens": 1000, "output_tokens": 60, "total_tokens": 1060,
        "input_tokens_details": {"cached_tokens": 400},
        "output_tokens_details": {"reasoning_tokens": 20},
    },
    "anthropic": {
        "input_tokens": 500, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 200,
        "output_tokens": 60,
    },
    "anthropic, an hour": {
        "input_tokens": 500, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 200,
        "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150},
        "output_tokens": 60,
    },
    "gemini": {
        "promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 40,
        "thoughtsTokenCount": 20, "totalTokenCount": 1060,
    },
}  # fmt: skip
BILLS = {
    "completions": 600 * 2 + 400 * 0.5 + 60 * 8,
    "responses": 600 * 2 + 400 * 0.5 + 60 * 8,
    "anthropic": 500 * 2 + 300 * 0.5 + 200 * 2.5 + 60 * 8,
    "anthropic, an hour": 500 * 2 + 300 * 0.5 + 50 * 2.5 + 150 * 4 + 60 * 8,
    "gemini": 600 * 2 + 400 * 0.5 + 60 * 8,
}
DEAR_BILLS = {
    "completions": 600 * 10 + 400 * 1 + 60 * 50,
    "responses": 600 * 10 + 400 * 1 + 60 * 50,
    "anthropic": 500 * 10 + 300 * 1 + 200 * 12.5 + 60 * 50,
    "anthropic, an hour": 500 * 10 + 300 * 1 + 50 * 12.5 + 150 * 20 + 60 * 50,
    "gemini": 600 * 10 + 400 * 1 + 60 * 50,
}


def usd(per_million):
    return None if per_million is None else pytest.approx(per_million / 1e6)


def sum_chunks(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


async def ask(chat, method, question="question"):
    """Return the answer of one of the ways to ask; of a stream, its chunks added up."""
    if method == "astream":
        return sum_chunks([chunk async for chunk in chat.astream(question)])
    if method in ("ainvoke", "abatch"):
        answer = await getattr(chat, method)(question if method == "ainvoke" else [question])
    else:
        answer = WAYS[method](chat, question)
    return answer[0] if isinstance(answer, list) else answer


WAYS = {
    "invoke": lambda chat, question: chat.invoke(question),
    "stream": lambda chat, question: sum_chunks(list(chat.stream(question))),
    "batch": lambda chat, question: chat.batch([question]),
    "generate": lambda chat, question: (
        chat.generate([[HumanMessage(question)]]).generations[0][0].message
    ),
    "events": lambda chat, question: chat.stream_events(question, version="v3").output,
}
METHODS = ("invoke", "ainvoke", "stream", "astream", "batch", "abatch", "generate", "events")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", REPORTS)
async def test_the_bill_is_what_the_reported_tokens_cost(make_chat, server, kind, method):
    server.usage = REPORTS[kind]
    chat = make_chat(kind.partition(",")[0])
    answer = await ask(chat, method)
    record = answer.response_metadata["tryage"]
    assert record["model"] == "cheap"
    cost = record["cost"]
    assert cost["billed"] == usd(BILLS[kind])
    assert cost["best_single"] == cost["dearest"]
    assert cost["dearest"] == usd(DEAR_BILLS[kind])
    savings = chat.savings()
    assert (savings.answers, savings.unknown, savings.best_single_name) == (1, 0, "dear")
    assert savings.saved == usd(DEAR_BILLS[kind] - BILLS[kind])


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_stream_without_a_report_of_tokens_has_an_unknown_bill(make_chat, method):
    chat = make_chat(experts=EXPERTS)
    for client in chat.models.values():
        client.stream_usage = False
    answer = await ask(chat, method)
    cost = answer.response_metadata["tryage"]["cost"]
    assert cost["expected"] > 0
    assert (cost["billed"], cost["best_single"], cost["dearest"]) == (None, None, None)
    savings = chat.savings()
    assert (savings.answers, savings.unknown, savings.billed) == (1, 1, None)


async def test_the_last_chunk_alone_has_the_bill(make_chat, server):
    server.usage = REPORTS["completions"]
    chunks = [chunk.model_dump_json() for chunk in make_chat().stream("question")]
    records = [json.loads(chunk)["response_metadata"].get("tryage", {}) for chunk in chunks]
    assert records[0]["cost"]["billed"] is None
    assert [record.get("cost", {}).get("billed") for record in records[1:] if record] == [
        usd(BILLS["completions"])
    ]


async def test_a_stream_that_is_not_read_to_its_end_has_an_unknown_bill(make_chat, server):
    server.usage = REPORTS["completions"]
    chat = make_chat()
    stream = chat.stream("question")
    next(stream)
    stream.close()
    chunks = chat.astream("question")
    await anext(chunks)
    await chunks.aclose()
    assert (chat.savings().answers, chat.savings().unknown) == (2, 2)


# What hides its tokens ---------------------------------------------------------------------------


class Number(BaseModel):
    """A number."""

    value: int


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_structured_output_is_billed(make_chat, server, way, method, include_raw):
    server.usage, server.text = REPORTS["completions"], '{"value": 4}'
    chat = make_chat()
    structured = chat.with_structured_output(Number, method=method, include_raw=include_raw)
    if "stream" in way:
        stream = structured.stream("q") if way == "stream" else structured.astream("q")
        assert [chunk async for chunk in stream] if way == "astream" else list(stream)
    else:
        answer = structured.invoke("q") if way == "invoke" else await structured.ainvoke("q")
        assert (answer["parsed"] if include_raw else answer) == Number(value=4)
        if include_raw:
            cost = answer["raw"].response_metadata["tryage"]["cost"]
            assert cost["billed"] == usd(BILLS["completions"])
    assert chat.savings().billed == usd(BILLS["completions"])


def test_a_chain_in_the_place_of_a_model_is_billed(server):
    from langchain_core.output_parsers import StrOutputParser

    server.usage = REPORTS["completions"]
    chains = {
        name: client_of("completions", server.url, name) | StrOutputParser()
        for name in ("cheap", "dear")
    }
    chat = ChatTryage(models=chains, router=Router(TwoExperts()), experts=EXPERTS)
    assert chat.invoke("question") == "4"
    assert chat.savings().billed == usd(BILLS["completions"])


def test_tools_are_billed_with_the_copy_that_they_are_bound_to(make_chat, server):
    server.usage = REPORTS["completions"]
    chat = make_chat()
    bound = chat.bind_tools([Number]).with_config(tags=["mine"])
    assert bound.invoke("question").tool_calls
    chat.with_config(tags=["other"]).invoke("question")
    assert chat.savings().billed == usd(2 * BILLS["completions"])


# Failed attempts ---------------------------------------------------------------------------------


def test_an_attempt_that_the_server_refuses_costs_nothing(make_chat, server):
    server.usage, server.failures = REPORTS["completions"], {"cheap": FakeResponse(503, b"{}")}
    chat = make_chat()
    cost = chat.invoke("question").response_metadata["tryage"]["cost"]
    assert cost["billed"] == usd(DEAR_BILLS["completions"])
    assert "failed" not in cost
    assert chat.savings().saved == 0


def test_an_answer_that_is_refused_is_billed_too(make_chat, server):
    server.usage = REPORTS["completions"]
    message = {"role": "assistant", "content": ""}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    server.failures = {"cheap": json_response({**head, "choices": [choice], "usage": server.usage})}
    chat = make_chat(retry_on=["empty"])
    cost = chat.invoke("question").response_metadata["tryage"]["cost"]
    assert cost["failed"] == {"cheap": usd(BILLS["completions"])}
    assert cost["billed"] == usd(BILLS["completions"] + DEAR_BILLS["completions"])
    assert chat.savings().saved == usd(-BILLS["completions"])


def test_an_answer_that_was_cut_off_by_time_leaves_the_bill_unknown(make_chat, server):
    server.usage = REPORTS["completions"]
    waits = threading.Event()
    completions = server.completions

    def answer(is_stream, body):
        if body["model"] == "cheap":
            waits.wait(20)
        return completions(is_stream, body)

    server.completions = answer
    chat = make_chat(attempt_timeout=0.3)
    try:
        cost = chat.invoke("question").response_metadata["tryage"]["cost"]
    finally:
        waits.set()
    assert cost["failed"] == {"cheap": None}
    assert cost["billed"] is None
    assert cost["best_single"] == usd(DEAR_BILLS["completions"])
    assert (chat.savings().answers, chat.savings().unknown) == (1, 1)


# Prices ------------------------------------------------------------------------------------------


def test_an_unknown_price_is_an_unknown_bill_and_never_free():
    models = {name: ScriptedChatModel(model=name) for name in ("cheap", "dear")}
    chat = ChatTryage(models=models, router=Router(TwoExperts()), experts=EXPERTS[1:])
    cost = chat.invoke("question").response_metadata["tryage"]["cost"]
    assert (cost["expected"], cost["billed"]) == (None, None)
    assert cost["dearest"] == usd(10 * 10 + 5 * 50)
    assert (chat.savings().unknown, chat.savings().billed) == (1, None)


def test_a_model_that_costs_nothing_is_billed_nothing(make_chat, server):
    server.usage = REPORTS["completions"]
    chat = make_chat(experts=(Expert("cheap", input_price=0, output_price=0), EXPERTS[1]))
    cost = chat.invoke("question").response_metadata["tryage"]["cost"]
    assert (cost["expected"], cost["billed"]) == (0, 0)
    assert chat.savings().saved_share == 1


@pytest.mark.parametrize(
    "details", [{"audio_tokens": 5}, {"cached_tokens": 400, "audio_tokens": 5}]
)
def test_tokens_with_rates_of_their_own_leave_the_bill_unknown(make_chat, server, details):
    server.usage = {**REPORTS["completions"], "prompt_tokens_details": details}
    cost = make_chat().invoke("question").response_metadata["tryage"]["cost"]
    assert cost["billed"] is None


def test_an_answer_of_the_callers_own_cache_costs_nothing(make_chat, server):
    from langchain_core.caches import InMemoryCache

    server.usage = REPORTS["completions"]
    chat = make_chat(cache=InMemoryCache())
    chat.invoke("question")
    chat.invoke("question")
    assert chat.savings().billed == usd(BILLS["completions"])
    assert (chat.savings().answers, chat.savings().unknown) == (2, 0)


# Who counts together -----------------------------------------------------------------------------


async def test_concurrent_answers_are_all_counted(make_chat, server):
    server.usage = REPORTS["completions"]
    chat = make_chat()
    await asyncio.gather(*(chat.ainvoke(f"question {i}") for i in range(20)))
    chat.batch([f"question {i}" for i in range(20)])
    assert chat.savings().answers == 40
    assert chat.savings(reset=True).billed == usd(40 * BILLS["completions"])
    assert chat.savings() == chat.savings(reset=True)
    assert chat.savings().answers == 0


def test_neither_keys_nor_prompts_are_in_what_is_counted(make_chat, server):
    server.usage = REPORTS["completions"]
    chat = make_chat()
    chat.invoke("a secret question")
    assert "secret" not in repr(chat.savings()) + str(chat.savings())


# Reading a message -------------------------------------------------------------------------------


def test_a_report_in_the_metadata_is_read_where_there_is_no_usage():
    message = AIMessage(
        "a", response_metadata={"token_usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    )
    assert usage_of(message) == TokenUsage(3, 4)


@pytest.mark.parametrize("answer", [None, "text", AIMessage("a"), AIMessageChunk(content="a"), {}])
def test_an_answer_without_a_report_has_unknown_tokens(answer):
    assert usage_of(answer) is None
