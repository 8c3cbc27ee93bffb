"""The soak's requests through TryageLLM, with clients of LlamaIndex for Ollama."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from soak_langchain import POLICIES, Answer, look_up, policy_of
from soak_load import ConfiguredClient

from tryage_llamaindex import TryageLLM

if TYPE_CHECKING:
    from pathlib import Path

    from llama_index.core.llms import ChatResponse
    from soak_load import Reply, Request

_TOOL = FunctionTool.from_defaults(look_up)
_TEMPLATE = PromptTemplate("{query_str}")


class SoakClient(ConfiguredClient):
    """Asks TryageLLM in all its ways."""

    ways: ClassVar = {
        "chat": 2.0,
        "achat": 3.0,
        "complete": 1.0,
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
            name: TryageLLM.from_config(folder / f"llamaindex.{name}.toml", watch=True)
            for name in POLICIES
        }

    def chat(self, request: Request, reply: Reply) -> None:
        """Ask for a whole answer."""
        llm = self._models[policy_of(request)]
        with llm.using(keys=request.keys):
            self._read(llm.chat(_messages(request)), reply)

    async def achat(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        llm = self._models[policy_of(request)]
        with llm.using(keys=request.keys):
            self._read(await llm.achat(_messages(request)), reply)

    def complete(self, request: Request, reply: Reply) -> None:
        """Ask for a completion."""
        answer = self._models[policy_of(request)].complete(request.text)
        reply.record |= answer.additional_kwargs["tryage"]
        reply.note(answer.text)

    def stream(self, request: Request, reply: Reply) -> None:
        """Ask for a stream."""
        llm = self._models[policy_of(request)]
        with llm.using(keys=request.keys):
            chunks = llm.stream_chat(_messages(request))
            for chunk in chunks:
                reply.record |= chunk.additional_kwargs.get("tryage", {})
                reply.note(chunk.delta)
                if request.leaves and reply.pieces:
                    reply.has_left = True
                    break
            chunks.close()

    async def astream(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        llm = self._models[policy_of(request)]
        with llm.using(keys=request.keys):
            chunks = await llm.astream_chat(_messages(request))
            async for chunk in chunks:
                reply.record |= chunk.additional_kwargs.get("tryage", {})
                reply.note(chunk.delta)
                if request.leaves and reply.pieces:
                    reply.has_left = True
                    break
            await chunks.aclose()

    def tools(self, request: Request, reply: Reply) -> None:
        """Ask with a tool."""
        llm = self._models[policy_of(request)]
        self._read_tools(llm, llm.chat_with_tools([_TOOL], user_msg=request.text), reply)

    async def atools(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        llm = self._models[policy_of(request)]
        self._read_tools(llm, await llm.achat_with_tools([_TOOL], user_msg=request.text), reply)

    def structured(self, request: Request, reply: Reply) -> None:
        """Ask for an object."""
        llm = self._models[policy_of(request)]
        with llm.using(keys=request.keys) as records:
            found = llm.structured_predict(Answer, _TEMPLATE, query_str=request.text)
        reply.record |= records[-1]
        reply.note(found.model_dump_json())

    async def astructured(self, request: Request, reply: Reply) -> None:
        """Do the same asynchronously."""
        llm = self._models[policy_of(request)]
        with llm.using(keys=request.keys) as records:
            found = await llm.astructured_predict(Answer, _TEMPLATE, query_str=request.text)
        reply.record |= records[-1]
        reply.note(found.model_dump_json())

    @staticmethod
    def _read(answer: ChatResponse, reply: Reply) -> None:
        reply.record |= answer.additional_kwargs["tryage"]
        reply.note(answer.message.content)

    def _read_tools(self, llm: TryageLLM, answer: ChatResponse, reply: Reply) -> None:
        reply.record |= answer.additional_kwargs["tryage"]
        for call in llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False):
            reply.note(json.dumps(call.tool_kwargs))


def _messages(request: Request) -> list[ChatMessage]:
    last = ChatMessage(request.text)
    if request.earlier_text is None:
        return [last]
    return [ChatMessage(request.earlier_text), ChatMessage("Hello.", role="assistant"), last]
