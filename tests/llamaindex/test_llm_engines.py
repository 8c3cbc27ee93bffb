"""Query engines, chat engines and routers of LlamaIndex over indices with real embeddings."""

from __future__ import annotations

import pytest
from llama_index.core import Document, Settings, SummaryIndex, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.tools import QueryEngineTool
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from tryage_llamaindex import TryageLLM, TryageSelector

TEXTS = [
    "The house sparrow is a small bird that lives near people all over the world.",
    "The blue whale is a big animal, longer than any other that ever lived.",
    "A big river carries more water than ten small ones.",
]
MODES_WITH_LLM = sorted(
    mode for mode in ResponseMode
    if mode not in {ResponseMode.NO_TEXT, ResponseMode.CONTEXT_ONLY}
)  # fmt: skip


@pytest.fixture
def index(embedding):
    return VectorStoreIndex.from_documents([Document(text=t) for t in TEXTS], embed_model=embedding)


@pytest.mark.parametrize("mode", MODES_WITH_LLM)
@pytest.mark.parametrize("name", ["small", "big"])
async def test_every_response_mode_is_routed_on_the_query(llm, index, perception, mode, name):
    engine = index.as_query_engine(llm=llm, response_mode=mode, similarity_top_k=2)
    query = f"{name} animals: which is longest?"
    assert f"scripted-{name}" in str(engine.query(query))
    assert f"scripted-{name}" in str(await engine.aquery(query))
    assert set(perception.asked) == {query}


@pytest.mark.parametrize("mode", ["no_text", "context_only"])
def test_a_mode_without_an_llm_call_routes_nothing(llm, index, perception, monkeypatch, mode):
    monkeypatch.setattr(Settings, "_llm", llm)  # these two modes need an LLM in the settings
    index.as_query_engine(llm=llm, response_mode=mode).query("big question")
    assert perception.asked == []


@pytest.mark.parametrize("mode", ["compact", "refine", "simple_summarize", "tree_summarize"])
async def test_streams_are_routed_on_the_query(llm, index, perception, mode):
    engine = index.as_query_engine(llm=llm, response_mode=mode, streaming=True)
    answer = "".join(engine.query("small streams").response_gen)
    assert answer == "Hello from scripted-small today"
    awaited = await engine.aquery("big streams")
    words = awaited.response_gen  # tree_summarize returns a plain generator
    streamed = [word async for word in words] if hasattr(words, "__aiter__") else list(words)
    assert "".join(streamed) == "Hello from scripted-big today"
    assert set(perception.asked) == {"small streams", "big streams"}


def test_a_summary_of_everything_is_routed_on_the_query(llm, perception):
    index = SummaryIndex.from_documents([Document(text=text) for text in TEXTS])
    answer = index.as_query_engine(llm=llm).query("big picture?")
    assert str(answer) == "Hello from scripted-big today"
    assert perception.asked == ["big picture?"]


@pytest.mark.parametrize("mode", ["condense_plus_context", "context", "simple"])
async def test_chat_engines_route_each_turn(llm, index, mode):
    chat = (
        SimpleChatEngine.from_defaults(llm=llm)
        if mode == "simple"
        else index.as_chat_engine(mode, llm=llm)
    )
    assert str(chat.chat("small animals?")) == "Hello from scripted-small today"
    stream = chat.stream_chat("small again?")
    assert "".join(stream.response_gen).startswith("Hello from scripted-")
    assert str(await chat.achat("big animals?")).startswith("Hello from scripted-")


@pytest.mark.parametrize("mode", ["condense_plus_context", "context"])
async def test_chat_engines_stream_asynchronously(llm, index, mode):
    stream = await index.as_chat_engine(mode, llm=llm).astream_chat("big animals?")
    said = [word async for word in stream.async_response_gen()]
    assert "".join(said) == "Hello from scripted-big today"


@pytest.mark.parametrize("mode", ["condense_plus_context", "context"])
def test_an_empty_index_gives_the_answer_of_llamaindex(llm, embedding, mode):
    empty = VectorStoreIndex([], embed_model=embedding)
    assert str(empty.as_query_engine(llm=llm).query("big question")) == "Empty Response"
    answer = empty.as_chat_engine(mode, llm=llm).chat("big question")
    assert str(answer) in {"Empty Response", "Hello from scripted-big today"}


def test_a_turn_of_a_chat_engine_is_routed_on_the_users_message(llm, index, perception):
    chat = index.as_chat_engine("condense_plus_context", llm=llm)
    chat.chat("small animals?")
    assert str(chat.chat("big ones, too?")) == "Hello from scripted-big today"
    assert perception.asked[-1] == "big ones, too?"


