"""Chat models that call a tool, think, fail and tell what reached them; agents made of them."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from pydantic import Field

pytest.importorskip("langchain.agents")

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def asks(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


class Model(BaseChatModel):
    """Calls the first tool it has `loops` times in a turn, then answers with its own name.

    `seen` has the messages and arguments of every call; `fails` raises instead; a `nameless` one
    does not say in its replies which model it is, as some integrations do.
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
        last = max(at for at, message in enumerate(messages) if asks(message))
        done = sum(isinstance(message, ToolMessage) for message in messages[last:])
        calls = []
        if kwargs.get("tools") and done < self.loops:
            name = getattr(kwargs["tools"][0], "name", "look")
            calls = [{"name": name, "args": {"q": "x"}, "id": f"call_{len(messages)}"}]
        told = {} if self.nameless else {"model_name": self.model_name}
        return AIMessage(
            "" if calls else f"I am {self.name}",
            tool_calls=calls,
            response_metadata={**told, "model_provider": self.provider},
            usage_metadata=USAGE,
        )

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):  # noqa: ARG002 - as in LangChain
        message = self._reply(messages, kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):  # noqa: ARG002 - as in LangChain
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


@tool
def look(q: str) -> str:
    """Look something up; what it finds names a model, to lead a router astray."""
    return f"small {q}"


@pytest.fixture
def models():
    return {"small": Model("small"), "big": Model("big", provider="bigco")}


@pytest.fixture
def own():
    """The model that the agent was given."""
    return Model("own", provider="own")


@pytest.fixture
def make_model():
    return Model


@pytest.fixture
def lookup():
    return look


@pytest.fixture
def ask():
    """Return an agent's input with one message of a person."""
    return lambda text, **more: {"messages": [HumanMessage(text, **more)]}


@pytest.fixture
def knows_its_run():
    """Skip where hooks do not see the run: its config is in a context that tasks have from 3.11."""
    if sys.version_info < (3, 11):
        pytest.skip("before Python 3.11 LangGraph's async hooks do not see the config of their run")
