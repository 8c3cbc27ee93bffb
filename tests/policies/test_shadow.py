"""A shadow decides beside the router that answers: a call never waits for it or fails with it."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
import time

import pytest

from tryage import Expert, Router
from tryage.core.exploration import Exploration
from tryage.core.request import ConversationContext
from tryage.errors import BudgetExceededError, InputError, NoExpertError
from tryage.policies import Budget, Shadow
from tryage.testing import FailingPerception, FixedPerception, FixedPolicy, FunctionPerception


@pytest.fixture
def shadow(good, cheap):
    return Shadow(cheap, beside=good, name="cheap")


def test_the_answering_router_decides_and_the_log_keeps_both_choices(shadow, read_log):
    decision = shadow.route("hello")
    assert decision.expert.name == "large"
    assert shadow.flush()
    record = read_log()[decision.id]
    assert (record.chosen, record.shadow_choices) == ("large", {"cheap": "small"})


def test_the_time_of_a_record_is_that_of_the_decision(shadow, read_log):
    before = time.time()
    decision = shadow.route("hello")
    after = time.time()
    shadow.flush()
    assert before <= read_log()[decision.id].time <= after


def test_the_shadow_obeys_the_requirements_of_the_call(shadow, read_log, only):
    (decision,) = shadow.route_batch(["hello"], [only("medium")])
    shadow.flush()
    assert read_log()[decision.id].shadow_choices == {"cheap": "medium"}


def test_a_call_does_not_wait_for_a_slow_shadow(good, read_log):
    may_go_on = threading.Event()

    def predict(_):
        may_go_on.wait(30)
        return [0.3, 0.2, 0.1]

    slow = Router(FunctionPerception(("large", "medium", "small"), predict))
    shadow = Shadow(slow, beside=good)
    decisions = [shadow.route(f"prompt {i}") for i in range(5)]  # would hang
    assert not shadow.flush(timeout=0.05)
    may_go_on.set()
    assert shadow.flush()
    assert [read_log()[one.id].shadow_choices for one in decisions] == [{"shadow": "small"}] * 5


def test_what_a_busy_shadow_cannot_take_is_logged_without_it(good, read_log):
    may_go_on = threading.Event()

    def predict(_):
        may_go_on.wait(30)
        return [0.3, 0.2, 0.1]

    slow = Router(FunctionPerception(("large", "medium", "small"), predict))
    shadow = Shadow(slow, beside=good, queue_size=3)
    decisions = [shadow.route(f"prompt {i}") for i in range(10)]
    may_go_on.set()
    shadow.flush()
    choices = [read_log()[one.id].shadow_choices for one in decisions]
    assert choices == [{"shadow": "small"}] * 3 + [{}] * 7
    assert shadow.missed == {"busy": 7}


@pytest.mark.parametrize("error", [None, ValueError("a bug"), MemoryError()])
def test_a_shadow_that_fails_harms_no_call_and_no_record(good, read_log, caplog, error):
    broken = Router(FailingPerception(("large", "medium", "small"), error))
    shadow = Shadow(broken, beside=good)
    with caplog.at_level(logging.WARNING):
        decisions = [shadow.route(f"prompt {i}") for i in range(3)]
        shadow.flush()
    assert [read_log()[one.id].shadow_choices for one in decisions] == [{}] * 3
    assert shadow.missed == {"failed": 3}
    warnings = [one for one in caplog.records if "shadow" in one.getMessage()]
    assert len(warnings) == 1
    assert "Answers are not affected" in warnings[0].getMessage()


def test_the_warning_about_a_shadow_has_no_word_of_a_prompt(good, caplog):
    error = ValueError("cannot read: my name is Quendolin")
    shadow = Shadow(Router(FailingPerception(("large", "medium", "small"), error)), beside=good)
    with caplog.at_level(logging.INFO):
        shadow.route("my name is Quendolin")
        shadow.flush()
    assert "ValueError" in caplog.text
    assert "Quendolin" not in caplog.text


def test_one_prompt_that_the_shadow_cannot_route_leaves_the_others(good, read_log):
    def predict(text):
        if text == "bad":
            raise RuntimeError("cannot")
        return [0.3, 0.2, 0.1]

    shadow = Shadow(Router(FunctionPerception(("large", "medium", "small"), predict)), beside=good)
    decisions = shadow.route_batch(["x", "bad", "y"])
    shadow.flush()
    choices = [read_log()[one.id].shadow_choices for one in decisions]
    assert choices == [{"shadow": "small"}, {}, {"shadow": "small"}]


def test_an_error_of_the_answering_router_is_raised_as_without_a_shadow(shadow, only):
    with pytest.raises(NoExpertError):
        shadow.route("hello", only("nobody"))


def test_a_shadow_never_explores(good, make_router, read_log):
    exploring = make_router(
        "small", exploration=Exploration(tolerance=1.0, budget=1.0, min_propensity=0.05)
    )
    shadow = Shadow(exploring, beside=good)
    decisions = shadow.route_batch(["x"] * 40)
    shadow.flush()
    assert {read_log()[one.id].shadow_choices["shadow"] for one in decisions} == {"small"}


def test_an_expert_that_a_conversation_stays_with_was_not_chosen_beside(shadow, read_log):
    (decision,) = shadow.decide_batch(["hello"])
    shadow.record(decision, chosen="medium")
    shadow.flush()
    record = read_log()[decision.id]
    assert (record.chosen, record.shadow_choices) == ("medium", {})


def test_a_record_under_another_id_has_the_choice_too(shadow, read_log):
    (decision,) = shadow.decide_batch(["hello"], contexts=[ConversationContext(tokens=50.0)])
    shadow.record(decision, decision_id="plan 1", prompt_tokens=50.0)
    shadow.flush()
    assert read_log()["plan 1"].shadow_choices == {"cheap": "small"}


def test_an_answer_without_a_decision_is_logged_as_without_a_shadow(shadow, read_log):
    shadow.record_kept("turn 1", "medium", keys={"thread_id": "t"})
    record = read_log()["turn 1"]
    assert (record.chosen, record.key, record.shadow_choices) == ("medium", "t", {})


def test_what_is_decided_and_never_recorded_is_forgotten(good, cheap):
    shadow = Shadow(cheap, beside=good, queue_size=5)
    for _ in range(20):
        shadow.decide_batch(["hello"])
    assert len(shadow._requests) <= 5


def test_the_policy_of_the_router_that_answers_is_told_of_decisions_without_a_log(make_router):
    policy = FixedPolicy("medium")
    good = make_router("large", logged=False, policy=policy)
    decision = Shadow(make_router("small", logged=False), beside=good).route("hello")
    assert policy.recorded == [decision.id]


def test_the_policy_of_the_router_that_answers_is_told_before_the_shadow_decides(make_router):
    may_go_on = threading.Event()

    def predict(_):
        may_go_on.wait(30)
        return [0.3, 0.2, 0.1]

    policy = FixedPolicy("medium")
    slow = Router(FunctionPerception(("large", "medium", "small"), predict))
    shadow = Shadow(slow, beside=make_router("large", policy=policy))
    decisions = [shadow.route("hello") for _ in range(3)]
    assert policy.recorded == [one.id for one in decisions]
    may_go_on.set()
    assert shadow.flush()
    assert policy.recorded == [one.id for one in decisions]  # once


def test_a_burst_of_calls_does_not_overrun_the_budget_beside_a_shadow(url):
    library = [Expert("large", output_price=1_000.0, input_price=0.0, output_tokens=1_000.0)]
    perception = FixedPerception({"large": 0.1})
    beside = Router(perception, library, traffic=url, policy=Budget(usd_per_day=2.5, hard=True))
    shadow = Shadow(Router(FixedPerception({"large": 0.1}), library), beside=beside)
    shadow.route("hello"), shadow.route("hello")
    with pytest.raises(BudgetExceededError):
        shadow.route("hello")


def test_without_a_log_nothing_is_kept_and_nothing_decides_beside(make_router):
    good, cheap = (make_router(name, logged=False) for name in ("large", "small"))
    shadow = Shadow(cheap, beside=good)
    assert shadow.route("hello").expert.name == "large"
    assert shadow.flush()
    assert cheap.perception.calls == []
    assert not shadow._requests


def test_two_shadows_can_decide_beside_one_router(good, cheap, make_router, read_log):
    first = Shadow(cheap, beside=good, name="cheap")
    both = Shadow(make_router("medium"), beside=first, name="middle")
    decision = both.route("hello")
    both.flush()
    first.flush()
    assert read_log()[decision.id].shadow_choices == {"middle": "medium", "cheap": "small"}


def test_a_copy_has_a_shadow_of_its_own(shadow, read_log):
    for other in (copy.copy(shadow), copy.deepcopy(shadow), pickle.loads(pickle.dumps(shadow))):  # noqa: S301 - our own
        decision = other.route("hello")
        other.flush()
        assert read_log()[decision.id].shadow_choices == {"cheap": "small"}


def test_a_child_process_decides_beside_too(shadow, finishes_in_child):
    shadow.route("hello")
    shadow.flush()

    def in_child():
        shadow.route("again")
        assert shadow.flush(5)

    assert finishes_in_child(in_child)


def test_feedback_reaches_the_log_of_the_answering_router(shadow, url):
    from tryage.traffic.traffic import open_traffic

    decision = shadow.route("hello")
    shadow.flush()
    assert shadow.feedback(decision.id, 0.5)
    (row,) = open_traffic(url).decisions()
    assert [one.score for one in row[2]] == [0.5]


@pytest.mark.parametrize("name", ["", None, 3, "the router that answers"])
def test_a_name_that_says_nothing_is_refused(good, cheap, name):
    with pytest.raises(InputError, match="name of a shadow"):
        Shadow(cheap, beside=good, name=name)


def test_something_else_than_routers_is_refused(good):
    with pytest.raises(InputError, match="expected a Router"):
        Shadow("router", beside=good)
    with pytest.raises(InputError, match="beside is a str"):
        Shadow(good, beside="router")
