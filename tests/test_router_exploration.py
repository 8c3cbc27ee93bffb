"""Router with exploration: what is drawn and logged, what is left out, and what it may cost."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Router
from tryage.core.exploration import Exploration
from tryage.core.request import ConversationContext
from tryage.testing import FixedPerception

LOSSES = {"small": 0.3, "large": 0.29}


def exploring(**settings):
    perception = FixedPerception(LOSSES, std=0.1)
    return Router(perception, list(LOSSES), exploration=Exploration(**settings))


def test_without_exploration_every_choice_is_certain():
    router = Router(FixedPerception(LOSSES, std=0.1), list(LOSSES))
    decisions = router.route_batch(["x"] * 50)
    assert {(one.expert.name, one.propensity) for one in decisions} == {("large", 1.0)}


def test_another_good_expert_is_drawn_as_often_as_its_propensity_says():
    decisions = exploring().route_batch(["x"] * 500)
    share = decisions[0].propensities["small"]
    assert share == pytest.approx(0.472, abs=0.003)  # Phi(-.01 / (.1 * sqrt(2)))
    drawn = np.mean([one.expert.name == "small" for one in decisions])
    assert drawn == pytest.approx(share, abs=0.12)
    assert all(one.explored == (one.expert.name == "small") for one in decisions)


def test_a_critical_request_gets_the_best_expert():
    contexts = [ConversationContext(10.0, tags=("critical",))] * 50
    decisions = exploring().route_batch(["x"] * 50, contexts=contexts)
    assert {one.expert.name for one in decisions} == {"large"}


def test_the_log_has_the_propensities_of_all_candidates(tmp_path):
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path}/log.db"
    perception = FixedPerception(LOSSES, std=0.1)
    router = Router(perception, list(LOSSES), traffic=url, exploration=Exploration())
    decisions = {one.id: one for one in router.route_batch(["x"] * 20)}
    router.traffic.flush(5)
    rows = list(router.traffic.decisions())
    assert len(rows) == 20
    for record, _, _ in rows:
        decision = decisions[record.id]
        assert record.chosen == decision.expert.name
        assert record.propensity == pytest.approx(decision.propensity)
        logged = dict(zip(record.candidates, record.propensities, strict=True))
        assert logged == pytest.approx(dict(decision.propensities))


def test_exploring_stays_within_its_budget_of_dollars():
    experts = [
        Expert("cheap", input_price=1.0, output_price=1.0, output_tokens=500),
        Expert("dear", input_price=1.5, output_price=1.5, output_tokens=500),
    ]
    perception = FixedPerception({"cheap": 0.30, "dear": 0.31}, std=0.1)
    router = Router(perception, experts, preferences="best", exploration=Exploration(budget=0.02))
    decisions = router.route_batch(["hello there"] * 1000)
    cost = {name: decisions[0].ranking.entry(name).cost for name in ("cheap", "dear")}
    extra = sum(cost[one.expert.name] - cost["cheap"] for one in decisions)
    assert 0.01 < extra / (1000 * cost["cheap"]) <= 0.02


def test_a_trained_router_explores_by_what_it_does_not_know_of_the_experts():
    everything = Router.from_pretrained(preferences="best", exploration=Exploration(budget=1.0))
    router = everything.subset(["gpt-5-mini", "claude-haiku-4-5", "gemini-2.5-flash"])
    decision = router.route("prove that there are infinitely many primes")
    assert decision.propensities
    perception = router.perception.innermost()
    columns = [perception.experts.index(one.name) for one in decision.ranking]
    std = perception.ability_std_at(decision.position[None])[0, columns]
    whole = np.array([one.std for one in decision.ranking])
    assert (std < whole).all()
    assert decision.explored or decision.expert.name == decision.ranking[0].name
