"""Budget: what it keeps, whose purse it is, what ends it, and what it says."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
from contextlib import suppress
from datetime import datetime, timezone

import pytest

from tryage import Expert, Preferences, Router
from tryage.core.request import ConversationContext
from tryage.errors import BudgetExceededError, InputError, LibraryError, TrafficError
from tryage.policies import Budget, Guarantee, QualityGap, Threshold
from tryage.policies.budget import _answer_value
from tryage.policies.pacing import PRICES
from tryage.testing import FixedPerception

NOON = datetime(2026, 11, 29, 12, tzinfo=timezone.utc).timestamp()
DAY = 86_400
EXPERTS = [
    Expert("free", input_price=0, output_price=0),
    Expert("small", input_price=0, output_price=10, output_tokens=1_000),  # .01 USD
    Expert("large", input_price=0, output_price=100, output_tokens=1_000),  # .1 USD
    Expert("unknown"),
]
LOSSES = {"free": 0.9, "small": 0.5, "large": 0.1, "unknown": 0.95}


def of(**keys):
    return ConversationContext(keys=keys)


@pytest.fixture
def clock():
    """A clock that a test may set."""

    class Clock:
        now = NOON

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def make_router(clock):
    """Make a router with a budget at noon, for some of the experts."""

    def make(names=("small", "large"), traffic=None, losses=LOSSES, **settings):
        experts = [one for one in EXPERTS if one.name in names]
        budget = Budget(**settings)
        budget.set_clock(clock)
        perception = FixedPerception({name: losses[name] for name in names})
        return Router(perception, experts, preferences="best", policy=budget, traffic=traffic)

    return make


def serve(router, n, ratio=1.0, context=None):
    """Route n requests and bill each; return the names of the experts."""
    names = []
    for _ in range(n):
        decision = router.route("a prompt", context=context)
        names.append(decision.expert.name)
        router.settle(decision.id, names[-1], cost=(decision.chosen.cost or 0.0) * ratio)
    return names


# What is kept


def test_an_average_is_kept(make_router):
    router = make_router(usd_per_request=0.03)
    names = serve(router, 500)
    assert 0.01 * names.count("small") + 0.1 * names.count("large") == pytest.approx(15, rel=0.02)


def test_an_average_is_kept_although_bills_are_twice_as_high(make_router):
    router = make_router(usd_per_request=0.05)
    serve(router, 200)
    names = serve(router, 600, ratio=2.0)
    assert 0.02 * names.count("small") + 0.2 * names.count("large") == pytest.approx(30, rel=0.03)


def test_a_purse_lasts_for_the_requests_of_its_period(make_router, clock):
    router = make_router(usd_per_day=10, requests=400)
    serve(router, 400)
    assert router.policy.status().spent == pytest.approx(10, rel=0.02)
    clock.now += DAY
    assert router.policy.status().spent == 0


def test_as_many_requests_are_expected_as_in_the_period_before(make_router, clock):
    router = make_router(usd_per_day=10)
    serve(router, 400)
    clock.now += DAY
    serve(router, 400)
    assert router.policy.status().spent == pytest.approx(10, rel=0.02)


def test_a_limit_that_is_not_reached_changes_nothing(make_router):
    router = make_router(usd_per_month=500, requests=100)
    assert set(serve(router, 100)) == {"large"}
    assert router.route("a prompt").changes == ()


def test_a_soft_purse_that_is_spent_leaves_the_cheapest_expert(make_router):
    router = make_router(usd_per_day=0.05, requests=100)
    assert set(serve(router, 20)[5:]) == {"small"}


def test_an_unknown_price_is_not_free(make_router):
    losses = LOSSES | {"unknown": 0.05}
    router = make_router(("small", "unknown"), losses=losses, usd_per_request=0.02)
    names = [router.route("a prompt").expert.name for _ in range(200)]
    assert names.count("unknown") < 100
    assert router.policy.status().spent == pytest.approx(4, rel=0.02)


def test_a_budget_makes_no_request_dearer(make_router):
    losses = LOSSES | {"small": 0.05}
    router = make_router(usd_per_request=1.0, losses=losses)
    assert set(serve(router, 10)) == {"small"}


def test_one_batch_is_planned_as_a_whole(make_router):
    router = make_router(usd_per_day=10, requests=400)
    decisions = router.route_batch(["a prompt"] * 400)
    assert sum(one.chosen.cost for one in decisions) == pytest.approx(10, rel=0.02)


def test_an_explanation_spends_nothing(make_router):
    router = make_router(usd_per_day=10)
    router.decide_batch(["a prompt"] * 5)
    assert router.policy.status().requests == 0


def test_calibration_tells_the_price_before_the_first_request(make_router):
    router = make_router(usd_per_day=1, requests=100)
    router.policy.calibrate(router, ["a prompt", "another"])
    assert serve(router, 1) == ["small"]


def test_calibration_without_a_prompt_is_an_error(make_router):
    router = make_router(usd_per_day=1)
    with pytest.raises(InputError, match="at least one prompt"):
        router.policy.calibrate(router, [])


# What counts


def test_what_is_not_billed_counts_as_expected(make_router):
    router = make_router(usd_per_day=10)
    first, second = router.route("a prompt"), router.route("a prompt")
    router.settle(first.id, first.expert.name, cost=0.3)
    router.settle(second.id, second.expert.name, cost=None)
    status = router.policy.status()
    assert status.spent == pytest.approx(0.3 + second.chosen.cost * 1.04, rel=0.05)
    assert status.reserved == pytest.approx(status.spent - 0.3)


def test_a_call_that_needed_no_decision_is_billed(make_router):
    router = make_router(usd_per_day=10)
    router.record_kept("turn-2", "large", keys={})
    router.settle("turn-2", "large", cost=0.25)
    assert router.policy.status().spent == 0.25


def test_a_bill_that_is_no_number_is_an_error(make_router):
    router = make_router(usd_per_day=10)
    with pytest.raises(InputError, match="cost"):
        router.settle("d", "large", cost=float("nan"))


# Whose purse it is


@pytest.mark.parametrize("name", ["nul\0", "half \ud800 of a pair", "x" * 3_000])
def test_a_user_of_any_name_has_a_purse_in_the_log(make_router, tmp_path, name):
    url = f"sqlite:///{tmp_path}/log.db"
    router = make_router(usd_per_day=1, by="user", hard=True, traffic=url)
    for user in (name, "ann"):
        router.route("hello", context=of(user=user))
    assert router.policy.status(name).requests == 1
    assert router.policy.status("ann").requests == 1
    assert router.policy.status("bob").requests == 0


@pytest.mark.parametrize("key", ["user", "user_id"])
def test_each_user_has_a_purse(make_router, key):
    router = make_router(usd_per_day=1, by="user", hard=True)
    with pytest.raises(BudgetExceededError):
        serve(router, 200, context=of(**{key: "ann"}))
    assert serve(router, 1, context=of(**{key: "bob"}))
    status = router.policy.status("ann")
    assert 1 - 0.01 < status.spent <= 1
    assert router.policy.status("bob").requests == 1


def test_requests_without_the_key_share_a_purse(make_router):
    router = make_router(usd_per_day=10, by="user")
    serve(router, 3, context=of(thread_id="t1"))
    assert router.policy.status().requests == 3


# What ends a hard purse


def test_a_spent_hard_purse_says_when_it_resets(make_router):
    router = make_router(usd_per_day=0.05, by="user", hard=True)
    with pytest.raises(BudgetExceededError, match=r"of today's 0.05 USD.*2026-11-30") as caught:
        serve(router, 10, context=of(user="ann"))
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (error.key, error.limit, error.budget) == ("ann", 0.05, "day by user")
    assert error.resets == datetime(2026, 11, 30, tzinfo=timezone.utc)
    assert error.spent == pytest.approx(0.05, abs=0.01)
    assert "in flight" not in str(error)


def test_a_hard_purse_never_pays_more_than_it_has(make_router):
    router = make_router(usd_per_day=1, hard=True)
    with pytest.raises(BudgetExceededError):
        router.route_batch(["a prompt"] * 500)
    with pytest.raises(BudgetExceededError):
        serve(router, 500)
    assert router.policy.status().spent <= 1


def test_a_free_expert_answers_when_a_hard_purse_is_spent(make_router):
    router = make_router(("free", "small"), usd_per_day=0.05, hard=True, requests=1)
    assert serve(router, 10)[-1] == "free"


def test_the_fallback_answers_when_a_hard_purse_is_spent(make_router):
    router = make_router(usd_per_day=0.05, hard=True, fallback="small")
    assert serve(router, 20) == ["small"] * 20
    change = router.route("a prompt").changes[0]
    assert change.reason.endswith("the rest pays no other expert")


def test_the_next_day_has_a_new_purse(make_router, clock):
    router = make_router(usd_per_day=0.05, hard=True)
    with pytest.raises(BudgetExceededError):
        serve(router, 10)
    clock.now += DAY
    assert serve(router, 1) == ["small"]


# What it says


def test_a_price_at_which_only_dollars_count_is_said_in_words():
    assert _answer_value(1.0, PRICES[-1]) == "the rest pays the cheapest expert alone"
    assert _answer_value(None, 2.0) == "a right answer is worth 0.5 USD"
    assert _answer_value(1.0, 3.0) == "a right answer is worth 0.25 USD"


def test_a_change_says_what_is_spent_and_what_an_answer_is_worth(make_router):
    router = make_router(usd_per_day=1, requests=50)
    serve(router, 20)
    decision = router.route("a secret prompt")
    (change,) = decision.changes
    assert (change.policy, change.before, change.after) == ("Budget", "large", "small")
    assert "% of today's 1 USD are spent: a right answer is worth 0." in change.reason
    assert "secret" not in change.reason


def test_a_label_names_the_budget(make_router):
    router = make_router(usd_per_request=0.02, label="team budget")
    serve(router, 20)
    assert {c.policy for c in router.route("a prompt").changes} <= {"team budget"}
    assert repr(router.policy) == "Budget(usd_per_request=0.02)"


# Logs, copies and chains


def test_a_restart_changes_nothing(make_router, url):
    router = make_router(usd_per_day=10, traffic=url)
    serve(router, 20)
    assert router.traffic.flush()
    router.traffic.close()
    again = make_router(usd_per_day=10, traffic=url)
    assert again.policy.status().spent == router_spent(20)


def router_spent(n):
    return pytest.approx(0.1 * n)


def test_another_limit_is_the_same_budget(make_router, url):
    serve(make_router(usd_per_day=10, traffic=url), 5)
    assert make_router(usd_per_day=20, traffic=url).policy.status().requests == 5


def test_a_soft_budget_decides_while_the_log_is_away(make_router, url, monkeypatch):
    router = make_router(usd_per_day=10, traffic=url)
    fail_store(router, monkeypatch)
    assert serve(router, 3) == ["large"] * 3


def test_a_hard_purse_does_not_decide_without_the_log(make_router, url, monkeypatch):
    router = make_router(usd_per_day=10, hard=True, traffic=url)
    fail_store(router, monkeypatch)
    with pytest.raises(TrafficError):
        router.route("a prompt")


def fail_store(router, monkeypatch):
    def fail(*_):
        raise TrafficError("away")

    monkeypatch.setattr(router.traffic.spending._store, "apply", fail)


def test_a_router_of_some_experts_spends_from_the_same_budget(make_router):
    router = make_router(usd_per_day=10)
    serve(router.subset(["small"]), 5)
    assert router.policy.status().requests == 5


def pickled(budget):
    return pickle.loads(pickle.dumps(budget))  # noqa: S301 - our own


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_deep_copy_and_a_pickle_start_anew_with_the_calibration(copied):
    budget = Budget(usd_per_day=1, requests=100)
    experts = EXPERTS[1:3]
    router = Router(FixedPerception({"small": 0.5, "large": 0.1}), experts, preferences="best")
    budget.calibrate(router, ["a prompt"])
    with_budget = router.with_policy(budget)
    serve(with_budget, 3)
    other = copied(budget)
    assert other.status().requests == 0
    assert other.status().price == pytest.approx(Budget.status(budget).price, rel=0.2)


def test_of_two_budgets_the_tighter_one_counts(make_router):
    router = make_router(usd_per_day=1000)
    both = router.policy | Budget(usd_per_request=0.02)
    names = serve(router.with_policy(both), 200)
    assert 0.01 * names.count("small") + 0.1 * names.count("large") == pytest.approx(4, rel=0.03)


def test_a_fallback_that_nobody_knows_is_an_error(make_router):
    with pytest.raises(LibraryError):
        make_router(usd_per_day=1, hard=True, fallback="nobody")


@pytest.mark.parametrize(
    "other",
    [
        Threshold("large", "small", share=0.5),
        QualityGap(0.0),
        Guarantee("large"),
    ],
)
def test_no_policy_that_chooses_may_spend_more_than_the_budget(make_router, clock, other):
    with pytest.raises(InputError, match=rf"expected {other.name} \| Budget"):
        Budget(usd_per_day=1) | other
    router = make_router(usd_per_day=1)
    budget = Budget(usd_per_day=1, hard=True)
    budget.set_clock(clock)
    router = router.with_policy(other | budget)
    with suppress(BudgetExceededError):  # a spent budget ends calls
        serve(router, 50)
    assert router.policy.policies()[1].status().spent <= 1 + 1e-9


def test_what_bills_leave_of_a_reserve_is_never_below_zero(make_router):
    router = make_router(usd_per_day=100)
    first = router.route("a prompt")
    second = router.route("a prompt", Preferences(only=["small"]))
    for one in (first, second):
        router.settle(one.id, one.expert.name, cost=one.chosen.cost)
    assert router.policy.status().reserved >= 0


def test_decisions_that_are_never_acted_on_take_little_memory(make_router):
    router = make_router(usd_per_day=1.0)
    router.route("Hello")
    tracemalloc.start()
    router.decide_batch([f"Hello {i}" for i in range(500)])
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 1_500_000  # with the costs at all prices as tuples it is 2 MB


def test_a_fallback_that_may_not_answer_is_named_in_the_error(make_router):
    router = make_router(usd_per_day=0, hard=True, fallback="small")
    with pytest.raises(BudgetExceededError, match="which the fallback small does not meet"):
        router.route("a prompt", Preferences(ban=["small"]))
