"""TryageLLM over two scripted children, routed by the first word of what the user asks."""

from __future__ import annotations

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import BundledEmbedding, ScriptedLLM

NAMES = ("small", "big")


class FirstWord(FunctionPerception):
    """Predicts loss 0 for the expert that the prompt names first; keeps what it was asked."""

    def __init__(self, names=NAMES):
        super().__init__(
            names, lambda prompt: [float(not prompt.startswith(name)) for name in names]
        )
        self.asked = []

    def predict(self, prompts):
        self.asked += prompts
        return super().predict(prompts)


class Observer(BaseEventHandler):
    """Keeps every event of the instrumentation."""

    events: list = []  # noqa: RUF012 - a field of pydantic

    @classmethod
    def class_name(cls):
        return "Observer"

    def handle(self, event, **_):
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if event.class_name() == kind]


@pytest.fixture
def perception():
    return FirstWord()


@pytest.fixture
def router(perception):
    return Router(perception)


@pytest.fixture
def small():
    return ScriptedLLM(model="scripted-small")


@pytest.fixture
def big():
    return ScriptedLLM(model="scripted-big")


@pytest.fixture
def llm(router, small, big):
    return TryageLLM(llms={"small": small, "big": big}, router=router)


@pytest.fixture
def observer():
    handler = Observer(events=[])
    root = get_dispatcher("root")
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture(scope="session")
def embedding():
    return BundledEmbedding()


WAYS = (
    "chat", "achat", "stream_chat", "astream_chat",
    "complete", "acomplete", "stream_complete", "astream_complete",
)  # fmt: skip
TOOL_WAYS = tuple(f"{way}_with_tools" for way in WAYS[:4])


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture(params=TOOL_WAYS)
def tool_way(request):
    return request.param


@pytest.fixture
def call():
    """Call one of the methods, and return all its chunks."""

    async def called(llm, way, given, **kwargs):
        if way.removeprefix("a").startswith(("chat", "stream_chat")) and isinstance(given, str):
            given = [ChatMessage(given)]
        result = getattr(llm, way)(given, **kwargs)
        if way.startswith("a"):
            result = await result
        if way.startswith("stream"):
            return list(result)
        if way.startswith("astream"):
            return [chunk async for chunk in result]
        return [result]

    return called
