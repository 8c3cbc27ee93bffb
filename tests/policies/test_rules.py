"""Rules that pin and ban experts before the prediction."""

from __future__ import annotations

import copy
import datetime
import pickle

import pytest

from tryage import Expert, Preferences, Router
from tryage.core.policy import Policy, PolicyChoice
from tryage.core.request import ConversationContext
from tryage.errors import InputError, NoExpertError
from tryage.policies import Rule, Rules
from tryage.testing import FixedPerception

LOSSES = {"large": 0.1, "medium": 0.2, "small": 0.3}
NIGHT = ConversationContext(tags=("night",))


def make_router(*rules: Rule, **settings) -> Router:
    experts = [Expert(name, license="mit" if name == "small" else None) for name in LOSSES]
    return Router(FixedPerception(LOSSES), experts, policy=Rules(rules), **settings)


def test_a_rule_holds_where_its_conditions_do_and_the_decision_says_so() -> None:
    router = make_router(Rule(name="nights are cheap", tag="night", only="small"))
    assert router.route("a prompt").expert.name == "large"
    decision = router.route("a prompt", context=NIGHT)
    assert decision.expert.name == "small"
    (change,) = decision.changes
    assert (change.policy, change.reason) == ("Rules", "nights are cheap: only small")


def test_all_conditions_of_a_rule_must_hold() -> None:
    rule = Rule(tag="night", min_tokens=100, ban="large")
    router = make_router(rule)
    assert router.route("a prompt", context=NIGHT).expert.name == "large"
    assert router.route("a prompt " * 200, context=NIGHT).expert.name == "medium"


def test_all_rules_that_apply_hold_together_and_are_named_by_their_numbers() -> None:
    router = make_router(Rule(ban="large"), Rule(tag="day", ban="medium"), Rule(ban="medium"))
    decision = router.route("a prompt")
    assert decision.expert.name == "small"
    assert [change.reason for change in decision.changes] == [
        "rule 1: not large",
        "rule 3: not medium",
    ]


def test_a_function_may_say_where_a_rule_applies() -> None:
    router = make_router(Rule(when=lambda request: "secret" in request.text, only="small"))
    names = [one.expert.name for one in router.route_batch(["a secret", "a prompt"])]
    assert names == ["small", "large"]


def test_neither_a_flag_nor_a_call_can_loosen_a_rule() -> None:
    router = make_router(Rule(ban="large"), prompt_flags=True)
    decision = router.route("a prompt [Flag: model=large]")
    assert decision.expert.name == "medium"
    assert decision.dropped_flags == ("model=large",)
    with pytest.raises(NoExpertError, match="name not in large"):
        router.route("a prompt", Preferences(only=["large"]))


def test_a_later_policy_cannot_choose_a_banned_expert() -> None:
    class Always(Policy):
        def choose(self, batch) -> PolicyChoice:
            return PolicyChoice(batch.choice * 0, ["always"] * len(batch.choice))

    router = make_router(Rule(ban="large"))
    router = router.with_policy(router.policy | Always())
    with pytest.raises(InputError, match="has chosen large"):
        router.route("a prompt")


def test_where_rules_leave_no_expert_the_default_answers_if_it_meets_them() -> None:
    rules = Rule(tag="night", only="small"), Rule(tag="night", ban="small")
    with pytest.raises(NoExpertError, match="Required by Rules: rule 1: only small") as caught:
        make_router(*rules, default="large").route("a prompt", context=NIGHT)
    assert "Required by Rules: rule 2: not small." in str(caught.value)
    router = make_router(*rules, default="large", default_exempt=True)
    decision = router.route("a prompt", context=NIGHT)
    assert decision.default_used
    assert len(decision.changes) == 2


def test_time_is_read_from_the_clock_that_is_set() -> None:
    router = make_router(Rule(weekday=["sat", "sun"], only="small"))
    names = []
    for day in (27, 28):
        noon = datetime.datetime(2026, 11, day, 12, tzinfo=datetime.timezone.utc)
        router.policy.set_clock(noon.timestamp)
        names.append(router.route("a prompt").expert.name)
    assert names == ["large", "small"]


def test_an_unknown_name_is_an_error_but_not_for_a_subset_of_the_experts() -> None:
    with pytest.raises(InputError, match=r"rule 1: ban has 'larg', .* Did you mean large"):
        make_router(Rule(ban="larg"))
    with pytest.raises(InputError, match="mine: only is license gpl, and none of the 3 experts"):
        make_router(Rule(name="mine", only={"license": "gpl"}))
    with pytest.raises(InputError, match=r"rule 1: ban has 'licence', .* Did you mean license"):
        make_router(Rule(ban={"licence": "mit"}))
    router = make_router(Rule(ban="large")).subset(["medium", "small"])
    assert router.route("a prompt").expert.name == "medium"


def test_rules_that_describe_experts_hold_for_the_experts_of_each_router() -> None:
    router = make_router(Rule(only={"license": "mit"})).subset(["small", "large"])
    assert router.route("a prompt").expert.name == "small"


def test_rules_can_be_pickled_and_copied() -> None:
    router = make_router(Rule(tag="night", only="small"))
    router.route("a prompt")
    for policy in (
        pickle.loads(pickle.dumps(router.policy)),  # noqa: S301 - our own bytes
        copy.deepcopy(router.policy),
    ):
        other = Router(FixedPerception(LOSSES), policy=policy)
        assert other.route("a prompt", context=NIGHT).expert.name == "small"


def test_the_log_keeps_which_rules_have_applied(tmp_path) -> None:
    pytest.importorskip("sqlalchemy")
    router = make_router(Rule(ban="large"), traffic=f"sqlite:///{tmp_path}/traffic.db")
    router.route("a prompt")
    router.traffic.flush()
    ((record, _, _),) = router.traffic.decisions()
    assert [change.reason for change in record.changes] == ["rule 1: not large"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (None, "expected a list of Rule"),
        ("rules.toml", "Read a file with"),
        ([{"only": "small"}], "rule 1 is .* expected a Rule"),
    ],
)
def test_what_are_no_rules_is_an_error(rules, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rules(rules)
