"""TryageRouter runs the chosen runnable in its own place, with what LangChain promises."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.runnables.config import RunnableConfig

from tryage.core.decision import Decision
from tryage.core.preferences import Preferences
from tryage.errors import InputError, LibraryError, NoExpertError
from tryage.router import Router
from tryage_langchain import TryageRouter


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


class ToolModel(FakeListChatModel):
    """Binds tools in a format of its own."""

    form: str = "plain"

    def bind_tools(self, tools, **kwargs):
        return RunnableLambda(lambda _: (self.form, list(tools), kwargs))

    def with_structured_output(self, schema, **kwargs):
        return RunnableLambda(lambda _: (self.form, schema, kwargs))


def tool_models():
    return {
        "small": ToolModel(responses=["s"], form="small's"),
        "big": ToolModel(responses=["b"], form="big's"),
    }


@pytest.fixture
def tryage_router(router):
    return TryageRouter(router=router, runnables={"small": echo("small"), "big": echo("big")})


# Which runnable runs -----------------------------------------------------------------------------


def test_without_runnables_the_output_is_the_decision(router):
    decision = TryageRouter(router=router).invoke("big question")
    assert isinstance(decision, Decision)
    assert decision.expert.name == "big"


def test_only_experts_with_a_runnable_are_candidates(router):
    assert (
        TryageRouter(router=router, runnables={"small": echo("small")}).invoke("big")[0] == "small"
    )


def test_a_runnable_may_have_its_experts_name_in_another_case(router):
    assert TryageRouter(router=router, runnables={"BIG": echo("big")}).invoke("big")[0] == "big"


def test_a_plain_function_is_a_runnable(router):
    assert TryageRouter(router=router, runnables={"big": str.upper}).invoke("big") == "BIG"


def test_a_runnable_of_an_unknown_expert_is_refused_by_name(router):
    with pytest.raises(LibraryError, match="huge"):
        TryageRouter(router=router, runnables={"huge": echo("huge")})


def test_two_runnables_of_one_expert_are_refused(router):
    with pytest.raises(ValueError, match="big"):
        TryageRouter(router=router, runnables={"big": echo("a"), "BIG": echo("b")})


def test_an_empty_dict_of_runnables_is_refused(router):
    with pytest.raises(InputError, match="empty"):
        TryageRouter(router=router, runnables={})


def test_keyword_arguments_reach_the_runnable(router):
    child = RunnableLambda(lambda _, **kwargs: kwargs)
    tryage_router = TryageRouter(router=router, runnables={"big": child})
    assert tryage_router.bind(stop=["\n"]).invoke("big") == {"stop": ["\n"]}


# What one call asks for --------------------------------------------------------------------------


def test_one_call_may_name_a_model(tryage_router):
    config = {"configurable": {"tryage_model": "SMALL"}}
    assert tryage_router.invoke("big", config)[0] == "small"
    assert tryage_router.with_config(config).invoke("big")[0] == "small"
    with pytest.raises(LibraryError, match="huge"):
        tryage_router.invoke("big", {"configurable": {"tryage_model": "huge"}})


def test_a_named_model_is_not_passed_on_to_an_inner_router(router):
    inner = TryageRouter(router=router.subset(["small"]), runnables={"small": echo("small")})
    outer = TryageRouter(router=router, runnables={"big": inner, "small": echo("small")})
    assert outer.invoke("small", {"configurable": {"tryage_model": "big"}})[0] == "small"


@pytest.mark.parametrize("as_dict", [False, True])
def test_one_call_may_have_preferences(tryage_router, as_dict):
    preferences = Preferences(only=["small"])
    given = preferences.to_dict() if as_dict else preferences
    assert (
        tryage_router.invoke("big", {"configurable": {"tryage_preferences": given}})[0] == "small"
    )


def test_preferences_of_another_type_are_refused(tryage_router):
    with pytest.raises(InputError, match="tryage_preferences is a int"):
        tryage_router.invoke("big", {"configurable": {"tryage_preferences": 3}})


def test_a_named_model_must_meet_the_operators_requirements(perception):
    strict = Router(perception, preferences=Preferences(only=["small"]), strict=True)
    tryage_router = TryageRouter(
        router=strict, runnables={"small": echo("small"), "big": echo("big")}
    )
    with pytest.raises(NoExpertError):
        tryage_router.invoke("big", {"configurable": {"tryage_model": "big"}})


def test_the_settings_of_one_call_are_declared(tryage_router):
    assert {"tryage_preferences", "tryage_model"} <= {
        spec.id for spec in tryage_router.config_specs
    }


# Tools and structured output ---------------------------------------------------------------------


def test_tools_are_bound_to_each_runnable_in_its_own_format(router):
    bound = TryageRouter(router, tool_models()).bind_tools(["tool"], tool_choice="any")
    assert bound.invoke("big") == ("big's", ["tool"], {"tool_choice": "any"})
    assert bound.invoke("small") == ("small's", ["tool"], {"tool_choice": "any"})


def test_binding_tools_keeps_the_name_and_does_not_change_the_router(router):
    tryage_router = TryageRouter(router, tool_models(), name="mine")
    bound = tryage_router.bind_tools(["tool"])
    assert bound.get_name() == "mine"
    assert tryage_router.invoke("big").content == "b"


def test_each_runnable_makes_structured_output_in_its_own_way(router):
    bound = TryageRouter(router, tool_models()).with_structured_output(dict, include_raw=True)
    assert bound.invoke("small") == ("small's", dict, {"include_raw": True})


@pytest.mark.parametrize("order", ["config first", "tools first", "in the call"])
def test_bind_tools_keeps_the_config(router, order):
    config = RunnableConfig(configurable={"tryage_model": "small"}, tags=["mine"])
    tryage_router = TryageRouter(router, tool_models(), name="mine")
    if order == "config first":
        assert tryage_router.with_config(config).bind_tools(["tool"]).invoke("big")[0] == "small's"
    elif order == "tools first":
        assert tryage_router.bind_tools(["tool"]).with_config(config).invoke("big")[0] == "small's"
    else:
        assert tryage_router.bind_tools(["tool"]).invoke("big", config)[0] == "small's"


def test_with_structured_output_keeps_the_config(router):
    chosen = {"requirements": [{"field": "name", "op": "in", "value": ["small"]}]}
    tryage_router = TryageRouter(router, tool_models()).with_config(
        {"configurable": {"tryage_preferences": chosen}}
    )
    assert tryage_router.with_structured_output(dict).invoke("big")[0] == "small's"


def test_a_runnable_that_takes_no_tools_is_refused_by_name(router):
    plain = FakeListChatModel(responses=["x"])
    for child in (plain, echo("small")):
        with pytest.raises(InputError, match="'small' has no bind_tools"):
            TryageRouter(router, {"big": tool_models()["big"], "small": child}).bind_tools([])
    with pytest.raises(InputError, match="no runnables"):
        TryageRouter(router).bind_tools([])


# Pipelines ---------------------------------------------------------------------------------------


def test_a_pipeline_with_a_template_and_a_parser_answers_and_streams(router):
    models = {
        "small": FakeListChatModel(responses=["tiny"]),
        "big": FakeListChatModel(responses=["huge"]),
    }
    tryage_router = TryageRouter(router=router, runnables=models)
    for template in (PromptTemplate, ChatPromptTemplate):
        chain = template.from_template("{size} one") | tryage_router | StrOutputParser()
        assert chain.invoke({"size": "big"}) == "huge"
        assert list(chain.stream({"size": "small"})) == ["t", "i", "n", "y"]


async def test_a_pipeline_answers_and_streams_asynchronously(router):
    tryage_router = TryageRouter(
        router=router, runnables={"big": FakeListChatModel(responses=["huge"])}
    )
    chain = ChatPromptTemplate.from_template("{size}") | tryage_router | StrOutputParser()
    assert await chain.ainvoke({"size": "big"}) == "huge"
    assert [chunk async for chunk in chain.astream({"size": "big"})] == ["h", "u", "g", "e"]


# Graph and schemas -------------------------------------------------------------------------------


def test_the_graph_has_a_named_edge_to_every_runnable(router):
    tryage_router = TryageRouter(router, {"small": echo("small"), "big": echo("big")})
    chain = ChatPromptTemplate.from_template("{q}") | tryage_router | RunnableLambda(str)
    graph = chain.get_graph()
    named = {node.id: node.name for node in graph.nodes.values()}
    edges = {(named[edge.source], edge.data) for edge in graph.edges if edge.conditional}
    assert edges == {("TryageRouter", "small"), ("TryageRouter", "big")}
    assert {"small", "big", "TryageRouter", "ChatPromptTemplate"} <= set(named.values())
    assert "TryageRouter" in graph.draw_mermaid()


def test_the_graph_has_a_start_and_an_end_with_any_runnables(router):
    for tryage_router in (
        TryageRouter(router),
        TryageRouter(router, {"big": RunnablePassthrough(), "small": tool_models()["small"]}),
    ):
        graph = tryage_router.get_graph()
        assert graph.first_node() is not None
        assert graph.last_node() is not None


def test_the_schemas_describe_input_and_output(router):
    alone = TryageRouter(router)
    assert alone.get_output_schema().model_json_schema()["title"] == "TryageRouterOutput"
    assert alone.OutputType is Decision
    assert alone.get_input_jsonschema()["title"] == "TryageRouterInput"
    models = TryageRouter(router, tool_models())
    assert models.OutputType == tool_models()["big"].OutputType
    assert models.get_output_schema().model_validate(AIMessage("x"))
    mixed = TryageRouter(
        router, {"small": tool_models()["small"], "big": echo("big")}, input_key="q"
    )
    assert mixed.get_input_jsonschema()["type"] == "object"
