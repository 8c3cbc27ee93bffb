"""ChatTryage over two scripted children, routed by the first word; a recorder of runs."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel


class Recorder(BaseCallbackHandler):
    """Keeps every run with its kind, its parent and how it ended, and every custom event."""

    def __init__(self):
        self.runs, self.events, self.tokens = {}, [], Counter()

    def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):  # noqa: ARG002 - as called
        self._start("chain", run_id, **kwargs)

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):  # noqa: ARG002 - as called
        self._start("model", run_id, **kwargs)

    def _start(self, kind, run_id, parent_run_id=None, tags=None, metadata=None, name=None, **_):
        self.runs[run_id] = {
            "kind": kind, "parent": parent_run_id, "tags": tags or [], "metadata": metadata or {},
            "name": name, "end": None,
        }  # fmt: skip

    def on_llm_new_token(self, token, *, run_id, **_):
        self.tokens[run_id] += bool(token)

    def on_chain_end(self, outputs, *, run_id, **_):  # noqa: ARG002 - as called
        self.runs[run_id]["end"] = "well"

    def on_llm_end(self, response, *, run_id, **_):  # noqa: ARG002 - as called
        self.runs[run_id]["end"] = "well"

    def on_chain_error(self, error, *, run_id, **_):
        self.runs[run_id]["end"] = type(error).__name__

    def on_llm_error(self, error, *, run_id, **_):
        self.runs[run_id]["end"] = type(error).__name__

    def on_custom_event(self, name, data, *, run_id, **_):
        self.events.append((name, data, run_id))

    def of(self, kind):
        return [run for run in self.runs.values() if run["kind"] == kind]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def small():
    return ScriptedChatModel(model="scripted-small")


@pytest.fixture
def big():
    return ScriptedChatModel(model="scripted-big")


@pytest.fixture
def chat(router, small, big):
    return ChatTryage(models={"small": small, "big": big}, router=router)


async def _collected(chunks):
    return [chunk async for chunk in chunks]


def _summed(chunks):
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


async def _awaited_batch(chat, given, config, **kwargs):
    return (await chat.abatch([given], config, **kwargs))[0]


async def _awaited_stream(chat, given, config, **kwargs):
    return _summed(await _collected(chat.astream(given, config, **kwargs)))


async def _awaited_events(chat, given, config, **kwargs):
    return await (await chat.astream_events(given, config, version="v3", **kwargs))


def _asked(chat, given):
    return [chat._convert_input(given).to_messages()]


async def _awaited_generation(chat, given, config, **kwargs):
    result = await chat.agenerate(_asked(chat, given), **(config or {}), **kwargs)
    return result.generations[0][0].message


RUNNABLE = {
    "invoke": lambda chat, given, config, **kwargs: chat.invoke(given, config, **kwargs),
    "ainvoke": lambda chat, given, config, **kwargs: chat.ainvoke(given, config, **kwargs),
    "stream": lambda chat, *given, **kwargs: _summed(list(chat.stream(*given, **kwargs))),
    "astream": _awaited_stream,
    "batch": lambda chat, given, config, **kwargs: chat.batch([given], config, **kwargs)[0],
    "abatch": _awaited_batch,
}
WAYS = {
    **RUNNABLE,
    "generate": lambda chat, given, config, **kwargs: (
        chat.generate(_asked(chat, given), **(config or {}), **kwargs).generations[0][0].message
    ),
    "agenerate": _awaited_generation,
    "stream_events": lambda chat, given, config, **kwargs: (
        chat.stream_events(given, config, version="v3", **kwargs).output
    ),
    "astream_events": _awaited_events,
}


@pytest.fixture
def call():
    """Call a chat model in one of ten ways, and return the whole message."""

    async def called(how, chat, given, config=None, **kwargs):
        answer = WAYS[how](chat, given, config, **kwargs)
        return await answer if inspect.isawaitable(answer) else answer

    return called


@pytest.fixture(params=RUNNABLE)
def how(request):
    """The ways of a Runnable."""
    return request.param


@pytest.fixture(params=WAYS)
def any_way(request):
    """Those, and the ways of a chat model: `generate`, and event protocol v3."""
    return request.param
