"""A router that follows the first word, scripted chat models, and every way to call a runnable."""

# ruff: noqa: ARG002 - fakes have the signatures that LangChain calls.

from __future__ import annotations

import inspect
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from pydantic import Field

from tryage.core.perception import Perception, Prediction
from tryage.router import Router
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

if TYPE_CHECKING:
    from collections.abc import Sequence


# Routers ----------------------------------------------------------------------------------------


class FirstWordPerception(Perception):
    """Predicts loss 0 for the expert that the prompt names first, and 1 for the others."""

    experts = ("small", "big")

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def predict(self, prompts: Sequence[str]) -> Prediction:
        self.passes.append(list(prompts))
        losses = np.array(
            [
                [0.0 if prompt.startswith(name) else 1.0 for name in self.experts]
                for prompt in prompts
            ],
            dtype=np.float32,
        ).reshape(len(prompts), len(self.experts))
        return Prediction(losses, np.zeros_like(losses))


@pytest.fixture
def perception() -> FirstWordPerception:
    return FirstWordPerception()


@pytest.fixture
def router(perception: FirstWordPerception) -> Router:
    return Router(perception)


@pytest.fixture
def flag_router(perception: FirstWordPerception) -> Router:
    """A router that reads flags in prompts."""
    return Router(perception, prompt_flags=True)


# Observers --------------------------------------------------------------------------------------


class Recorder(BaseCallbackHandler):
    """Keeps every run with its kind, parent and end, every custom event, and their order."""

    def __init__(self):
        self.runs, self.events, self.order, self.tokens = {}, [], [], Counter()

    def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):
        self._start("chain", run_id, **kwargs)

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self._start("model", run_id, **kwargs)

    def _start(self, kind, run_id, parent_run_id=None, tags=None, metadata=None, name=None, **_):
        self.runs[run_id] = {
            "kind": kind, "parent": parent_run_id, "tags": tags or [], "metadata": metadata or {},
            "name": name or kind, "end": None,
        }  # fmt: skip
        self.order.append(name or kind)

    def on_llm_new_token(self, token, *, run_id, **_):
        self.tokens[run_id] += bool(token)

    def on_chain_end(self, outputs, *, run_id, **_):
        self.runs[run_id]["end"] = "well"

    def on_llm_end(self, response, *, run_id, **_):
        self.runs[run_id]["end"] = "well"

    def on_chain_error(self, error, *, run_id, **_):
        self.runs[run_id]["end"] = type(error).__name__

    def on_llm_error(self, error, *, run_id, **_):
        self.runs[run_id]["end"] = type(error).__name__

    def on_custom_event(self, name, data, *, run_id, **_):
        self.events.append((name, data, run_id))
        self.order.append(name)

    def only(self, name):
        """Return the id and the run of the only run with this name."""
        (found,) = [(run_id, run) for run_id, run in self.runs.items() if run["name"] == name]
        return found

    def of_kind(self, kind):
        return [run for run in self.runs.values() if run["kind"] == kind]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


# ChatTryage and its models ----------------------------------------------------------------------


@pytest.fixture
def small():
    return ScriptedChatModel(model="scripted-small")


@pytest.fixture
def big():
    return ScriptedChatModel(model="scripted-big")


@pytest.fixture
def chat(router, small, big):
    return ChatTryage(models={"small": small, "big": big}, router=router)


@pytest.fixture
def make_chat(router, small, big):
    """Make ChatTryage over the same models with other settings."""

    def make(**settings):
        return ChatTryage(models={"small": small, "big": big}, router=router, **settings)

    return make


# Every way to call a runnable or a chat model -----------------------------------------------------


@pytest.fixture
def call_runnable():
    """Call a runnable by one of its methods; streams and batches return lists."""

    async def call(runnable, method, value, config=None):
        if method.endswith("batch"):
            answers = getattr(runnable, method)([value], config)
            return await answers if method == "abatch" else answers
        if method == "astream":
            return [chunk async for chunk in runnable.astream(value, config)]
        if method == "stream":
            return list(runnable.stream(value, config))
        return (
            await runnable.ainvoke(value, config)
            if method == "ainvoke"
            else runnable.invoke(value, config)
        )

    return call


def _sum_chunks(chunks):
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def _to_batch(value):
    """Return the input of `generate`: a batch of one conversation."""
    return [[HumanMessage(value)] if isinstance(value, str) else convert_to_messages(value)]


async def _astream(chat, value, config, **kwargs):
    return _sum_chunks([chunk async for chunk in chat.astream(value, config, **kwargs)])


async def _abatch(chat, value, config, **kwargs):
    return (await chat.abatch([value], config, **kwargs))[0]


