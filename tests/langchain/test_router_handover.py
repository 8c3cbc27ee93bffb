"""TryageRouter hands its decision on to LangChain's own routing runnables and router chains."""

from __future__ import annotations

import pytest
from langchain_core.runnables import RouterRunnable, RunnableLambda, RunnablePassthrough

from tryage import Router
from tryage.core.decision import Decision
from tryage.testing import FailingPerception
from tryage_langchain import TryageRouter, to_destination, to_router_input


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


@pytest.mark.parametrize("method", ["invoke", "stream"])
def test_assign_to_keeps_the_input_like_passthrough_assign(router, method):
    tryage_router = TryageRouter(router, input_key="q")
    given = {"q": "big one", "rest": [1, 2]}
    ours, theirs = tryage_router.assign_to("route"), RunnablePassthrough.assign(route=tryage_router)

    def run(chain):
        if method == "invoke":
            return chain.invoke(given)
        return {key: value for chunk in chain.stream(given) for key, value in chunk.items()}

    mine, reference = run(ours), run(theirs)
    assert {key: mine[key] for key in given} == given
    assert mine.keys() == reference.keys() == {"q", "rest", "route"}
    assert isinstance(mine["route"], Decision)
    assert mine["route"].expert == reference["route"].expert


async def test_router_runnable_takes_the_output_of_to_router_input(flag_router):
    keyed = RouterRunnable({"small": echo("small"), "big": echo("big")})
    chain = TryageRouter(flag_router).to_router_input() | keyed
    assert chain.invoke("big one") == ("big", "big one")
    assert await chain.ainvoke("big one [Flag: model=small]") == ("small", "big one")
    assert chain.batch(["small", "big"]) == [("small", "small"), ("big", "big")]


def test_a_decision_is_converted_by_functions_too(router):
    decision = router.route("big")
    assert to_router_input(decision, "big") == {"key": "big", "input": "big"}
    assert to_destination(decision, "big") == {
        "destination": "big",
        "next_inputs": {"input": "big"},
    }


def test_only_experts_with_a_runnable_are_handed_on(router):
    tryage_router = TryageRouter(router, {"small": echo("small")})
    assert tryage_router.to_router_input().invoke("big")["key"] == "small"


def test_a_router_chain_gets_its_keys_and_no_name_for_the_default():
    router = Router(FailingPerception(["small", "big"]), default="big")
    chain = TryageRouter(router, input_key="input").to_destination()
    given = {"input": "x", "history": ""}
    assert chain.invoke(given) == {"destination": None, "next_inputs": given}
