"""Runs of a policy over a stream: who is asked, what is billed, and what the policy is told."""

from __future__ import annotations

import numpy as np

from tryage import Expert, Preferences, Router
from tryage.core.policy import Policy, PolicyBatch, PolicyChoice
from tryage.errors import NoExpertError
from tryage.scoring.qtable import QTable
from tryage.simulation.run import REFUSED, SimulatedClock, measured_preferences, run_policy
from tryage.simulation.stream import stream_of_table
from tryage.testing import FixedPerception

NAN = float("nan")
STREAM = stream_of_table(
    QTable(
        ("p", "q", "r"),
        ("small", "large"),
        [[1.0, 0.0], [0.0, 0.0], [1.0, NAN]],
        costs=[[1.0, 10.0], [2.0, 20.0], [3.0, NAN]],
        latencies=[[0.5, 1.0]] * 3,
    )
)


def make_router(policy: Policy | None = None) -> Router:
    experts = [Expert("small"), Expert("large")]
    return Router(
        FixedPerception({"small": 0.5, "large": 0.1}), experts, preferences="best", policy=policy
    )


def run(policy: Policy | None = None, **options):
    router = make_router(policy)

    def decide(prompts, preferences, contexts):
        return router.decide_batch(prompts, preferences, contexts=contexts)

    return run_policy("a policy", decide, router.policy, STREAM, **options)


class Notes(Policy):
    """Remembers what it is told, in order, and the time at which it was asked."""

    def __init__(self) -> None:
        self.events: list[tuple] = []
        self.clock = None

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        self.events.append(("choose", len(batch.choice)))
        reason = "-1.5 of 3e-08 for gpt-5.4-nano-2, and 2%"
        return PolicyChoice(batch.choice, [reason] * len(batch.choice))

    def record(self, decision) -> None:
        self.events.append(("record", decision.prompt))

    def settle(self, _, expert, *, cost=None, latency=None) -> None:
        self.events.append(("settle", expert, cost, latency))


class Escalation(Policy):
    """Asks the small expert, then the chosen one."""

    def serve(self, _, expert, ask):
        return ask(expert).after(ask("small"), outcome="escalated")


class Refusal(Policy):
    """Refuses one prompt."""

    def choose(self, batch: PolicyBatch) -> None:
        if any(one.text == "q" for one in batch.requests):
            raise NoExpertError("2.50 USD are spent")


def test_only_measured_answers_are_asked_for():
    found = run()
    assert [found.names[i] for i in found.experts] == ["large", "large", "small"]
    assert found.scores.tolist() == [1.0, 1.0, 0.0]
    assert found.costs.tolist() == [10.0, 20.0, 3.0]
    assert found.spending.tolist() == [10.0, 30.0, 33.0]


def test_prompts_with_all_answers_measured_have_no_requirement_of_their_own():
    first, second, third = measured_preferences(STREAM)
    assert first is second is None
    assert third == Preferences(only=["small"])


def test_each_decision_is_recorded_and_settled_with_what_was_measured():
    notes = Notes()
    found = run(notes)
    assert notes.events[:3] == [("choose", 1), ("record", "p"), ("settle", "large", 10.0, 1.0)]
    assert found.reasons == {"Notes: # of # for gpt-5.4-nano-2, and #%": 3}


def test_the_requests_of_a_batch_are_decided_before_the_first_is_answered():
    notes = Notes()
    run(notes, batch_size=2)
    kinds = [event[0] for event in notes.events]
    first = ["choose", "record", "record", "settle", "settle"]
    assert kinds == [*first, "choose", "record", "settle"]


def test_an_answer_after_another_is_billed_with_it():
    found = run(Escalation())
    assert found.costs.tolist() == [11.0, 22.0, 6.0]
    assert found.outcomes == {"escalated": 3}
    assert found.latencies.tolist() == [1.5, 1.5, 1.0]


def test_a_refused_request_costs_nothing_and_has_no_score_and_the_others_go_on():
    found = run(Refusal(), batch_size=3)
    assert found.refused.tolist() == [False, True, False]
    assert found.experts[1] == REFUSED
    assert found.costs.tolist() == [10.0, 0.0, 3.0]
    assert np.isnan(found.scores[1])
    assert found.reasons == {"refused: # USD are spent": 1}


def test_the_clock_shows_the_time_of_the_request():
    clock, seen = SimulatedClock(), []

    class Watch(Policy):
        def choose(self, _) -> None:
            seen.append(clock())

    run(Watch(), clock=clock)
    assert seen == STREAM.times.tolist()
