"""`with llm.using(...)` reaches every call in the block: engines, agents, threads and tasks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.async_utils import asyncio_run, run_async_tasks, run_jobs
from llama_index.core.extractors import TitleExtractor
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool, QueryEngineTool
from pydantic import BaseModel

from tryage import Expert, Preferences, Router
from tryage.errors import InputError, LibraryError
from tryage.testing import FixedPerception
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

BIG = "Hello from scripted-big today"
SMALL = "Hello from scripted-small today"
ONLY_BIG = Preferences(only=["big"])


class Fact(BaseModel):
    n: int


def ask(llm, text="small question", **kwargs):
    return str(llm.chat([ChatMessage(text)], **kwargs).message.content)


async def aask(llm, text="small question"):
    return str((await llm.achat([ChatMessage(text)])).message.content)


@pytest.fixture
def index(embedding):
    texts = [Document(text=f"Fact {number}: it is so.") for number in range(3)]
    return VectorStoreIndex.from_documents(texts, embed_model=embedding)


@pytest.mark.parametrize(
    "setting",
    [{"preferences": ONLY_BIG}, {"preferences": ONLY_BIG.to_dict()}, {"query": "big question"},
     {"model": "big"}],
)  # fmt: skip
def test_a_setting_holds_in_its_block_and_not_after_it(llm, setting):
    with llm.using(**setting):
        assert ask(llm) == BIG
    assert ask(llm) == SMALL


def test_a_preset_is_given_by_its_name_to_an_llm_a_block_and_a_call():
    experts = [
        Expert("small", input_price=0, output_price=0.1),
        Expert("big", input_price=0, output_price=60),
    ]
    router = Router(FixedPerception({"small": 0.12, "big": 0.1}), experts)
    llms = {name: ScriptedLLM(model=f"scripted-{name}") for name in ("small", "big")}
    llm = TryageLLM(llms=llms, router=router, preferences="best")
    assert (ask(TryageLLM(llms=llms, router=router), "hi"), ask(llm, "hi")) == (
        "Hello from scripted-small today",
        "Hello from scripted-big today",
    )
    assert ask(llm, "hi", tryage_preferences="thrifty") == SMALL
    with llm.using(preferences="thrifty"):
        assert ask(llm, "hi") == SMALL
    with pytest.raises(InputError, match="Did you mean thrifty"), llm.using(preferences="thrify"):
        pass


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "accumulate"])
async def test_query_engines_obey_the_block(llm, index, mode):
    engine = index.as_query_engine(llm=llm, response_mode=mode)
    with llm.using(preferences=ONLY_BIG):
        assert "scripted-big" in str(engine.query("small question"))
        assert "scripted-big" in str(await engine.aquery("small question"))
    assert "scripted-small" in str(engine.query("small question"))


STREAM_MODES = ["compact", "refine", "tree_summarize", "simple_summarize"]


@pytest.mark.parametrize("mode", STREAM_MODES)
@pytest.mark.parametrize("setting", [{"preferences": ONLY_BIG}, {"query": "big question"}])
async def test_a_stream_that_is_read_after_the_block_obeys_it(llm, index, mode, setting):
    engine = index.as_query_engine(llm=llm, response_mode=mode, streaming=True)
    with llm.using(**setting) as records:
        stream = engine.query("small question")
        async_stream = await engine.aquery("small question")
    assert "".join(stream.response_gen) == BIG
    assert "".join([token async for token in async_stream.async_response_gen()]) == BIG
    calls = 4 if mode == "refine" else 2  # each text that was found is one call of `refine`
    assert [record["model"] for record in records] == ["big"] * calls
    assert ask(llm) == SMALL


@pytest.mark.parametrize("mode", STREAM_MODES)
def test_a_stream_obeys_the_block_of_its_query_not_the_one_in_which_it_is_read(llm, index, mode):
    engine = index.as_query_engine(llm=llm, response_mode=mode, streaming=True)
    with llm.using(model="big") as records:
        stream = engine.query("small question")
    with llm.using(model="small") as later_records:
        assert "".join(stream.response_gen) == BIG
    assert records
    assert not later_records


def test_streams_of_several_blocks_that_threads_read_are_not_mixed_up(llm, index):
    engine = index.as_query_engine(llm=llm, response_mode="compact", streaming=True)
    streams = []
    for name in ["small", "big"] * 4:
        with llm.using(model=name):
            streams.append(engine.query("any question").response_gen)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map("".join, streams)) == [SMALL, BIG] * 4


async def test_parallel_tasks_of_an_engine_obey_the_block(llm):
    index = SummaryIndex.from_documents([Document(text=f"Fact {i}. " * 900) for i in range(8)])
    engine = index.as_query_engine(llm=llm, response_mode="tree_summarize", use_async=True)
    with llm.using(preferences=ONLY_BIG) as records:
        assert str(engine.query("small question")) == BIG
        assert str(await engine.aquery("small question")) == BIG
    assert len(records) > 2
    assert {record["model"] for record in records} == {"big"}


@pytest.mark.parametrize(
    "mode", ["simple", "context", "condense_plus_context", "condense_question"]
)
async def test_chat_engines_obey_the_block(llm, index, mode):
    chat = index.as_chat_engine(mode, llm=llm)
    with llm.using(preferences=ONLY_BIG):
        assert str(chat.chat("small question")) == BIG
        assert "".join(chat.stream_chat("small again").response_gen) == BIG
        assert str(await chat.achat("small question")) == BIG


@pytest.mark.parametrize("kind", [FunctionAgent, ReActAgent])
@pytest.mark.parametrize("awaited_inside", [True, False])
async def test_agents_obey_the_block_in_which_they_were_started(llm, kind, awaited_inside):
    agent = kind(llm=llm, tools=[])
    with llm.using(preferences=ONLY_BIG):
        running = agent.run("small question")
        answer = await running if awaited_inside else None
    answer = answer or await running
    assert "scripted-big" in str(answer)
    assert "scripted-small" in str(await agent.run("small question"))


async def test_engines_that_are_tools_of_agents_obey_the_block(llm, index):
    tool = QueryEngineTool.from_defaults(
        index.as_query_engine(llm=llm), name="facts", description="Facts"
    )
    workflow = AgentWorkflow.from_tools_or_functions([tool], llm=llm)
    with llm.using(preferences=ONLY_BIG) as records:
        await workflow.run("small question")
    assert len(records) == 3  # the tool call, the engine, the answer
    assert {record["model"] for record in records} == {"big"}


async def test_synchronous_tools_of_agents_obey_the_block(llm):
    def call_again(city: str) -> str:
        """Answer about a city."""
        return ask(llm, f"small {city}")

    tool = FunctionTool.from_defaults(call_again)
    with llm.using(preferences=ONLY_BIG):
        answer = await FunctionAgent(llm=llm, tools=[tool]).run("small question")
    assert answer.tool_calls[0].tool_output.raw_output == BIG


async def test_helpers_of_llamaindex_for_threads_and_tasks_carry_the_block(llm):
    with llm.using(model="big"):
        assert asyncio_run(aask(llm)) == BIG  # in a thread with a loop of its own
        assert await run_jobs([aask(llm)] * 1) == [BIG]
        assert run_async_tasks([aask(llm)]) == [BIG]
        assert await asyncio.to_thread(ask, llm) == BIG


def test_a_thread_of_ones_own_needs_a_copy_of_the_context(llm):
    answers = []
    with llm.using(model="big"):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=lambda: answers.append(ask(llm))),
            threading.Thread(target=lambda: context.run(lambda: answers.append(ask(llm)))),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert answers == [SMALL, BIG]


def test_blocks_of_concurrent_tasks_are_not_mixed_up(llm):
    async def in_block(name):
        with llm.using(model=name):
            await asyncio.sleep(0)
            return await aask(llm, "any question")

    async def gather():
        return await asyncio.gather(*map(in_block, ["small", "big"] * 8))

    assert asyncio.run(gather()) == [SMALL, BIG] * 8


def test_inner_blocks_add_preferences_and_replace_the_rest(llm):
    with llm.using(query="big one", preferences=Preferences(min_context=1_000)):
        with llm.using(query="small one"):
            assert ask(llm, "big question") == SMALL
        with llm.using(preferences=ONLY_BIG):
            assert ask(llm) == BIG
        assert ask(llm) == BIG
        with llm.using(model="small"):
            assert ask(llm) == SMALL


def test_arguments_of_a_call_come_before_the_block(llm):
    with llm.using(model="big", query="big one"):
        assert ask(llm, tryage_model="small") == SMALL
    assert ask(llm, tryage_query="big question") == BIG
    with llm.using(query="small one"):
        assert ask(llm, "any question", tryage_query="big question") == BIG


def test_a_block_concerns_one_llm_and_its_copies(llm, router):
    other = TryageLLM(llms=dict(llm.llms), router=router)
    with llm.using(model="big"):
        assert ask(llm.model_copy()) == BIG
        assert ask(other) == SMALL


def test_stickiness_holds_for_the_block(llm):
    history = [ChatMessage("small question"), ChatMessage("yes", role="assistant")]
    with llm.using(sticky="thread"):
        first = llm.chat([ChatMessage("small question")])
        follow_up = [ChatMessage("small question"), first.message, ChatMessage("big question")]
        assert llm.chat(follow_up).additional_kwargs["tryage"]["how"] == "kept for the thread"
    answer = llm.chat([*history, ChatMessage("big question")])
    assert answer.additional_kwargs["tryage"]["model"] == "big"


async def test_the_records_of_a_block_come_in_the_order_of_the_answers(llm, small, index):
    small.fails = [ConnectionError("down")]
    with llm.using() as records:
        ask(llm)
        with llm.using(model="big") as inner_records:
            list(llm.stream_chat([ChatMessage("small question")]))
        await index.as_query_engine(llm=llm).aquery("big question")
    assert [record["model"] for record in records] == ["big", "big", "big"]
    assert records[0]["failed"] == {"small": "ConnectionError: down"}
    assert inner_records == records[1:2]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_the_deadline_of_a_block_leaves_time_for_the_next_llm(router, big, asynchronous):
    release = threading.Event()

    class Hanging(ScriptedLLM):
        def chat(self, messages, **kwargs):
            release.wait(60)
            return super().chat(messages, **kwargs)

        async def achat(self, messages, **kwargs):
            await asyncio.sleep(60)
            return await super().achat(messages, **kwargs)

    llm = TryageLLM(llms={"small": Hanging(), "big": big}, router=router)
    with llm.using(deadline=1.0) as records:
        assert (await aask(llm) if asynchronous else ask(llm)) == BIG
    release.set()
    assert "AttemptTimeoutError" in records[0]["failed"]["small"]


def test_a_generator_that_ends_in_another_context_leaves_no_error(llm):
    def stream():
        with llm.using(model="big"):
            yield ask(llm)
            yield ask(llm)

    generator = stream()
    assert contextvars.copy_context().run(next, generator) == BIG
    generator.close()
    assert ask(llm) == SMALL


def test_an_extractor_obeys_the_block(llm):
    with llm.using(model="big"):
        titles = TitleExtractor(llm=llm, nodes=1).extract([TextNode(text="small text")])
    assert titles == [{"document_title": BIG}]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"preferences": 3}, "Preferences"),
        ({"query": 3}, "query is a int. Expected a string."),
        ({"model": 3}, "model is a int. Expected a string."),
        ({"sticky": "always"}, "sticky is 'always'"),
        ({"deadline": 0}, "deadline is 0"),
        ({"deadline": True}, "deadline is True"),
        ({"deadline": float("inf")}, "deadline is inf"),
        ({"deadline": "5"}, "deadline is '5'"),
    ],
)
def test_a_wrong_setting_is_refused(llm, setting, message):
    with pytest.raises(InputError, match=message), llm.using(**setting):
        pass
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=message):
        ask(llm, **{f"tryage_{name}": value})


def test_a_block_for_an_unknown_model_is_refused(llm):
    with pytest.raises(LibraryError, match="bigg"), llm.using(model="bigg"):
        pass


async def test_a_misspelt_argument_of_a_call_is_refused_with_the_nearest_name(llm):
    messages, prompt, wrong = [ChatMessage("hi")], PromptTemplate("hi"), {"tryage_modle": "big"}
    calls = [
        lambda: llm.chat(messages, **wrong),
        lambda: llm.stream_chat(messages, **wrong),
        lambda: llm.complete("hi", **wrong),
        lambda: llm.stream_complete("hi", **wrong),
        lambda: llm.chat_with_tools([], "hi", **wrong),
        lambda: llm.structured_predict(Fact, prompt, llm_kwargs=wrong),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"'tryage_modle'.*Did you mean tryage_model"):
            call()
    for awaitable in (llm.achat(messages, **wrong), llm.acomplete("hi", **wrong)):
        with pytest.raises(InputError, match="Did you mean tryage_model"):
            await awaitable


def test_a_misspelt_setting_is_refused_with_the_nearest_name(small):
    with pytest.raises(InputError, match=r"'preferrences'.*preferences"):
        TryageLLM.from_llms([small], preferrences=ONLY_BIG)
    with pytest.raises(TypeError):
        TryageLLM.from_llms([ScriptedLLM()]).using(querry="x")


@pytest.mark.parametrize("name", ["preferences", "model", "sticky", "deadline"])
def test_a_setting_without_its_prefix_is_no_argument_of_an_llm(llm, name):
    message = f"'{name}' is no argument of a model. Write tryage_{name}=..."
    with pytest.raises(InputError, match=message):
        ask(llm, **{name: "big"})
    with pytest.raises(InputError, match=message):
        llm.complete("small question", **{name: "big"})
