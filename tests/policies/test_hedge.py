"""When a second expert is asked, too, and how often that may happen."""

from __future__ import annotations

import copy
import pickle
import time

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.exploration import Exploration
from tryage.core.policy import Policy, PolicyChoice
from tryage.core.simulated_answer import SimulatedAnswer
from tryage.errors import InputError
from tryage.policies import Hedge
from tryage.policies.hedge import HedgeAllowance, Latencies, first_answer
from tryage.testing import FixedPerception

EXPERTS = [Expert(name, input_price=1, output_price=1) for name in ("small", "medium", "large")]
LOSSES = {"small": 0.5, "medium": 0.2, "large": 0.1}


def make_router(policy: Policy, **settings) -> Router:
    return Router(FixedPerception(LOSSES), EXPERTS, preferences="best", policy=policy, **settings)


def test_the_second_best_is_asked_too_after_the_given_seconds() -> None:
    decision = make_router(Hedge(seconds=2.0)).route("a prompt")
    assert (decision.calls.hedge.expert, decision.calls.hedge.seconds) == ("medium", 2.0)
    assert decision.changes == ()  # nothing has happened yet
    assert decision.expert.name == "large"


def test_an_expert_that_is_not_allowed_is_not_asked_too() -> None:
    router = make_router(Hedge(seconds=2.0))
    decision = router.route("a prompt", Preferences(only=["large", "small"]))
    assert decision.calls.hedge.expert == "small"
    alone = router.route("a prompt", Preferences(only=["large"]))
    assert alone.calls.hedge.expert is None


class Medium(Policy):
    """Chooses the second expert."""

    def choose(self, batch):
        return PolicyChoice(np.ones_like(batch.choice), ["because"] * len(batch.choice))


def test_the_second_best_beside_what_a_policy_has_chosen_is_asked() -> None:
    decision = make_router(Medium() | Hedge(seconds=2.0)).route("a prompt")
    assert (decision.expert.name, decision.calls.hedge.expert) == ("medium", "large")


def test_late_is_what_takes_longer_than_the_quantile_of_the_last_answers() -> None:
    hedge = Hedge(quantile=0.9)
    for seconds in range(1, 20):
        hedge.note_latency("large", seconds)
    assert hedge.delay("large") is None  # too few answers
    hedge.note_latency("large", 20.0)
    assert hedge.delay("large") == pytest.approx(np.quantile(np.arange(1, 21), 0.9))
    assert hedge.delay("small") is None


def test_old_latencies_are_forgotten() -> None:
    latencies = Latencies()
    for seconds in [100.0] * 500 + [1.0] * 500:
        latencies.add(seconds)
    assert latencies.quantile(0.99) == 1.0


def test_the_share_of_hedges_holds_in_every_window_of_calls() -> None:
    allowance, taken = HedgeAllowance(0.05), []
    for call in range(10_000):
        allowance.earn()
        if call > 2_000:  # an outage: every call wants a hedge
            taken.append(allowance.take())
    assert sum(taken) <= 0.05 * 8_000 + 50
    assert sum(taken[-1_000:]) == pytest.approx(50, abs=1)


def test_no_hedge_is_allowed_with_a_share_of_zero() -> None:
    assert not Hedge(max_share=0.0).may_ask()


def test_hedges_are_earned_by_calls() -> None:
    hedge = Hedge(seconds=1.0, max_share=0.5)
    router = make_router(hedge)
    assert [hedge.may_ask() for _ in range(2)] == [True, False]
    for _ in range(2):
        router.route("a prompt")
    assert [hedge.may_ask() for _ in range(2)] == [True, False]


def test_the_latencies_of_the_last_day_are_read_from_the_log(tmp_path) -> None:
    pytest.importorskip("sqlalchemy")
    from tryage.traffic.records import Outcome

    url = f"sqlite:///{tmp_path}/traffic.db"
    first = make_router(Hedge(), traffic=url)
    for i in range(30):
        decision = first.route(f"prompt {i}")
        outcome = Outcome(decision_id=decision.id, time=0.0, served_by="large", latency=1.0 + i)
        first.log.record_outcome(outcome)
        cached = first.route(f"prompt {i}")  # an answer of a cache has no tokens
        first.log.record_outcome(
            Outcome(cached.id, 0.0, served_by="large", latency=0.0, output_tokens=0)
        )
    hedge = make_router(Hedge(quantile=0.5), traffic=url).policy
    assert hedge.delay("large") == pytest.approx(15.5)


def test_of_a_long_log_the_last_latencies_are_read(tmp_path, monkeypatch) -> None:
    pytest.importorskip("sqlalchemy")
    from tryage.traffic.records import Outcome

    monkeypatch.setattr("tryage.policies.hedge._LOG_ANSWERS", 20)
    url = f"sqlite:///{tmp_path}/traffic.db"
    first = make_router(Hedge(), traffic=url)
    for i in range(50):  # the model has become slow
        (decision,) = first.decide_batch([f"prompt {i}"])
        first.record(decision, time=time.time() - 50 + i)
        outcome = Outcome(decision.id, 0.0, served_by="large", latency=1.0 if i < 30 else 9.0)
        first.log.record_outcome(outcome)
    assert make_router(Hedge(), traffic=url).policy.delay("large") == pytest.approx(9.0)


def test_exploration_still_draws_experts_and_its_draws_are_not_hedged() -> None:
    router = make_router(Hedge(seconds=1.0), exploration=Exploration(0.5))
    decisions = [router.route(f"prompt {i}") for i in range(60)]
    explored = [one for one in decisions if one.explored]
    assert explored
    assert all(one.calls is None for one in explored)
    assert all(one.calls.hedge for one in decisions if not one.explored)


def answer(expert, latency, cost=1.0):
    return SimulatedAnswer(expert, 0.0, cost, latency, called=(expert,))


def test_in_a_simulation_the_first_answer_wins_and_both_are_billed() -> None:
    late, quick = answer("large", 9.0, 3.0), answer("medium", 1.0, 2.0)
    won = first_answer(late, quick, 2.0)
    assert (won.expert, won.latency, won.cost, won.outcome) == ("medium", 3.0, 5.0, "hedged")
    lost = first_answer(answer("large", 2.5), quick, 2.0)
    assert (lost.expert, lost.latency, lost.called) == ("large", 2.5, ("large", "medium"))


def test_a_simulated_answer_in_time_is_not_hedged() -> None:
    hedge = Hedge(seconds=2.0)
    decision = make_router(hedge).route("a prompt")
    asked = []

    def ask(name):
        asked.append(name)
        return answer(name, 1.0)

    assert hedge.serve(decision, "large", ask).outcome is None
    assert asked == ["large"]


def test_a_copy_or_pickle_has_the_settings_and_no_latencies() -> None:
    hedge = Hedge(0.9, max_share=0.2)
    for _ in range(30):
        hedge.note_latency("large", 1.0)
    for other in (pickle.loads(pickle.dumps(hedge)), copy.deepcopy(hedge)):  # noqa: S301 - our own pickle
        assert (other.quantile, other.max_share, other.delay("large")) == (0.9, 0.2, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantile": 1.5}, "quantile"),
        ({"quantile": "95%"}, "quantile"),
        ({"seconds": 0}, "seconds"),
        ({"max_share": -1}, "max_share"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        Hedge(**settings)
