"""A split and a shadow in place of a router: chat models, agents, selectors and routers."""

from __future__ import annotations

import pytest

from tryage.policies import Shadow, Split

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

NAMES = ("large", "medium", "small")


@pytest.fixture
def split(good, cheap):
    return Split({"a": good, "b": cheap})


@pytest.fixture
def shadow(good, cheap):
    return Shadow(cheap, beside=good, name="cheap")


@pytest.fixture
def chat_models():
    from tryage_langchain.testing import ScriptedChatModel

    return {name: ScriptedChatModel(model=name) for name in NAMES}


@pytest.fixture
def llms():
    from tryage_llamaindex.testing import ScriptedLLM

    return {name: ScriptedLLM(model=name) for name in NAMES}


def config(thread):
    return {"configurable": {"thread_id": thread}}


def test_a_thread_of_a_chat_model_stays_with_its_router(split, chat_models, read_log):
    from tryage_langchain import ChatTryage

    chat = ChatTryage(models=chat_models, router=split)
    for i in range(20):
        answer = chat.invoke(f"question {i}", config(f"thread {i % 5}"))
        record = read_log()[answer.response_metadata["tryage"]["id"]]
        assert (record.arm, record.key) == (split.arm_of(f"thread {i % 5}"), f"thread {i % 5}")
        assert record.chosen == {"a": "large", "b": "small"}[record.arm]


def test_feedback_about_an_answer_of_a_split_chat_model_is_taken(split, chat_models, url):
    from tryage.traffic.traffic import open_traffic
    from tryage_langchain import ChatTryage

    chat = ChatTryage(models=chat_models, router=split)
    answer = chat.invoke("hello", config("thread 1"))
    assert split.feedback(answer.response_metadata["tryage"]["id"], True)
    ((_, outcome, given),) = open_traffic(url).decisions()
    assert [one.score for one in given] == [1.0]
    assert outcome is not None


def test_a_shadow_decides_beside_a_chat_model(shadow, chat_models, read_log):
    from tryage_langchain import ChatTryage

    chat = ChatTryage(models=chat_models, router=shadow)
    answer = chat.invoke("hello")
    assert answer.response_metadata["tryage"]["model"] == "large"
    chat._session.chat_router.router.flush()
    record = read_log()[answer.response_metadata["tryage"]["id"]]
    assert (record.chosen, record.shadow_choices) == ("large", {"cheap": "small"})


async def test_an_llm_of_llamaindex_takes_both(split, shadow, llms, read_log):
    from tryage_llamaindex import TryageLLM

    answers = [await TryageLLM(llms=llms, router=one).acomplete("hello") for one in (split, shadow)]
    ids = [answer.additional_kwargs["tryage"]["id"] for answer in answers]
    assert read_log()[ids[0]].arm in ("a", "b")
    assert answers[1].additional_kwargs["tryage"]["model"] == "large"


def test_a_runnable_router_takes_both(split, shadow, read_log):
    from tryage_langchain import TryageRouter

    decisions = [TryageRouter(policy).invoke("hello", config("t")) for policy in (split, shadow)]
    shadow.flush()
    assert read_log()[decisions[0].id].arm == split.arm_of("t")
    assert read_log()[decisions[1].id].shadow_choices == {"cheap": "small"}


def test_a_selector_takes_both(split, shadow):
    from llama_index.core.tools import ToolMetadata

    from tryage_llamaindex import TryageSelector

    choices = [ToolMetadata(description=name, name=name) for name in ("medium", "small")]
    for policy in (split, shadow):
        selected = TryageSelector(policy).select(choices, "hello")
        assert len(selected.selections) == 1


def test_an_agent_asks_the_model_of_its_thread(split, chat_models, read_log):
    agents = pytest.importorskip("langchain.agents")
    from tryage_langchain import TryageMiddleware

    middleware = TryageMiddleware(chat_models, router=split)
    agent = agents.create_agent(chat_models["large"], middleware=[middleware])
    state = agent.invoke({"messages": [("user", "hello")]}, config("thread 3"))
    assert state["messages"][-1].content
    arms = {record.arm for record in read_log().values()}
    assert arms == {split.arm_of("thread 3")}