async def _agenerate(chat, value, config, **kwargs):
    result = await chat.agenerate(_to_batch(value), **(config or {}), **kwargs)
    return result.generations[0][0].message


async def _astream_events(chat, value, config, **kwargs):
    return await (await chat.astream_events(value, config, version="v3", **kwargs))


RUNNABLE_METHODS = {
    "invoke": lambda chat, value, config, **kwargs: chat.invoke(value, config, **kwargs),
    "ainvoke": lambda chat, value, config, **kwargs: chat.ainvoke(value, config, **kwargs),
    "stream": lambda chat, *value, **kwargs: _sum_chunks(list(chat.stream(*value, **kwargs))),
    "astream": _astream,
    "batch": lambda chat, value, config, **kwargs: chat.batch([value], config, **kwargs)[0],
    "abatch": _abatch,
}
CHAT_METHODS = {
    **RUNNABLE_METHODS,
    "generate": lambda chat, value, config, **kwargs: (
        chat.generate(_to_batch(value), **(config or {}), **kwargs).generations[0][0].message
    ),
    "agenerate": _agenerate,
    "stream_events": lambda chat, value, config, **kwargs: (
        chat.stream_events(value, config, version="v3", **kwargs).output
    ),
    "astream_events": _astream_events,
}


@pytest.fixture
def call_chat():
    """Call a chat model by one of its ten methods, and return the whole message."""

    async def call(method, chat, value, config=None, **kwargs):
        answer = CHAT_METHODS[method](chat, value, config, **kwargs)
        return await answer if inspect.isawaitable(answer) else answer

    return call


@pytest.fixture(params=RUNNABLE_METHODS)
def method(request) -> str:
    """The six methods by which LangChain calls a runnable."""
    return request.param


@pytest.fixture(params=CHAT_METHODS)
def chat_method(request) -> str:
    """Those, and the methods of a chat model: `generate`, and event protocol v3."""
    return request.param


# Agents -------------------------------------------------------------------------------------------


USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


class AgentModel(BaseChatModel):
    """Calls the first tool it has `loops` times in a turn, then answers with its own name.

    `seen` has the messages and arguments of every call. It raises `fails` if that is set. A
    `nameless` one does not name its model in its replies, as some integrations do.
    """

    name: str = "small"
    provider: str = "acme"
    loops: int = 1
    fails: Any = None
    nameless: bool = False
    seen: list[Any] = Field(default_factory=list)

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    @property
    def model_name(self) -> str:
        return f"{self.name}-model"

    @property
    def _llm_type(self) -> str:
        return f"{self.provider}-chat"

    def _get_ls_params(self, stop=None, **kwargs):
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": self.provider}

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools, **kwargs)

    def _reply(self, messages, kwargs) -> AIMessage:
        self.seen.append((list(messages), kwargs))
        if self.fails is not None:
            raise self.fails
        last = max(i for i, message in enumerate(messages) if _is_question(message))
        done = sum(isinstance(message, ToolMessage) for message in messages[last:])
        calls = []
        if kwargs.get("tools") and done < self.loops:
            name = getattr(kwargs["tools"][0], "name", "look")
            calls = [{"name": name, "args": {"q": "x"}, "id": f"call_{len(messages)}"}]
        named = {} if self.nameless else {"model_name": self.model_name}
        return AIMessage(
            "" if calls else f"I am {self.name}",
            tool_calls=calls,
            response_metadata={**named, "model_provider": self.provider},
            usage_metadata=USAGE,
        )

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._reply(messages, kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        whole = self._reply(messages, kwargs)
        for word in str(whole.content).split():
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))
        calls = [{**call, "args": '{"q": "x"}', "index": 0} for call in whole.tool_calls]
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                "",
                tool_call_chunks=calls,
                response_metadata=whole.response_metadata,
                usage_metadata=USAGE,
                chunk_position="last",
            )
        )


def _is_question(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


@tool
def look(q: str) -> str:
    """Look something up. The answer names a model, which must not mislead a router."""
    return f"small {q}"


@pytest.fixture
def models():
    return {"small": AgentModel("small"), "big": AgentModel("big", provider="bigco")}


@pytest.fixture
def agent_model():
    """The model that the agent itself was given."""
    return AgentModel("own", provider="own")


@pytest.fixture
def make_model():
    return AgentModel


@pytest.fixture
def lookup():
    return look


@pytest.fixture
def user_input():
    """Return an agent's input with one message of a person."""
    return lambda text, **fields: {"messages": [HumanMessage(text, **fields)]}


@pytest.fixture
def needs_run_config():
    """Skip where async hooks do not see the config of their run: tasks have a context from 3.11."""
    if sys.version_info < (3, 11):
        pytest.skip("before Python 3.11 LangGraph's async hooks do not see the config of their run")
