"""What OpenTelemetry shows of TryageSelector: the router's decision, for whoever asked for it."""

from __future__ import annotations

import asyncio

from llama_index.core.tools.types import ToolMetadata

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_llamaindex import TryageSelector

CHOICES = [ToolMetadata("about a", name="a"), ToolMetadata("about b", name="b")]


async def test_selections_of_many_tasks_belong_each_to_their_own_caller(telemetry):
    selector = TryageSelector(Router(FunctionPerception(("a", "b"), lambda _: [0.1, 0.5])))

    async def select(i):
        with telemetry.caller(f"caller {i}"):
            await selector.aselect(CHOICES, f"query {i}")

    await asyncio.gather(*(select(i) for i in range(3)))
    callers = {span.context.span_id for i in range(3) for span in telemetry.spans(f"caller {i}")}
    assert {span.parent.span_id for span in telemetry.spans("route tryage")} == callers
    assert len(callers) == 3
