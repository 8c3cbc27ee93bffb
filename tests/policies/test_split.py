"""Split traffic: sticky by key in every process, in the shares that were asked for."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest

from tryage import Router
from tryage.core.request import ConversationContext
from tryage.errors import FlagError, InputError, NoExpertError
from tryage.policies import Split
from tryage.testing import FixedPerception, FixedPolicy, LearningPerception

KEYS = [f"thread {i}" for i in range(10_000)]


def context(key, name="thread_id"):
    return ConversationContext(keys={name: key})


@pytest.fixture
def split(good, cheap):
    return Split({"a": good, "b": cheap}, {"a": 0.9, "b": 0.1})


def test_the_shares_are_kept(split):
    share = sum(split.arm_of(key) == "b" for key in KEYS) / len(KEYS)
    assert share == pytest.approx(0.1, abs=0.01)  # three standard errors


def test_all_requests_of_a_key_go_to_one_router(split):
    for key in KEYS[:20]:
        arms = {split.route("hello", context=context(key)).arm for _ in range(5)}
        assert arms == {split.arm_of(key)}


def test_another_process_with_another_hash_seed_divides_alike(split):
    code = (
        "from tryage import Router; from tryage.policies import Split;"
        "from tryage.testing import FixedPerception;"
        "r = Router(FixedPerception({'x': .1}));"
        "s = Split({'a': r, 'b': r}, {'a': .9, 'b': .1});"
        "print(''.join(s.arm_of(f'thread {i}') for i in range(50)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "".join(split.arm_of(key) for key in KEYS[:50])


def test_the_division_is_that_of_sha256_and_does_not_change_between_versions(split):
    found = [i for i in range(40) if split.arm_of(f"thread {i}") == "b"]
    assert found == EXPECTED_IN_B


EXPECTED_IN_B = [3, 4, 22, 38]


def test_a_larger_share_of_the_last_router_keeps_its_keys(good, cheap, split):
    larger = Split({"a": good, "b": cheap}, {"a": 8, "b": 2})
    before = {key for key in KEYS if split.arm_of(key) == "b"}
    after = {key for key in KEYS if larger.arm_of(key) == "b"}
    assert before < after


def test_another_salt_divides_independently(good, cheap, split):
    other = Split({"a": good, "b": cheap}, {"a": 0.9, "b": 0.1}, salt="second")
    in_both = sum(split.arm_of(key) == other.arm_of(key) == "b" for key in KEYS)
    assert in_both / len(KEYS) == pytest.approx(0.01, abs=0.004)


def test_another_key_can_decide(good, cheap):
    split = Split({"a": good, "b": cheap}, by="user_id")
    arms = {split.route("hello", context=context(f"thread {i}")).arm for i in range(30)}
    assert arms == {"a", "b"}  # no user is known, so it is chance
    assert len({split.route("hello", context=context("u1", "user_id")).arm for _ in range(20)}) == 1


def test_a_share_of_zero_gets_nothing_and_the_last_one_gets_the_rest(good, cheap):
    nothing = Split({"a": good, "b": cheap}, {"a": 1, "b": 0})
    assert {one.arm for one in nothing.route_batch(["x"] * 50)} == {"a"}
    all_to_b = Split({"a": good, "b": cheap}, {"a": 0, "b": 1})
    assert {one.arm for one in all_to_b.route_batch(["x"] * 50)} == {"b"}


def test_each_router_decides_about_its_requests_in_their_order(split):
    contexts = [context(key) for key in KEYS[:40]]
    decisions = split.route_batch([f"prompt {i}" for i in range(40)], contexts=contexts)
    assert [one.prompt for one in decisions] == [f"prompt {i}" for i in range(40)]
    for key, decision in zip(KEYS, decisions, strict=False):
        assert decision.expert.name == {"a": "large", "b": "small"}[split.arm_of(key)]


def test_one_encoder_pass_decides_all_requests_of_a_router():
    perceptions = [FixedPerception({"x": 0.1}), FixedPerception({"x": 0.1})]
    split = Split(dict(zip("ab", map(Router, perceptions), strict=True)))
    split.route_batch(["hello"] * 30)
    assert [len(one.calls) for one in perceptions] == [1, 1]


def test_preferences_of_each_prompt_go_with_it(split, only):
    preferences = [only(("medium", "small")[i % 2]) for i in range(20)]
    decisions = split.route_batch(["x"] * 20, preferences)
    assert [one.expert.name for one in decisions] == ["medium", "small"] * 10
    assert split.route("x", only("medium")).expert.name == "medium"


def test_wrong_calls_are_refused_as_a_router_refuses_them(split, only):
    with pytest.raises(InputError, match="3 preferences for 2 prompts"):
        split.route_batch(["x", "y"], [None] * 3)
    with pytest.raises(InputError, match="contexts"):
        split.route_batch(["x", "y"], contexts=[context("t")])
    with pytest.raises(InputError, match="string"):
        split.route(None)
    with pytest.raises(InputError):
        split.route_batch("one text")
    with pytest.raises(NoExpertError):
        split.route("x", only("nobody"))
    assert split.route_batch([]) == []


def test_the_log_has_the_router_and_the_key_of_each_decision(split, read_log):
    decisions = split.route_batch(["x"] * 30, contexts=[context(key) for key in KEYS[:30]])
    records = read_log()
    for key, decision in zip(KEYS, decisions, strict=False):
        record = records[decision.id]
        assert (record.arm, record.key) == (split.arm_of(key), key)
        assert record.router == split.routers[record.arm].log.fingerprint


def test_the_log_has_the_key_that_decides_as_the_key_of_the_decision(good, cheap, read_log):
    split = Split({"a": good, "b": cheap}, by="user_id")
    keys = {"thread_id": "t", "user_id": "u"}
    decision = split.route("x", context=ConversationContext(keys=keys))
    assert read_log()[decision.id].key == "u"


def test_an_answer_without_a_decision_belongs_to_the_router_of_its_key(split, read_log):
    split.record_kept("turn 1", "medium", keys={"thread_id": "thread 3"}, tags=("x",))
    split.record_kept("turn 2", "medium")
    first, second = read_log()["turn 1"], read_log()["turn 2"]
    assert (first.arm, first.key, first.chosen) == ("b", "thread 3", "medium")
    assert (second.arm, second.key) == (None, None)


def test_the_policy_of_a_router_is_told_of_the_answers_without_a_decision_of_its_keys(good, cheap):
    policies = {"a": FixedPolicy("large"), "b": FixedPolicy("small")}
    routers = {"a": good.with_policy(policies["a"]), "b": cheap.with_policy(policies["b"])}
    split = Split(routers, {"a": 0.9, "b": 0.1})
    keys = {"thread_id": "thread 3"}  # of the second router
    split.record_kept("turn 1", "medium", keys=keys)
    split.record_kept("turn 2", "medium")
    assert policies["b"].kept == [("turn 1", "medium", keys)]
    assert policies["a"].kept == [("turn 2", "medium", {})]


def test_an_answer_without_a_decision_has_the_key_and_arm_of_the_outer_split(good, cheap, read_log):
    inner = Split({"x": good, "y": cheap}, by="user_id")
    outer = Split({"a": inner, "b": cheap}, {"a": 1, "b": 0})
    outer.record_kept("turn 1", "medium", keys={"thread_id": "t", "user_id": "u"})
    record = read_log()["turn 1"]
    assert (record.arm, record.key) == ("a", "t")


def test_a_split_in_a_split_tells_the_policy_of_the_router_that_decided(make_router, read_log):
    policies = {name: FixedPolicy("medium") for name in "xyb"}
    x, y, b = (make_router("large", policy=policies[name]) for name in "xyb")
    outer = Split({"a": Split({"x": x, "y": y}, {"x": 0, "y": 1}), "b": b}, {"a": 1, "b": 0})
    decision = outer.route("hello")
    assert read_log()[decision.id].arm == "a"
    told = {name: policy.recorded for name, policy in policies.items()}
    assert told == {"x": [], "y": [decision.id], "b": []}


def test_a_split_in_a_split_learns_a_measured_loss_in_the_router_that_decided():
    routers = {name: Router(LearningPerception({"x": 0.4})) for name in "xyb"}
    inner = Split({"x": routers["x"], "y": routers["y"]}, {"x": 0, "y": 1})
    outer = Split({"a": inner, "b": routers["b"]}, {"a": 1, "b": 0})
    outer.observe(outer.route("hello"), 0.0)
    losses = [routers[name].route("hello").chosen.predicted_loss for name in "xyb"]
    assert losses == pytest.approx([0.4, 0.2, 0.4])


def test_feedback_about_any_arm_is_taken(split, read_log, url):
    from tryage.traffic.traffic import open_traffic

    decisions = split.route_batch(["x"] * 30)
    for decision in decisions:
        assert split.feedback(decision.id, True)
    rated = [given for _, _, given in open_traffic(url).decisions() if given]
    assert len(rated) == len(read_log()) == 30


def test_a_measured_loss_is_learned_by_the_router_that_chose():
    routers = {name: Router(LearningPerception({"x": 0.4})) for name in "ab"}
    split = Split(routers, {"a": 0, "b": 1})
    split.observe(split.route("hello"), 0.0)
    assert routers["a"].route("hello").chosen.predicted_loss == pytest.approx(0.4)
    assert routers["b"].route("hello").chosen.predicted_loss == pytest.approx(0.2)


def test_a_copy_divides_alike(split):
    for other in (copy.copy(split), copy.deepcopy(split), pickle.loads(pickle.dumps(split))):  # noqa: S301 - our own
        assert [other.arm_of(key) for key in KEYS[:50]] == [split.arm_of(key) for key in KEYS[:50]]
        assert other.route("hello", context=context("t")).arm == split.arm_of("t")


def test_a_key_of_any_text_has_a_router(split):
    for key in ("", "\ud800", "ключ", "x" * 100_000):
        assert split.arm_of(key) in ("a", "b")


@pytest.mark.parametrize(
    "shares",
    [
        {"a": 1},
        {"a": 1, "c": 1},
        {"a": -1, "b": 1},
        {"a": 0, "b": 0},
        {"a": "x", "b": 1},
        [0.5, 0.5],
        {"a": float("nan"), "b": 1},
    ],
)
def test_shares_that_fit_no_router_are_refused(good, cheap, shares):
    with pytest.raises(InputError):
        Split({"a": good, "b": cheap}, shares)


def test_one_router_or_a_key_without_a_name_is_refused(good, cheap):
    with pytest.raises(InputError, match="at least two routers"):
        Split({"a": good})
    with pytest.raises(InputError, match="name of a key"):
        Split({"a": good, "b": cheap}, by="")


def test_routers_with_and_without_a_log_are_refused(good, make_router):
    with pytest.raises(InputError, match=r"have no log: b\. Give all the same"):
        Split({"a": good, "b": make_router("small", logged=False)})


def test_a_malformed_flag_is_refused_by_a_strict_router(make_router):
    strict = make_router("large", strict=True, prompt_flags=True)
    with pytest.raises(FlagError):
        Split({"a": strict, "b": strict}).route("[Flag: no such thing] x")
