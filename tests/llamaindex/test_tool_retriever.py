"""TryageToolRetriever gives agents of LlamaIndex the tools that a query needs."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.agent.workflow import FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.objects import ObjectIndex, ObjectRetriever
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import FunctionTool

from tryage import Preferences
from tryage.errors import InputError, LibraryError, NoExpertError
from tryage.tools import Tool
from tryage_llamaindex import TryageToolRetriever

DESCRIPTIONS = {
    "get_weather": "Current weather of a city",
    "stock_price": "Price of a share on the stock exchange",
    "send_mail": "Send an e-mail to somebody",
    "translate": "Translate a text into another language",
    "delete_file": "Delete a file from the disk",
}
RAIN = "Will it rain in Rome?"


def make_tool(name: str) -> FunctionTool:
    def use(city: str = "") -> str:
        return f"{name} says: sunny in {city}"

    return FunctionTool.from_defaults(use, name=name, description=DESCRIPTIONS[name])


@pytest.fixture(scope="module")
def tools():
    return [make_tool(name) for name in DESCRIPTIONS]


def names(found):
    return [tool.metadata.name for tool in found]


def test_the_tool_that_serves_the_query_comes_first(tools):
    retriever = TryageToolRetriever(tools, k=2)
    assert isinstance(retriever, ObjectRetriever)
    assert names(retriever.retrieve(RAIN))[0] == "get_weather"
    assert len(retriever.retrieve(QueryBundle(RAIN))) == 2
    assert retriever.retrieve(RAIN)[0] is tools[0]


async def test_it_retrieves_the_same_from_an_event_loop(tools):
    retriever = TryageToolRetriever(tools, k=3)
    assert await retriever.aretrieve(RAIN) == retriever.retrieve(RAIN)


def test_what_is_always_included_comes_after_the_chosen(tools):
    retriever = TryageToolRetriever(tools, k=1, always_include=["translate", "get_weather"])
    assert names(retriever.retrieve(RAIN)) == ["get_weather", "translate"]


def test_abstaining_leaves_what_is_always_included(tools):
    retriever = TryageToolRetriever(tools, abstain_below=0.3, always_include=["send_mail"])
    assert names(retriever.retrieve("Hello, how are you?")) == ["send_mail"]


def test_constraints_and_permissions_count(tools):
    known = [Tool(name, cost=float(name == "get_weather")) for name in DESCRIPTIONS]
    by_cost = TryageToolRetriever(tools, k=1, known=known, preferences=Preferences({"cost": 5.0}))
    assert names(by_cost.retrieve(RAIN)) != ["get_weather"]
    guarded = [Tool(name, permissions={"root"}) for name in DESCRIPTIONS]
    with pytest.raises(NoExpertError, match="root"):
        TryageToolRetriever(tools, known=guarded, granted=[]).retrieve(RAIN)


def test_tools_of_one_name_are_retrieved_as_the_callers_own_objects():
    twins = [
        FunctionTool.from_defaults(lambda q: q, name="search", description=description)
        for description in ("Find songs and albums", "Find flights and hotels", "")
    ]
    retriever = TryageToolRetriever(twins, k=1)
    assert retriever.retrieve("Find me a flight and a hotel")[0] is twins[1]
    always = TryageToolRetriever(twins, k=1, always_include=["search"])
    assert set(map(id, always.retrieve("Find me a flight and a hotel"))) == set(map(id, twins))


def test_wrong_arguments_are_refused(tools):
    with pytest.raises(InputError, match="llama_index tools"):
        TryageToolRetriever(["search"])
    with pytest.raises(InputError, match="always_include names"):
        TryageToolRetriever(tools, always_include=["unknown"])
    with pytest.raises(InputError, match="known names"):
        TryageToolRetriever(tools, known=[Tool("get_wether", permissions={"root"})])
    with pytest.raises(InputError, match="k is how many"):
        TryageToolRetriever(tools, k=0)
    with pytest.raises(LibraryError, match="empty"):
        TryageToolRetriever([])


def call_first_tool(seen):
    """Return a model's reply function that calls the first tool, then repeats its answer."""

    def reply(messages, tools=(), **_):
        seen.append(names(tools))
        results = [message.content for message in messages if message.role == "tool"]
        if results or not tools:
            return ChatMessage(role="assistant", content=results[-1] if results else "")
        call = ToolCallBlock(
            tool_call_id="1", tool_name=names(tools)[0], tool_kwargs={"city": "Rome"}
        )
        return ChatMessage(role="assistant", blocks=[call])

    return reply


class ReActLLM(CustomLLM):
    """A model that reasons in text, and uses the first tool that its prompt lists."""

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=True)

    def complete(self, prompt, formatted=False, **_):  # noqa: ARG002 - the signature of an LLM
        if "sunny in Rome" in prompt:
            return CompletionResponse(text="Thought: I know.\nAnswer: it is sunny in Rome")
        first = prompt.partition("> Tool Name: ")[2].partition("\n")[0]
        act = f'Thought: I need a tool.\nAction: {first}\nAction Input: {{"city": "Rome"}}'
        return CompletionResponse(text=act, delta=act)

    def stream_complete(self, prompt, formatted=False, **kwargs):
        yield self.complete(prompt, formatted, **kwargs)


async def test_a_function_agent_sees_and_calls_the_retrieved_tool(tools):
    seen = []
    model = MockFunctionCallingLLM(response_generator=call_first_tool(seen))
    agent = FunctionAgent(llm=model, tool_retriever=TryageToolRetriever(tools, k=1))
    answer = await agent.run(RAIN)
    assert str(answer) == "get_weather says: sunny in Rome"
    assert seen == [["get_weather"]] * 2


async def test_a_react_agent_uses_the_retrieved_tool(tools):
    agent = ReActAgent(llm=ReActLLM(), tool_retriever=TryageToolRetriever(tools, k=1))
    answer = await agent.run(RAIN)
    assert "sunny in Rome" in str(answer)
    assert [call.tool_name for call in answer.tool_calls] == ["get_weather"]


def test_it_replaces_the_retriever_of_an_object_index(tools):
    index = ObjectIndex.from_objects(tools, embed_model=MockEmbedding(embed_dim=4))
    theirs, ours = index.as_retriever(similarity_top_k=2), TryageToolRetriever(tools, k=2)
    assert len(theirs.retrieve(RAIN)) == len(ours.retrieve(RAIN)) == 2
    assert ours.node_postprocessors == []


async def test_its_retriever_finds_the_tools_as_nodes(tools):
    ours = TryageToolRetriever(tools, k=2, always_include=["translate"])
    nodes = ours.retriever.retrieve(RAIN)
    assert nodes == await ours.retriever.aretrieve(RAIN)
    found = [ours.object_node_mapping.from_node(node.node) for node in nodes]
    assert found == ours.retrieve(RAIN)
    index = ObjectIndex.from_objects(tools, embed_model=MockEmbedding(embed_dim=4))
    theirs = index.as_retriever(similarity_top_k=len(tools))
    texts = {node.text for node in theirs.retriever.retrieve(RAIN)}
    assert {node.text for node in nodes} <= texts


async def test_concurrent_tasks_may_share_it(tools):
    retriever = TryageToolRetriever(tools, k=1)
    found = await asyncio.gather(*(retriever.aretrieve(q) for q in [RAIN, "Mail Ann"] * 8))
    assert [names(one)[0] for one in found] == ["get_weather", "send_mail"] * 8