def test_a_router_among_engines_keeps_the_decision(llm, index, router):
    tools = [
        QueryEngineTool.from_defaults(index.as_query_engine(llm=llm), name=name, description=name)
        for name in ("small", "big")
    ]
    engine = RouterQueryEngine.from_defaults(tools, llm=llm, selector=TryageSelector(router))
    answer = engine.query("big question")
    assert answer.metadata["selector_result"].decision.expert.name == "big"
    assert str(answer) == "Hello from scripted-big today"


async def test_a_router_among_engines_streams_the_answer_of_the_chosen_one(llm, index, router):
    streaming = index.as_query_engine(llm=llm, streaming=True)
    tools = [
        QueryEngineTool.from_defaults(streaming, name=name, description=name)
        for name in ("small", "big")
    ]
    engine = RouterQueryEngine.from_defaults(tools, llm=llm, selector=TryageSelector(router))
    answer = engine.query("big question")
    assert answer.metadata["selector_result"].ind == 1
    assert "".join(answer.response_gen) == "Hello from scripted-big today"
    awaited = await engine.aquery("small question")
    assert awaited.metadata["selector_result"].ind == 0
    said = [word async for word in awaited.response_gen]
    assert "".join(said) == "Hello from scripted-small today"


@pytest.mark.parametrize("awaited", [True, False])
async def test_each_sub_question_goes_to_its_own_child(llm, index, small, perception, awaited):
    questions = [
        {"sub_question": f"{name} animals", "tool_name": "zoo"} for name in ("small", "big")
    ]
    small.replies = [str({"items": questions}).replace("'", '"')]
    tool = QueryEngineTool.from_defaults(
        index.as_query_engine(llm=llm), name="zoo", description="all"
    )
    engine = SubQuestionQueryEngine.from_defaults(
        [tool], llm=llm, question_gen=LLMQuestionGenerator.from_defaults(llm=llm), verbose=False,
        response_synthesizer=get_response_synthesizer(llm=llm), use_async=False,
    )  # fmt: skip
    query = "small and big animals"
    answer = await engine.aquery(query) if awaited else engine.query(query)
    assert str(answer) == "Hello from scripted-small today"
    texts = {node.text for node in answer.source_nodes}
    assert any("scripted-small" in text for text in texts)
    assert any("scripted-big" in text for text in texts)
    assert set(perception.asked) == {"small and big animals", "small animals", "big animals"}


@pytest.fixture
def settings(monkeypatch):
    """The global settings of LlamaIndex, restored after the test."""
    for kept in ("_llm", "_callback_manager"):
        monkeypatch.setattr(Settings, kept, getattr(Settings, kept))
    monkeypatch.setattr(Settings, "_prompt_helper", None)
    return Settings


async def test_it_can_be_the_llm_of_the_global_settings(llm, index, settings):
    settings.llm = llm
    engine, streaming = index.as_query_engine(), index.as_query_engine(streaming=True)
    assert str(engine.query("big question")) == "Hello from scripted-big today"
    assert str(await engine.aquery("small question")) == "Hello from scripted-small today"
    assert "".join(streaming.query("big one").response_gen) == "Hello from scripted-big today"


def test_the_callbacks_of_the_global_settings_count_an_answer_once(
    router, small, big, index, settings
):
    counter = TokenCountingHandler(tokenizer=str.split)
    settings.callback_manager = CallbackManager([counter])
    settings.llm = TryageLLM(llms={"small": small, "big": big}, router=router)
    index.as_query_engine().query("big question")
    assert len(counter.llm_token_counts) == 1


def test_sizes_that_settings_keep_stay_right(llm, settings):
    settings.llm = llm
    helper = Settings.prompt_helper
    llm.complete("big question")
    assert helper.context_window == llm.metadata.context_window == 8_000


def test_the_size_of_memory_follows_the_metadata(llm):
    assert ChatMemoryBuffer.from_defaults(llm=llm).token_limit == int(8_000 * 0.75)
    assert isinstance(Memory.from_defaults(session_id="a"), Memory)


async def test_a_workflow_awaits_it(llm):
    class Asking(Workflow):
        @step
        async def ask(self, event: StartEvent) -> StopEvent:
            return StopEvent(result=str(await llm.acomplete(event.query)))

    assert await Asking().run(query="big question") == "Hello from scripted-big today"


async def test_a_workflow_streams_it(llm):
    class Word(Event):
        word: str

    class Asking(Workflow):
        @step
        async def ask(self, context: Context, event: StartEvent) -> StopEvent:
            async for chunk in await llm.astream_complete(event.query):
                context.write_event_to_stream(Word(word=chunk.delta))
            return StopEvent(result="done")

    running = Asking().run(query="big question")
    said = [event.word async for event in running.stream_events() if isinstance(event, Word)]
    assert "".join(said) == "Hello from scripted-big today"
    assert await running == "done"


def test_a_copy_answers_as_the_original(router, small, big, index):
    both = TryageLLM(llms={"small": small, "big": big}, router=router)
    engine = index.as_query_engine(llm=both.model_copy())
    assert str(engine.query("small question")) == "Hello from scripted-small today"
