"""Policies under TryageMiddleware: whose call it is they know in every kind of run."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent

from tryage.policies import Rule, Rules
from tryage.testing import FixedPolicy
from tryage_langchain import TryageMiddleware


class ContextPolicy(FixedPolicy):
    """Notes the keys and the tags of what is decided."""

    def __init__(self):
        super().__init__("small")
        self.contexts = []

    def choose(self, batch):
        self.contexts += [(r.context.keys, r.context.tags) for r in batch.requests]
        return super().choose(batch)


@pytest.mark.usefixtures("needs_run_config")
async def test_async_runs_at_the_same_time_keep_their_own_users_and_tags(
    router, models, agent_model, user_input
):
    policy = ContextPolicy()
    middleware = TryageMiddleware(models, router, policy=policy)
    agent = create_agent(agent_model, middleware=[middleware])
    runs = [
        agent.ainvoke(user_input(name), {"configurable": {"user_id": name}, "tags": [name]})
        for name in ("ann", "bob", "cy")
    ]
    await asyncio.gather(*runs)
    expected = [({"user_id": name}, (name,)) for name in ("ann", "bob", "cy")]
    assert sorted(policy.contexts, key=str) == expected


@pytest.mark.usefixtures("needs_run_config")
async def test_a_rule_by_tag_holds_in_an_async_agent(router, models, agent_model, user_input):
    rules = Rules([Rule(tag="contract", only="big")])
    middleware = TryageMiddleware(models, router, policy=rules)
    agent = create_agent(agent_model, middleware=[middleware])
    state = await agent.ainvoke(user_input("small one"), {"tags": ["contract"]})
    assert state["tryage"]["served_by"] == "big"
