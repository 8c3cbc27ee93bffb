"""Cascades in LangChain: whole answers, streams, batches, tools, structured output and agents."""

from __future__ import annotations

import json

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from tryage import Expert, Router
from tryage.core.policy_change import CallPlan, CallStep, Verdict
from tryage.policies import Cascade
from tryage.policies.evidence import LogProbability
from tryage.policies.likelihood import Likelihood
from tryage.testing import FixedPerception, FixedPolicy
from tryage.testing.hub.http import FakeResponse, LoopbackServer
from tryage_langchain import ChatTryage, TryageMiddleware

ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI

EXPERTS = [
    Expert("small", input_price=1, output_price=1),
    Expert("big", input_price=10, output_price=10),
]

HEAD = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}

USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}


def reply_json(value):
    return FakeResponse(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


class CascadeServer:
    """A server of OpenAI's protocol with log probabilities, which "dull" models refuse."""

    def __init__(self):
        self.requests, self.log_probability, self.grows = [], -0.01, False

    def __call__(self, request):
        body = request.json()
        self.requests.append(body)
        if "logprobs" in body and body["model"] == "dull":
            error = {"message": "'logprobs' is not supported with this model."}
            return FakeResponse(400, json.dumps({"error": error}).encode())
        words = ["I ", "am ", body["model"]]
        if body.get("tools"):
            return reply_json({**HEAD, "choices": [self._tool_call(body)], "usage": self._usage()})
        if body.get("stream"):
            return self._stream(body, words)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(words)},
            "finish_reason": "stop",
            **self._logprobs(body, words),
        }
        return reply_json({**HEAD, "choices": [choice], "usage": USAGE})

    def _usage(self):
        """Return the tokens of an answer; each one may have a million more than the one before."""
        return {**USAGE, "prompt_tokens": 1_000_000 * (len(self.requests) if self.grows else 1)}

    def _stream(self, body, words):
        chunks = [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": word},
                **self._logprobs(body, [word]),
            }
            for word in words
        ]
        lines = [json.dumps({**HEAD, "choices": [chunk]}) for chunk in chunks]
        lines.append(json.dumps({**HEAD, "choices": [], "usage": USAGE}))
        text = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        return FakeResponse(200, text.encode(), {"Content-Type": "text/event-stream"})

    def _logprobs(self, body, words):
        if not body.get("logprobs"):
            return {}
        top = [{"token": "x", "logprob": self.log_probability, "bytes": None}]
        places = [{**top[0], "token": word, "top_logprobs": top} for word in words]
        return {"logprobs": {"content": places, "refusal": None}}

    def _tool_call(self, body):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Rome"}'}
        call = {"id": "c1", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return {"index": 0, "message": message, "finish_reason": "tool_calls"}


@pytest.fixture
def server():
    answers = CascadeServer()
    with LoopbackServer(answers) as running:
        answers.url = f"{running.url}/v1"
        yield answers


@pytest.fixture
def make_chat(server):
    """Make ChatTryage over "small" and "big"; "small" may be another model of the server."""

    def make(policy, small="small", kind=ChatTryage, **settings):
        models = {
            name: ChatOpenAI(
                model=model, base_url=server.url, api_key="none", max_retries=0, stream_usage=True
            )
            for name, model in (("small", small), ("big", "big"))
        }
        router = Router(FixedPerception({"small": 0.3, "big": 0.1}), EXPERTS)
        return kind(models, router=router, policy=policy, **settings)

    return lambda policy, **settings: make(policy, **{"kind": ChatTryage.from_models, **settings})


def cascade(seen, *, is_kept=False, **step):
    """Return a policy that asks "small", notes the evidence, and asks "big" unless it is kept."""

    def verify(evidence):
        seen.append(evidence)
        return Verdict(is_kept, "as told")

    first = CallStep("small", verify=verify, **step)
    return FixedPolicy("small", CallPlan((first, CallStep("big"))))


def costs(answer):
    return answer.response_metadata["tryage"]["cost"]


def merged(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def test_an_answer_that_is_not_kept_is_billed_and_the_next_model_answers(make_chat):
    seen = []
    policy = cascade(seen, needs_log_probabilities=True)
    chat = make_chat(policy)
    answers = [chat.invoke("a question"), await chat.ainvoke("a question")]
    answers += chat.batch(["a question"])
    answers += [chat.generate([[HumanMessage("a question")]]).generations[0][0].message]
    for answer in answers:
        assert answer.text == "I am big"
        told = [(one["model"], one["billed"], one["kept"]) for one in costs(answer)["steps"]]
        assert told == [("small", 1.0, False), ("big", 10.0, True)]
        assert costs(answer)["billed"] == 11.0
    assert [(one.text, one.question) for one in seen] == [("I am small", "a question")] * 4
    assert {one.log_probabilities for one in seen} == {(-0.01,) * 3}
    assert [settled[1:] for settled in policy.settled] == [("big", 11.0)] * 4


async def test_a_stream_shows_nothing_of_an_answer_that_is_not_kept(make_chat):
    policy = cascade([], needs_log_probabilities=True)
    chat = make_chat(policy)
    answers = [
        merged(chat.stream("a question")),
        merged([chunk async for chunk in chat.astream("a question")]),
    ]
    for answer in answers:
        assert answer.text == "I am big"
        told = [(one["model"], one["billed"]) for one in costs(answer)["steps"]]
        assert told == [("small", 1.0), ("big", 10.0)]
        assert costs(answer)["billed"] == 11.0
    assert [settled[1:] for settled in policy.settled] == [("big", 11.0)] * 2


def test_events_show_nothing_of_an_answer_that_is_not_kept(make_chat):
    answer = make_chat(cascade([])).stream_events("a question", version="v3").output
    assert answer.text == "I am big"
    told = [(one["model"], one["billed"]) for one in costs(answer)["steps"]]
    assert told == [("small", 1.0), ("big", 10.0)]


async def test_a_stream_that_is_kept_has_one_record(make_chat):
    answer = merged(make_chat(cascade([], is_kept=True)).stream("a question"))
    assert answer.text == "I am small"
    (step,) = costs(answer)["steps"]
    assert (step["model"], step["billed"], step["reason"]) == ("small", 1.0, "as told")


async def test_a_stream_is_passed_on_from_where_it_is_sure_to_be_kept(make_chat):
    seen = []
    sure = {"is_certain": lambda evidence: bool(evidence.log_probabilities)}
    chat = make_chat(cascade(seen, is_kept=True, needs_log_probabilities=True, **sure))
    answers = [
        merged(chat.stream("a question")),
        merged([chunk async for chunk in chat.astream("a question")]),
    ]
    assert [answer.text for answer in answers] == ["I am small"] * 2
    assert [costs(answer)["steps"][0]["billed"] for answer in answers] == [1.0] * 2
    assert [one.text for one in seen] == ["I "] * 2  # what was read when it was sure


def test_a_model_that_refuses_log_probabilities_is_asked_without_them_from_then_on(
    make_chat, server
):
    seen = []
    policy = cascade(seen, is_kept=True, needs_log_probabilities=True)
    chat = make_chat(policy, small="dull")
    for _ in range(2):
        answer = chat.invoke("a question")
        assert answer.text == "I am dull"
        assert "failed" not in answer.response_metadata["tryage"]
    assert ["logprobs" in body for body in server.requests] == [True, False, False]
    assert [one.log_probabilities for one in seen] == [None, None]
    assert chat.health()["small"]["state"] == "healthy"


def test_samples_are_asked_for_and_billed(make_chat, server):
    seen = []
    answer = make_chat(cascade(seen, is_kept=True, samples=("small", "big"))).invoke("a question")
    assert answer.text == "I am small"
    assert [one.text for one in seen[0].samples] == ["I am small", "I am big"]
    assert costs(answer)["billed"] == 12.0
    assert len(server.requests) == 3


def test_a_tool_call_is_evidence(make_chat):
    @tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    seen = []
    answer = make_chat(cascade(seen)).bind_tools([weather]).invoke("the weather in Rome?")
    assert seen[0].tool_calls == ({"name": "weather", "args": {"city": "Rome"}},)
    assert answer.tool_calls[0]["name"] == "weather"
    assert answer.response_metadata["tryage"]["model"] == "big"


def test_structured_output_is_evidence_and_each_sample_is_billed_by_its_own_tokens(
    make_chat, server
):
    class City(BaseModel):
        city: str

    seen, server.grows = [], True
    policy = cascade(seen, samples=("small",))
    chat = make_chat(policy).with_structured_output(City, method="function_calling")
    assert chat.invoke("a city?") == City(city="Rome")
    assert seen[0].parsed == City(city="Rome")
    assert [sample.parsed for sample in seen[0].samples] == [City(city="Rome")]
    assert [settled[1:] for settled in policy.settled] == [("big", 1.0 + 2.0 + 30.0)]


def test_an_agent_asks_the_next_model_and_streams_no_answer_that_may_not_be_kept(make_chat):
    seen = []
    policy = cascade(seen, samples=("small",), needs_log_probabilities=True)
    middleware = make_chat(policy, kind=TryageMiddleware)
    agent = create_agent(ChatOpenAI(model="own", api_key="none"), middleware=[middleware])
    question = {"messages": [("user", "a question")]}
    state = agent.invoke(question)
    assert state["messages"][-1].text == "I am big"
    assert state["tryage"]["served_by"] == "big"
    assert [step["billed"] for step in state["tryage"]["cost"]["steps"]] == [2.0, 10.0]
    assert seen[0].log_probabilities == (-0.01,) * 3
    assert [settled[1:] for settled in policy.settled] == [("big", 12.0)]
    parts = [part for part, _ in agent.stream(question, stream_mode="messages")]
    assert "".join(part.text for part in parts) == "I am big"


def test_an_agent_streams_an_answer_that_is_kept_as_one_part(make_chat):
    middleware = make_chat(cascade([], is_kept=True), kind=TryageMiddleware)
    agent = create_agent(ChatOpenAI(model="own", api_key="none"), middleware=[middleware])
    question = {"messages": [("user", "a question")]}
    parts = [part for part, _ in agent.stream(question, stream_mode="messages")]
    assert [part.text for part in parts] == ["I am small"]


def test_the_cascade_of_tryage_keeps_sure_answers_and_asks_on_after_unsure_ones(make_chat, server):
    likelihood = Likelihood((-0.5,), right=(0.05, 0.95), wrong=(0.95, 0.05))
    policy = Cascade(
        ["small", "big"], verify=LogProbability(), answer_value=1_000, likelihoods=likelihood
    )
    chat = make_chat(policy)
    sure = chat.invoke("a question")
    assert sure.text == "I am small"
    server.log_probability = -3.0
    unsure = chat.invoke("another question")
    assert unsure.text == "I am big"
    assert "right with" in costs(unsure)["steps"][0]["reason"]
