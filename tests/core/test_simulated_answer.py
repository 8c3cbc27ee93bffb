"""What the answers of a simulation cost where several experts are asked."""

from __future__ import annotations

from tryage.core.simulated_answer import SimulatedAnswer


def answer(expert: str, **fields: float | None) -> SimulatedAnswer:
    return SimulatedAnswer(expert, **{"loss": 0.0, "cost": 1.0, **fields}, called=(expert,))


def test_an_answer_after_another_bills_both_and_keeps_its_own_loss() -> None:
    first, second = answer("small", loss=1.0, latency=0.5), answer("large", cost=3.0, latency=2.0)
    both = second.after(first, outcome="escalated")
    assert (both.expert, both.loss, both.cost, both.latency) == ("large", 0.0, 4.0, 2.5)
    assert both.called == ("small", "large")
    assert both.outcome == "escalated"


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    both = answer("large", latency=1.0).after(answer("small", cost=None))
    assert both.cost is None
    assert both.latency is None


def test_the_outcome_of_an_inner_policy_stays() -> None:
    hedged = answer("large").after(answer("small"), outcome="hedged")
    assert hedged.after(answer("tiny")).outcome == "hedged"
