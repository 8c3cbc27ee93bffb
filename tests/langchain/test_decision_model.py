"""TryageDecisionModel answers a Choice among experts, and decides for LangChain's own router."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage

import tryage_langchain
from tryage import Preferences, Router
from tryage.errors import InputError, LibraryError, MissingExtraError, PerceptionError
from tryage.testing import FailingPerception

NEW = find_spec("langchain_core.decisions") is not None


needs_new_core = pytest.mark.skipif(not NEW, reason="langchain-core 1.8 brought decision models")


@pytest.mark.skipif(NEW, reason="langchain-core is new enough")
def test_with_an_older_core_the_error_names_the_needed_version():
    with pytest.raises(MissingExtraError, match=r"langchain-core 1\.8 or newer, and 1\.\d"):
        _ = tryage_langchain.TryageDecisionModel


def ask(router, state="big one", labels=("small", "big"), **kwargs):
    from langchain_core.decisions import Choice

    question = Choice(criteria=dict.fromkeys(labels), instructions="Which?")
    model = tryage_langchain.TryageDecisionModel(router, **kwargs)
    return model.invoke({"state": state, "questions": {"q": question}}).choices["q"]


@needs_new_core
@pytest.mark.parametrize(
    "state",
    ["big one", HumanMessage("big one"), [HumanMessage("big one"), AIMessage("small")]],
)
def test_the_answer_is_the_routers_choice_with_all_probabilities(router, state):
    answer = ask(router, state)
    assert answer.choice == "big"
    assert answer.probabilities == pytest.approx({"small": 0.0, "big": 1.0})
    assert answer.confidence == pytest.approx(1.0)


@needs_new_core
async def test_the_answer_is_the_same_asynchronously(router):
    from langchain_core.decisions import Choice

    question = Choice(criteria={"small": None, "big": "hard"}, instructions="Which?")
    model = tryage_langchain.TryageDecisionModel(router)
    answered = await model.ainvoke({"state": "small", "questions": {"q": question}})
    assert (answered.model, answered.choices["q"].choice) == ("tryage", "small")


@needs_new_core
def test_a_structured_state_is_routed_as_a_whole(perception):
    ask(Router(perception), {"messages": [HumanMessage("big ünï")], "n": 3})
    assert perception.passes == [['{"messages": ["big ünï"], "n": 3}']]


@needs_new_core
def test_labels_may_be_mapped_to_experts_and_only_labels_are_chosen(router):
    names = {"fast": "small", "powerful": "BIG"}
    assert ask(router, labels=names, experts=names).choice == "powerful"
    assert ask(router, labels=["fast"], experts=names).choice == "fast"


@needs_new_core
def test_the_label_of_langchains_own_example_is_estimated_from_its_profile():
    router = Router.from_pretrained()
    answer = ask(router, labels=("gpt-5-mini", "gpt-4o-mini"))
    assert set(answer.probabilities) == {"gpt-5-mini", "gpt-4o-mini"}
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    mapped = {"fast": "openai:gpt-5-mini", "powerful": "openai:gpt-5"}
    assert ask(router, labels=mapped, experts=mapped).choice in mapped


@needs_new_core
def test_a_label_that_the_router_cannot_estimate_is_left_out_with_a_warning(router, caplog):
    answer = ask(router, labels=["small", "huge"])
    assert (answer.choice, answer.probabilities) == ("small", {"small": 1.0, "huge": 0.0})
    assert "['huge']" in caplog.text


@needs_new_core
@pytest.mark.parametrize(
    ("setting", "choice"),
    [
        ({"tryage_preferences": {"requirements": []}}, "big"),
        ({"tryage_preferences": Preferences(only=["small"])}, "small"),
        ({"tryage_model": "SMALL"}, "small"),
        ({"tryage_query": "small question"}, "small"),
    ],
)
async def test_a_run_may_have_settings_of_its_own(router, setting, choice):
    from langchain_core.decisions import Choice

    question = Choice(criteria={"small": None, "big": None}, instructions="Which?")
    model = tryage_langchain.TryageDecisionModel(router)
    value, config = {"state": "big one", "questions": {"q": question}}, {"configurable": setting}
    assert model.invoke(value, config).choices["q"].choice == choice
    assert (await model.ainvoke(value, config)).choices["q"].choice == choice


@needs_new_core
def test_a_run_may_name_a_model_by_its_label(router):
    from langchain_core.decisions import Choice

    names = {"fast": "small", "powerful": "big"}
    question = Choice(criteria=dict.fromkeys(names), instructions="Which?")
    model = tryage_langchain.TryageDecisionModel(router, experts=names)
    value = {"state": "big one", "questions": {"q": question}}
    answered = model.invoke(value, {"configurable": {"tryage_model": "fast"}})
    assert answered.choices["q"].choice == "fast"


@needs_new_core
def test_labels_of_unknown_experts_or_of_one_expert_twice_are_refused(router):
    with pytest.raises(LibraryError, match="huge"):
        ask(router, labels=["huge"])
    with pytest.raises(InputError, match="stand for one expert"):
        ask(router, labels=["big", "BIG"])


@needs_new_core
def test_other_questions_are_refused(router):
    from langchain_core.decisions import Noul

    model = tryage_langchain.TryageDecisionModel(router)
    with pytest.raises(InputError, match=r"cannot answer a Noul.*Choice"):
        model.invoke({"state": "x", "questions": {"q": Noul(instructions="Urgent?")}})


@needs_new_core
def test_a_failing_router_answers_with_its_default_and_confidence_0():
    broken = FailingPerception(["small", "big"])
    answer = ask(Router(broken, default="small"))
    assert (answer.choice, answer.confidence) == ("small", 0.0)
    with pytest.raises(PerceptionError, match="encoder is gone"):
        ask(Router(broken))


@needs_new_core
async def test_it_decides_for_langchains_own_middleware(router):
    from langchain.agents import create_agent
    from langchain.agents.middleware import ModelChoice, ModelRouterMiddleware

    choices = {
        name: ModelChoice(model=FakeListChatModel(responses=[name]), criteria=None)
        for name in ("small", "big")
    }
    middleware = ModelRouterMiddleware(
        choices=choices,
        instructions="Which model?",
        classifier=tryage_langchain.TryageDecisionModel(router),
    )
    agent = create_agent(FakeListChatModel(responses=["none"]), middleware=[middleware])
    for name in choices:
        value = {"messages": [HumanMessage(f"{name} question")]}
        assert agent.invoke(value)["messages"][-1].content == name
        assert (await agent.ainvoke(value))["messages"][-1].content == name


@needs_new_core
def test_its_repr_does_not_hold_the_router(router):
    assert "FirstWord" not in repr(tryage_langchain.TryageDecisionModel(router))
