"""TryageLLM over two scripted children, routed by the first word of the user's query."""

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

METHODS = (
    "chat", "achat", "stream_chat", "astream_chat",
    "complete", "acomplete", "stream_complete", "astream_complete",
)  # fmt: skip
TOOL_METHODS = tuple(f"{method}_with_tools" for method in METHODS[:4])


class FirstWord(FunctionPerception):
    """Predicts loss 0 for the expert that the prompt names first; records the prompts."""

    def __init__(self, names=NAMES):
        super().__init__(
            names, lambda prompt: [float(not prompt.startswith(name)) for name in names]
        )
        self.asked = []

    def predict(self, prompts):
        self.asked += prompts
        return super().predict(prompts)


class Observer(BaseEventHandler):
    """Records every event of LlamaIndex's instrumentation."""

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


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(params=TOOL_METHODS)
def tool_method(request):
    return request.param


@pytest.fixture
def call():
    """Return a function that calls a method and returns all chunks of the answer."""

    async def call_method(llm, method, given, **kwargs):
        if method.removeprefix("a").startswith(("chat", "stream_chat")) and isinstance(given, str):
            given = [ChatMessage(given)]
        result = getattr(llm, method)(given, **kwargs)
        if method.startswith("a"):
            result = await result
        if method.startswith("stream"):
            return list(result)
        if method.startswith("astream"):
            return [chunk async for chunk in result]
        return [result]

    return call_method


@pytest.fixture
def answered_by():
    """Return a function that returns the names of the models that the answers record."""
    return lambda *answers: {answer.additional_kwargs["tryage"]["model"] for answer in answers}
