"""Real agents of both frameworks with two hundred tools: the right ones are shown, few are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tryage.tools import Tool, ToolRanker

pytest.importorskip("langchain.agents")
pytest.importorskip("llama_index.core.llms.mock")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "tools"
ACTS = ("send", "delete", "translate", "print", "archive", "share", "sign", "summarise", "price")
ACTS += ("rate", "order", "cancel", "schedule", "encrypt", "export", "import", "draw", "record")
ACTS += ("repair", "rent")
THINGS = ("invoice", "photo", "ticket", "contract", "recipe", "song", "map", "letter", "car")
THINGS += ("receipt",)
TOOLS = [Tool(f"{act}_{thing}", f"{act} a {thing}") for act in ACTS for thing in THINGS]
ASKED = {
    "Please send the invoice of May to Ann": ["send_invoice"],
    "I would like to rent a car in Oslo": ["rent_car"],
    "Translate this recipe into French": ["translate_recipe"],
    "Cancel my ticket to Rome, and then print the receipt": ["cancel_ticket", "print_receipt"],
}


@pytest.fixture(scope="module")
def bundled():
    return ToolRanker.from_pretrained()


@pytest.fixture(params=["LangChain", "LlamaIndex"])
def run(request, monkeypatch):
    """Run an agent of a framework on everything that is asked; return its notes by query."""
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    monkeypatch.syspath_prepend(BENCHMARKS)
    from loops import LOOPS, Caller
    from models import Needing

    async def go(ranker, needed=ASKED):
        caller = Caller(Needing(needed), len, most=2)
        loop = LOOPS[request.param](TOOLS, caller, ranker)
        return {query: await loop(query) for query in needed}

    return go


async def test_every_tool_that_is_needed_is_called_and_a_tenth_is_read(run, bundled):
    assert len(TOOLS) == 200
    some, every = await run(bundled), await run(None)
    for query, needed in ASKED.items():
        assert sorted(some[query].called) == sorted(every[query].called) == sorted(needed)
        assert some[query].tokens < every[query].tokens / 10


async def test_a_model_that_is_not_shown_its_tool_fails(run, bundled):
    query = "Please send the invoice of May to Ann"
    notes = await run(bundled, {query: ["repair_song"]})
    assert notes[query].called == []
