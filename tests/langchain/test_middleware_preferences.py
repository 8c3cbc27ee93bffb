"""What counts under TryageMiddleware: its own preferences, and those of a run."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent

from tryage import Expert, Preferences
from tryage.errors import InputError
from tryage_langchain import TryageMiddleware


@pytest.mark.usefixtures("needs_run_config")
@pytest.mark.parametrize("preferences", ["thrifty", Preferences.preset("thrifty")])
async def test_its_preferences_hold_unless_a_run_says_others(
    router, models, agent_model, user_input, preferences
):
    routing = TryageMiddleware(
        models,
        router,
        preferences=preferences,
        experts=[
            Expert("big", input_price=1, output_price=1_000),
            Expert("small", input_price=1, output_price=1),
        ],
    )
    agent = create_agent(agent_model, middleware=[routing])
    assert agent.invoke(user_input("big question"))["tryage"]["model"] == "small"
    config = {"configurable": {"tryage_preferences": "best"}}
    assert (await agent.ainvoke(user_input("big question"), config))["tryage"]["model"] == "big"


def test_unknown_preferences_are_refused_when_it_is_made(router, models):
    with pytest.raises(InputError, match="'thrify' is not a preset"):
        TryageMiddleware(models, router, preferences="thrify")
