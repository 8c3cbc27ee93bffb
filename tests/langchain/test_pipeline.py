"""TryageRouter among LangChain's own parts: it keeps inputs, hands decisions on, takes tools."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RouterRunnable, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.config import RunnableConfig

from tryage import Expert, Router
from tryage.core.decision import Decision
from tryage.errors import InputError
from tryage.testing import FailingPerception
from tryage_langchain import TryageRouter, model_string, to_destination, to_router_input
from tryage_langchain._clients import PROVIDERS


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


class Tooled(FakeListChatModel):
    """Binds tools in a format of its own."""

    form: str = "plain"

    def bind_tools(self, tools, **kwargs):
        return RunnableLambda(lambda _: (self.form, list(tools), kwargs))

    def with_structured_output(self, schema, **kwargs):
        return RunnableLambda(lambda _: (self.form, schema, kwargs))


def children():
    return {
        "small": Tooled(responses=["s"], form="small's"),
        "big": Tooled(responses=["b"], form="big's"),
    }


# A dict as input --------------------------------------------------------------------------------


def test_of_a_dict_the_named_key_is_routed_and_the_whole_dict_is_handed_on(router):
    chooser = TryageRouter(router, {"small": echo("small"), "big": echo("big")}, input_key="q")
    given = {"q": "big question", "context": "small"}
    assert chooser.invoke(given) == ("big", given)
    assert chooser.invoke({"q": [HumanMessage("small talk")]})[0] == "small"


def test_flags_are_taken_out_of_the_named_key_only(flagged):
    chooser = TryageRouter(flagged, {"small": echo("small"), "big": echo("big")}, input_key="q")
    given = {"q": "big [Flag: model=small]", "other": "[Flag: model=big]"}
    assert chooser.invoke(given) == ("small", {"q": "big", "other": "[Flag: model=big]"})


def test_a_dict_without_a_key_to_read_is_refused_with_the_keys_it_has(router):
    with pytest.raises(InputError, match=r"\['a', 'q'\].*input_key"):
        TryageRouter(router).invoke({"q": "big", "a": 1})
    with pytest.raises(InputError, match=r"no 'question'.*\['q'\]"):
        TryageRouter(router, input_key="question").invoke({"q": "big"})
    with pytest.raises(InputError, match=r"str.*dict with the prompt as 'q'"):
        TryageRouter(router, input_key="q").invoke("big")


# Handing the decision on ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_assign_to_keeps_the_input_as_passthrough_assign_does(router, how):
    chooser = TryageRouter(router, input_key="q")
    given = {"q": "big one", "rest": [1, 2]}
    ours, theirs = chooser.assign_to("route"), RunnablePassthrough.assign(route=chooser)

    def run(chain):
        if how == "invoke":
            return chain.invoke(given)
        return {key: value for chunk in chain.stream(given) for key, value in chunk.items()}

    mine, reference = run(ours), run(theirs)
    assert {key: mine[key] for key in given} == given
    assert mine.keys() == reference.keys() == {"q", "rest", "route"}
    assert isinstance(mine["route"], Decision)
    assert mine["route"].expert == reference["route"].expert


async def test_router_runnable_takes_what_to_router_input_yields(flagged):
    keyed = RouterRunnable({"small": echo("small"), "big": echo("big")})
    chain = TryageRouter(flagged).to_router_input() | keyed
    assert chain.invoke("big one") == ("big", "big one")
    assert await chain.ainvoke("big one [Flag: model=small]") == ("small", "big one")
    assert chain.batch(["small", "big"]) == [("small", "small"), ("big", "big")]


def test_a_decision_is_handed_on_by_hand_too(router):
    decision = router.route("big")
    assert to_router_input(decision, "big") == {"key": "big", "input": "big"}
    assert to_destination(decision, "big") == {
        "destination": "big",
        "next_inputs": {"input": "big"},
    }


def test_only_experts_with_a_runnable_are_handed_on(router):
    chooser = TryageRouter(router, {"small": echo("small")})
    assert chooser.to_router_input().invoke("big")["key"] == "small"


def test_the_old_router_chains_get_their_keys_and_the_default_has_no_name():
    router = Router(FailingPerception(["small", "big"]), default="big")
    chain = TryageRouter(router, input_key="input").to_destination()
    given = {"input": "x", "history": ""}
    assert chain.invoke(given) == {"destination": None, "next_inputs": given}


# The name for init_chat_model -------------------------------------------------------------------


@pytest.mark.parametrize(
    "expert",
    [
        Expert("openai:gpt-4o"),
        Expert("gpt", aliases=("acme/gpt", "gpt:4o", "openai:gpt-4o")),
        Expert("openai:old", metadata={"chat_model": "openai:gpt-4o"}),
    ],
)
def test_an_expert_is_named_as_init_chat_model_takes_it(expert):
    assert model_string(expert) == "openai:gpt-4o"


@pytest.mark.parametrize("name", ["gpt-4o", "llama3:8b", "openai:", ":gpt-4o", "meta/llama:free"])
def test_a_name_without_a_provider_is_never_guessed(name):
    with pytest.raises(InputError, match=r"init_chat_model.*openai:gpt-4o"):
        model_string(Expert(name))


def test_a_router_in_front_of_model_string_yields_the_name(perception):
    router = Router(perception, [Expert("small"), Expert("big", aliases=("xai:grok-4",))])
    assert (TryageRouter(router) | model_string).invoke("big") == "xai:grok-4"


def test_every_provider_that_we_know_is_one_of_init_chat_models():
    base = pytest.importorskip("langchain.chat_models.base")
    assert set(base._BUILTIN_PROVIDERS) >= PROVIDERS


# Tools and structure ----------------------------------------------------------------------------


def test_tools_are_bound_to_each_child_in_its_own_format(router):
    bound = TryageRouter(router, children()).bind_tools(["tool"], tool_choice="any")
    assert bound.invoke("big") == ("big's", ["tool"], {"tool_choice": "any"})
    assert bound.invoke("small") == ("small's", ["tool"], {"tool_choice": "any"})


def test_binding_tools_leaves_the_router_as_it_was_and_keeps_its_name(router):
    chooser = TryageRouter(router, children(), name="desk")
    bound = chooser.bind_tools(["tool"])
    assert bound.get_name() == "desk"
    assert chooser.invoke("big").content == "b"


def test_structured_output_is_each_childs_own(router):
    bound = TryageRouter(router, children()).with_structured_output(dict, include_raw=True)
    assert bound.invoke("small") == ("small's", dict, {"include_raw": True})


@pytest.mark.parametrize("order", ["config first", "tools first", "in the call"])
def test_overrides_survive_bind_tools(router, order):
    config = RunnableConfig(configurable={"tryage_model": "small"}, tags=["mine"])
    chooser = TryageRouter(router, children(), name="desk")
    if order == "config first":
        assert chooser.with_config(config).bind_tools(["tool"]).invoke("big")[0] == "small's"
    elif order == "tools first":
        assert chooser.bind_tools(["tool"]).with_config(config).invoke("big")[0] == "small's"
    else:
        assert chooser.bind_tools(["tool"]).invoke("big", config)[0] == "small's"


def test_preferences_survive_with_structured_output(router):
    chosen = {"requirements": [{"field": "name", "op": "in", "value": ["small"]}]}
    chooser = TryageRouter(router, children()).with_config(
        {"configurable": {"tryage_preferences": chosen}}
    )
    assert chooser.with_structured_output(dict).invoke("big")[0] == "small's"


def test_a_child_that_takes_no_tools_is_named(router):
    plain = FakeListChatModel(responses=["x"])
    for child in (plain, echo("small")):
        with pytest.raises(InputError, match="'small' has no bind_tools"):
            TryageRouter(router, {"big": children()["big"], "small": child}).bind_tools([])
    with pytest.raises(InputError, match="no runnables"):
        TryageRouter(router).bind_tools([])


# What it says of itself -------------------------------------------------------------------------


def test_the_graph_has_an_edge_with_a_name_to_every_child(router):
    chooser = TryageRouter(router, {"small": echo("small"), "big": echo("big")})
    chain = ChatPromptTemplate.from_template("{q}") | chooser | RunnableLambda(str)
    graph = chain.get_graph()
    named = {node.id: node.name for node in graph.nodes.values()}
    edges = {(named[edge.source], edge.data) for edge in graph.edges if edge.conditional}
    assert edges == {("TryageRouter", "small"), ("TryageRouter", "big")}
    assert {"small", "big", "TryageRouter", "ChatPromptTemplate"} <= set(named.values())
    assert "TryageRouter" in graph.draw_mermaid()


def test_without_children_and_with_children_that_pass_through_the_graph_is_whole(router):
    for chooser in (
        TryageRouter(router),
        TryageRouter(router, {"big": RunnablePassthrough(), "small": children()["small"]}),
    ):
        graph = chooser.get_graph()
        assert graph.first_node() is not None
        assert graph.last_node() is not None


def test_the_schemas_say_what_goes_in_and_comes_out(router):
    alone = TryageRouter(router)
    assert alone.get_output_schema().model_json_schema()["title"] == "TryageRouterOutput"
    assert alone.OutputType is Decision
    assert alone.get_input_jsonschema()["title"] == "TryageRouterInput"
    models = TryageRouter(router, children())
    assert models.OutputType == children()["big"].OutputType
    assert models.get_output_schema().model_validate(AIMessage("x"))
    mixed = TryageRouter(router, {"small": children()["small"], "big": echo("big")}, input_key="q")
    assert mixed.get_input_jsonschema()["type"] == "object"
