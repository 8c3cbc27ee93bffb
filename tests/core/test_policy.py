"""What a policy may change of a decision, and what the decision says of it."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.policy import Policy, PolicyBatch, PolicyChoice, PolicyStage
from tryage.core.policy_change import CallPlan, PolicyChange
from tryage.core.simulated_answer import SimulatedAnswer
from tryage.errors import InputError
from tryage.testing import FixedPerception


def make_router(**settings) -> Router:
    experts = [
        Expert("small", input_price=1, output_price=1),
        Expert("large", input_price=10, output_price=10),
        Expert("broken", input_price=1, output_price=1),
    ]
    return Router(FixedPerception({"small": 0.5, "large": 0.1, "broken": 0.2}), experts, **settings)


class Cheapest(Policy):
    """Chooses the cheapest eligible expert, and remembers what it is told."""

    def __init__(self) -> None:
        self.recorded: list[str] = []
        self.settled: list[tuple[str, str | None, float | None]] = []

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        costs = np.where(batch.eligible, batch.counted_costs, np.inf)
        experts = costs.argmin(axis=1)
        return PolicyChoice(experts, ["it is the cheapest"] * len(experts))

    def record(self, decision) -> None:
        self.recorded.append(decision.id)

    def settle(self, decision_id, expert, *, cost=None, **_) -> None:
        self.settled.append((decision_id, expert, cost))


class Only(Policy):
    """Allows one expert."""

    def __init__(self, allowed: str) -> None:
        self.allowed = allowed

    def restrict(self, requests, _):
        change = PolicyChange(self.name, f"only {self.allowed}")
        return [one.restricted(Preferences(only=[self.allowed]), change) for one in requests]


def test_a_policy_changes_the_expert_and_the_decision_says_why() -> None:
    decision = make_router(preferences="best", policy=Cheapest()).route("a prompt")
    assert decision.expert.name == decision.ranking[0].name == "small"
    assert [ranked.name for ranked in decision.ranking[1:]] == ["large", "broken"]
    (change,) = decision.changes
    assert change == PolicyChange("Cheapest", "it is the cheapest", "large", "small")
    assert decision.to_dict()["changes"] == [change.to_dict()]


def test_a_router_without_a_policy_changes_nothing() -> None:
    assert make_router(preferences="best").route("a prompt").changes == ()


def test_a_restriction_holds_before_the_prediction_and_for_later_policies() -> None:
    decision = make_router(policy=Cheapest() | Only("large")).route("a prompt")
    assert decision.expert.name == "large"
    assert {rejected.name for rejected in decision.rejected} == {"small", "broken"}
    assert [change.policy for change in decision.changes] == ["Only", "Cheapest"]


def test_a_restriction_holds_although_flags_leave_no_expert() -> None:
    router = make_router(policy=Only("large"), prompt_flags=True)
    decision = router.route("a prompt [Flag: cost<=0]")
    assert decision.dropped_flags
    assert decision.expert.name == "large"


def test_the_second_policy_sees_what_the_first_has_chosen() -> None:
    class Note(Policy):
        seen: tuple[int, ...] = ()

        def choose(self, batch: PolicyBatch) -> None:
            self.seen = tuple(batch.choice)

    note = Note()
    make_router(preferences="best", policy=Cheapest() | note).route_batch(["a", "b"])
    assert note.seen == (0, 0)


def test_routing_records_a_decision_and_an_explanation_does_not() -> None:
    router = make_router(policy=Cheapest())
    router.decide_batch(["a prompt"])
    assert router.policy.recorded == []
    decision = router.route("a prompt")
    assert router.policy.recorded == [decision.id]
    router.settle(decision.id, "small", cost=0.01)
    assert router.policy.settled == [(decision.id, "small", 0.01)]


def test_a_policy_that_chooses_a_rejected_expert_is_an_error() -> None:
    class Careless(Policy):
        def choose(self, batch: PolicyBatch) -> PolicyChoice:
            return PolicyChoice(np.zeros(len(batch.choice), np.intp), ["always"])

    router = make_router(preferences=Preferences(only=["large"]), policy=Careless())
    with pytest.raises(InputError, match=r"Careless has chosen small .* not eligible"):
        router.route("a prompt")


def test_a_decision_for_the_default_stays() -> None:
    router = make_router(
        preferences=Preferences(max_cost=1e-9), default="large", default_exempt=True
    ).with_policy(Cheapest())
    decision = router.route("a prompt")
    assert decision.default_used
    assert decision.changes == ()


def test_a_subset_keeps_the_policy() -> None:
    router = make_router(policy=Cheapest())
    assert router.subset(["large", "broken"]).policy is router.policy


@pytest.mark.parametrize("policy", [Cheapest, "Budget", 3])
def test_what_is_no_policy_is_an_error(policy: object) -> None:
    with pytest.raises(InputError, match=r"expected a policy of tryage\.policies"):
        make_router(policy=policy)


class Staged(Policy):
    """A policy of a stage that says in simulations that it was there."""

    def __init__(self, stage: PolicyStage | None = None) -> None:
        self.stage = stage
        self.clock = None

    @property
    def name(self) -> str:
        return "any" if self.stage is None else self.stage.name

    def set_clock(self, clock) -> None:
        self.clock = clock

    def serve(self, _, expert, ask) -> SimulatedAnswer:
        answer = ask(expert + "+")
        return SimulatedAnswer(answer.expert, answer.loss, answer.cost, outcome=self.name)


def test_a_chain_in_another_order_than_that_of_the_stages_is_refused() -> None:
    cascade, choice = Staged(PolicyStage.CASCADE), Staged(PolicyStage.CHOICE)
    assert (choice | cascade).policies() == (choice, cascade)
    assert (cascade | Staged()).name == "CASCADE | any"
    with pytest.raises(InputError, match=r"order CASCADE \| CHOICE; expected CHOICE \| CASCADE:"):
        cascade | Staged() | choice


def test_policies_of_one_stage_stay_in_their_order() -> None:
    first, second = Staged(PolicyStage.CHOICE), Staged(PolicyStage.CHOICE)
    assert (second | first).policies() == (second, first)


def test_in_a_simulation_the_first_policy_asks_the_experts_as_the_later_ones_do() -> None:
    chain = Staged(PolicyStage.CACHE) | Staged(PolicyStage.HEDGE)
    decision = make_router().route("a prompt")
    answer = chain.serve(decision, "small", lambda name: SimulatedAnswer(name, 0.5, 1.0))
    assert answer == SimulatedAnswer("small++", 0.5, 1.0, outcome="CACHE")


def test_a_policy_that_does_not_serve_asks_the_expert() -> None:
    answer = SimulatedAnswer("small", 0.5, 1.0)
    assert Policy().serve(make_router().route("a prompt"), "small", lambda _: answer) is answer


def test_a_chain_sets_the_clock_of_all() -> None:
    chain = Staged() | Staged()
    chain.set_clock(float)
    assert [one.clock for one in chain.policies()] == [float, float]


def test_the_calls_of_an_expert_that_is_no_longer_chosen_are_dropped() -> None:
    class Steps(Policy):
        def choose(self, batch: PolicyBatch) -> PolicyChoice:
            plans = [CallPlan(steps=("large", "small"))] * len(batch.choice)
            return PolicyChoice(batch.choice, ["steps"] * len(batch.choice), plans)

    class Note(Policy):
        def choose(self, batch: PolicyBatch) -> PolicyChoice:
            return PolicyChoice(batch.choice, ["noted"] * len(batch.choice))

    router = make_router(preferences="best", policy=Steps() | Note())
    assert router.route("a prompt").calls == CallPlan(steps=("large", "small"))
    assert router.with_policy(Steps() | Cheapest()).route("a prompt").calls is None


def test_a_policy_that_draws_leaves_the_probabilities_and_what_it_would_choose_without() -> None:
    class Draw(Policy):
        def choose(self, batch: PolicyBatch) -> PolicyChoice:
            large = np.full(len(batch.ids), batch.library.index("large"))
            return PolicyChoice(large, ["drawn"], propensities=[{"small": 0.9, "large": 0.1}])

    router = make_router(preferences="thrifty", policy=Draw())
    decision = router.route("a prompt")
    assert (decision.expert.name, decision.propensity) == ("large", 0.1)
    assert decision.propensities == {"small": 0.9, "large": 0.1}
    assert decision.explored
    assert decision.frozen_choice == "small"
    (later,) = router.with_policy(Draw() | Cheapest()).route_batch(["a prompt"])
    assert (later.expert.name, later.propensity, later.propensities) == ("small", 1.0, {})


def test_a_policy_reads_the_ids_of_the_decisions() -> None:
    class Ids(Policy):
        seen: tuple[str, ...] = ()

        def choose(self, batch: PolicyBatch) -> None:
            self.seen = tuple(batch.ids)

    policy = Ids()
    decisions = make_router(policy=policy).route_batch(["a", "b"])
    assert policy.seen == tuple(one.id for one in decisions)
