"""The part of the demo that shows models of today: no keys, no network, and sensible choices."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("langchain_core")

DEMO = Path(__file__).parents[1] / "examples" / "demo"
if not DEMO.is_dir():
    pytest.skip("the examples are not part of this copy", allow_module_level=True)


def load_module(name):
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMO / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def today():
    return load_module("today")


@pytest.fixture(scope="module")
def loaded(today):
    return today.load_chat()


def test_every_name_of_the_demo_has_a_price_and_needs_no_warning(today, caplog):
    chat, outcomes = today.load_chat()
    assert not caplog.records
    assert all(choice.cost is not None for choice in today.choose(chat))
    assert len(outcomes) > 10


def test_easy_prompts_do_not_go_to_the_dearest_model_and_cost_less_than_hard_ones(today, loaded):
    chat, _ = loaded
    plans = {prompt: chat.route(prompt) for prompt in today.TYPED_PROMPTS}
    for prompt in today.TYPED_PROMPTS[:3]:
        costs = {ranked.name: ranked.cost for ranked in plans[prompt].decision.ranking}
        assert plans[prompt].first != max(costs, key=costs.get)
    losses = [choice.loss for choice in today.choose(chat)]
    assert max(losses[:3]) < min(losses[3:])


def test_the_recorded_prompts_are_answered_for_less_than_by_the_dearest_model(today, loaded):
    chat, outcomes = loaded
    found = today.replay(chat, outcomes)
    assert found.n_prompts == len(outcomes)
    assert found.savings.answers >= len(outcomes)
    assert found.savings.unknown == 0
    assert found.savings.billed < found.savings.dearest
    assert min(found.scores.values()) <= found.routed <= 1


def test_the_recorded_outcomes_name_their_source_and_licence():
    content = json.loads((DEMO / "outcomes.json").read_text("utf-8"))
    assert "zoonk" in content["source"]
    assert "MIT" in content["source"]


def test_the_recorded_prompts_are_held_out_of_the_training_of_the_bundled_router():
    pytest.importorskip("pyarrow")
    record = load_module("record")
    content = json.loads((DEMO / "outcomes.json").read_text("utf-8"))
    assert all(record.is_held_out(row["prompt"]) for row in content["rows"])
