"""The soak's requests through ChatTryage, with clients of langchain-openai."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel
from soak_faults import share_of
from soak_load import ConfiguredClient

from tryage_langchain import ChatTryage

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.messages import AIMessageChunk
    from soak_load import Reply, Request

# Shares of the requests that each file of settings gets.
POLICIES = {"plain": 0.7, "budget": 0.15, "cascade": 0.15}


class Answer(BaseModel):
    """The answer as an object."""

    marker: str
    model: str


def look_up(marker: str, model: str) -> str:
    """Look a marker up."""
    return f"{marker} {model}"


class SoakClient(ConfiguredClient):
    """Asks ChatTryage in all its ways."""

    ways: ClassVar = {
        "invoke": 3.0,
        "ainvoke": 3.0,
        "stream": 2.0,
        "astream": 3.0,
        "tools": 1.0,
        "atools": 1.0,
        "structured": 1.0,
        "astructured": 1.0,
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._models = {
            name: ChatTryage.from_config(folder / f"langchain.{name}.toml", watch=True)
            for name in POLICIES
        }
        self._tools = {name: chat.bind_tools([look_up]) for name, chat in self._models.items()}
        self._structured = {
            name: chat.with_structured_output(Answer, include_raw=True)
            for name, chat in self._models.items()
        }

    def invoke(self, request: Request, reply: Reply) -> None:
        """Ask for a whole answer."""
        self._read(self._models[policy_of(request)].invoke(*_arguments(request)), reply)

    async def ainvoke(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        self._read(await self._models[policy_of(request)].ainvoke(*_arguments(request)), reply)

    def stream(self, request: Request, reply: Reply) -> None:
        """Ask for a stream."""
        chunks = self._models[policy_of(request)].stream(*_arguments(request))
        for chunk in chunks:
            self._read(chunk, reply)
            if request.leaves and reply.pieces:
                reply.has_left = True
                break
        chunks.close()

    async def astream(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        chunks = self._models[policy_of(request)].astream(*_arguments(request))
        async for chunk in chunks:
            self._read(chunk, reply)
            if request.leaves and reply.pieces:
                reply.has_left = True
                break
        await chunks.aclose()

    def tools(self, request: Request, reply: Reply) -> None:
        """Ask with a tool."""
        self._read(self._tools[policy_of(request)].invoke(*_arguments(request)), reply)

    async def atools(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        self._read(await self._tools[policy_of(request)].ainvoke(*_arguments(request)), reply)

    def structured(self, request: Request, reply: Reply) -> None:
        """Ask for an object."""
        self._read(self._structured[policy_of(request)].invoke(*_arguments(request)), reply)

    async def astructured(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        answer = await self._structured[policy_of(request)].ainvoke(*_arguments(request))
        self._read(answer, reply)

    @staticmethod
    def _read(answer: AIMessageChunk | dict[str, Any], reply: Reply) -> None:
        message = answer["raw"] if isinstance(answer, dict) else answer
        reply.record |= message.response_metadata.get("tryage", {})
        reply.note(str(message.text))
        if getattr(message, "tool_calls", None) and not reply.pieces:
            reply.note(json.dumps(message.tool_calls[0]["args"]))


def policy_of(request: Request) -> str:
    """Return which file of settings a request uses."""
    share = share_of(request.marker, "policy")
    for name, weight in POLICIES.items():
        share -= weight
        if share < 0:
            return name
    return "plain"


def _arguments(request: Request) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    messages = [("user", request.text)]
    if request.earlier_text is not None:
        messages = [("user", request.earlier_text), ("ai", "Hello."), *messages]
    return messages, {"configurable": request.keys}
