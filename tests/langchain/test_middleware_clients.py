"""TryageMiddleware makes its models from strings where they do not halt the event loop."""

from __future__ import annotations

import threading

from langchain.agents import create_agent

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_langchain import TryageMiddleware


async def test_a_default_is_made_from_its_string_outside_of_the_event_loop(
    models, agent_model, user_input, monkeypatch
):
    threads = []

    def make(_):
        threads.append(threading.get_ident())
        return models["big"]

    def predict(prompt):
        if prompt == "no such thing":
            raise ValueError("bug")
        return [0.1, 0.2]

    monkeypatch.setattr("langchain.chat_models.init_chat_model", make)
    router = Router(FunctionPerception(("small", "big"), predict))
    sources = {"small": models["small"], "big": "acme:big"}
    agent = create_agent(agent_model, middleware=[TryageMiddleware(sources, router, default="big")])
    await agent.ainvoke(user_input("small talk"))  # the first one is routed in a thread
    state = await agent.ainvoke(user_input("no such thing"))
    assert state["tryage"]["served_by"] == "big"
    assert len(threads) == 1
    assert threads != [threading.get_ident()]
