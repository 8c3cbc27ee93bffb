"""Agents of both frameworks with 200 tools call the right ones, and read a tenth of the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tryage.tools import Tool

pytest.importorskip("langchain.agents")
pytest.importorskip("llama_index.core.llms.mock")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "tools"
# fmt: off
VERBS = (
    "send", "delete", "translate", "print", "archive", "share", "sign", "summarise", "price",
    "rate", "order", "cancel", "schedule", "encrypt", "export", "import", "draw", "record",
    "repair", "rent",
)
NOUNS = (
    "invoice", "photo", "ticket", "contract", "recipe", "song", "map", "letter", "car", "receipt",
)
# fmt: on
TOOLS = [Tool(f"{verb}_{noun}", f"{verb} a {noun}") for verb in VERBS for noun in NOUNS]
NEEDED = {
    "Please send the invoice of May to Ann": ["send_invoice"],
    "I would like to rent a car in Oslo": ["rent_car"],
    "Translate this recipe into French": ["translate_recipe"],
    "Cancel my ticket to Rome, and then print the receipt": ["cancel_ticket", "print_receipt"],
}


@pytest.fixture(params=["LangChain", "LlamaIndex"])
def run(request, monkeypatch):
    """Run an agent of a framework on every query; return what it called and read, by query."""
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    monkeypatch.syspath_prepend(BENCHMARKS)
    from loops import LOOPS, Caller
    from models import OracleModel

    async def run_all(ranker, needed=NEEDED):
        caller = Caller(OracleModel(needed), len, max_calls=2)
        loop = LOOPS[request.param](TOOLS, caller, ranker)
        return {query: await loop(query) for query in needed}

    return run_all


async def test_every_needed_tool_is_called_and_less_than_a_tenth_is_read(run, bundled):
    assert len(TOOLS) == 200
    few, all_tools = await run(bundled), await run(None)
    for query, needed in NEEDED.items():
        assert sorted(few[query].called) == sorted(all_tools[query].called) == sorted(needed)
        assert few[query].tokens < all_tools[query].tokens / 10


async def test_a_model_that_does_not_see_its_tool_calls_none(run, bundled):
    query = "Please send the invoice of May to Ann"
    notes = await run(bundled, {query: ["repair_song"]})
    assert notes[query].called == []
