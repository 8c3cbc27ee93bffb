"""The guarantee as a user meets it: before and after the calibration, in a log, and broken."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import pytest

from tryage import Expert, Preferences, QTable, Router
from tryage.core.policy import Policy, PolicyBatch, PolicyChoice
from tryage.core.request import ConversationContext
from tryage.errors import GuaranteeError, InputError, LibraryError
from tryage.policies import Guarantee, GuaranteeCalibration
from tryage.testing import FunctionPerception

EXPERTS = [
    Expert("small", input_price=1, output_price=1, output_tokens=100),
    Expert("large", input_price=10, output_price=10, output_tokens=100),
    Expert("other", input_price=0.1, output_price=0.1, output_tokens=100),
]
CALIBRATION = GuaranteeCalibration(0.1, 500, 0.5, 0.4, 0.98, "large", experts=("large", "small"))
EASY, HARD = "easy", "hard"


def predict(text: str) -> list[float]:
    return [0.15 if text.startswith(EASY) else 0.6, 0.1, 0.1]


def make_router(**settings) -> Router:
    return Router(FunctionPerception(["small", "large", "other"], predict), EXPERTS, **settings)


def make_table(n=600, small_on_hard=0.0) -> QTable:
    """Return answers of which small gets the easy prompts right, and other was hardly measured."""
    prompts = [f"{EASY if i % 2 else HARD} {i}" for i in range(n)]
    losses = [[0.0 if i % 2 else 1 - small_on_hard, 0.0, np.nan] for i in range(n)]
    return QTable(prompts, ["small", "large", "other"], np.reshape(losses, (n, 3)))


def chosen(router, *prompts) -> list[str]:
    return [decision.expert.name for decision in router.route_batch(prompts)]


def test_without_a_calibration_the_reference_answers_and_the_decision_says_so() -> None:
    router = make_router(policy=Guarantee("large"))
    decision = router.route(EASY)
    assert decision.expert.name == "large"
    (change,) = decision.changes
    assert (change.policy, change.after) == ("Guarantee", "large")
    assert change.reason == "it is not calibrated, so large answers"
    assert str(router.policy.status()) == "Not calibrated: large answers everything."


def test_after_it_cheaper_experts_answer_what_they_are_certain_to_be_good_at() -> None:
    router = make_router()
    guarantee = Guarantee.calibrate(router, make_table(), "large")
    guarded = router.with_policy(guarantee)
    assert chosen(guarded, EASY, HARD) == ["small", "large"]
    assert guarantee.calibration is not None
    assert guarantee.calibration.experts == ("large", "small")  # other was not measured
    assert guarantee.calibration.share == 0.5
    assert guarantee.calibration.saving == pytest.approx(0.45)
    easy, hard = guarded.route_batch([EASY, HARD])
    assert "within" in easy.changes[0].reason
    assert "95% as good on average" in easy.changes[0].reason
    assert hard.changes[0].reason.startswith("no cheaper expert is within")
    assert "allow to save 45% of the cost of large" in str(guarantee.status())
    assert "not watched" in str(guarantee.status())


def test_calibrating_leaves_the_router_and_its_log_as_they_are(tmp_path) -> None:
    pytest.importorskip("sqlalchemy")
    router = make_router(traffic=f"sqlite:///{tmp_path}/traffic.db")
    Guarantee.calibrate(router, make_table(), "large")
    assert router.policy is None
    assert router.traffic.counts()["decisions"] == 0


def test_prompts_that_are_too_few_are_refused_with_a_number() -> None:
    with pytest.raises(GuaranteeError, match="20 prompts do not show") as caught:
        Guarantee.calibrate(make_router(), make_table(20), "large")
    assert caught.value.n_needed is not None
    with pytest.raises(GuaranteeError, match="measured on 0 prompts"):
        Guarantee.calibrate(make_router(), make_table(0), "large")


def test_agreement_with_the_reference_is_guaranteed_too() -> None:
    guarantee = Guarantee.calibrate(
        make_router(), make_table(small_on_hard=0.5), "large", metric="agreement", at_least=0.9
    )
    assert chosen(make_router(policy=guarantee), EASY, HARD) == ["small", "large"]


def test_requirements_hold_and_where_the_reference_may_not_answer_nothing_changes() -> None:
    router = make_router(policy=Guarantee("large", calibration=CALIBRATION))
    decision = router.route(EASY, Preferences(only=["small", "other"]))
    assert decision.changes == ()
    assert router.route(EASY, Preferences(only=["large", "other"])).expert.name == "large"


def test_what_an_earlier_policy_has_settled_stays() -> None:
    class Answered(Policy):
        def choose(self, batch: PolicyBatch) -> PolicyChoice:
            small = np.full(len(batch.choice), batch.library.index("small"))
            return PolicyChoice(small, ["an answer is there"], is_final=[True])

    (decision,) = make_router(policy=Answered() | Guarantee("large")).route_batch([HARD])
    assert [change.policy for change in decision.changes] == ["Answered"]


def test_a_subset_keeps_the_guarantee_with_the_experts_that_are_left() -> None:
    router = make_router(policy=Guarantee("large", calibration=CALIBRATION))
    assert chosen(router.subset(["large", "other"]), EASY) == ["large"]
    with pytest.raises(LibraryError):
        router.subset(["small", "other"])


@pytest.mark.parametrize(
    "settings",
    [
        {"at_least": 0.0},
        {"at_least": 1.0},
        {"at_least": 1.5},
        {"name": None},
        {"feedback_kind": 3},
        {"confidence": 1.0},
        {"confidence": "high"},
        {"metric": "accuracy"},
        {"judged_share": 2.0},
        {"calibration": {"tolerance": 0.1}},
    ],
)
def test_a_value_out_of_range_is_an_error(settings) -> None:
    with pytest.raises(InputError):
        Guarantee("large", **settings)


@pytest.mark.parametrize(
    "settings", [{"at_least": 0.99}, {"confidence": 0.99}, {"metric": "agreement"}]
)
def test_a_calibration_that_proves_something_else_is_refused(settings) -> None:
    with pytest.raises(InputError, match=r"The calibration proves at_least=0\.95"):
        Guarantee("large", calibration=CALIBRATION, **settings)


def test_a_calibration_with_another_reference_is_refused_by_the_router() -> None:
    with pytest.raises(InputError, match="compares with large, and the guarantee says small"):
        make_router(policy=Guarantee("small", calibration=CALIBRATION))


@pytest.mark.parametrize("reference", [None, "", 3])
def test_a_reference_that_is_no_name_is_an_error(reference) -> None:
    with pytest.raises(InputError, match="expected the name of the expert"):
        Guarantee(reference)


def test_a_pickle_and_a_copy_choose_the_same() -> None:
    guarantee = Guarantee("large", calibration=CALIBRATION)
    for again in (pickle.loads(pickle.dumps(guarantee)), copy.deepcopy(guarantee)):  # noqa: S301 - our own bytes
        assert again.calibration == CALIBRATION
        assert chosen(make_router(policy=again), EASY, HARD) == ["small", "large"]


class TestWithLog:
    """A log with judged answers."""

    @pytest.fixture
    def url(self, tmp_path):
        pytest.importorskip("sqlalchemy")
        return f"sqlite:///{tmp_path}/traffic.db"

    @pytest.fixture
    def make(self, url):
        """Return a function that makes a watched router, all of whose answers are judged."""
        calibration = GuaranteeCalibration(**CALIBRATION.to_dict())

        def build(**settings) -> Router:
            settings = {"judged_share": 1.0} | settings
            policy = Guarantee("large", calibration=calibration, **settings)
            return make_router(policy=policy, traffic=url)

        return build

    def judge(self, router, n, scores) -> None:
        for decision in router.route_batch([f"{EASY} {i}" for i in range(n)]):
            router.feedback(decision.id, scores[decision.expert.name], kind="judge")
        router.policy.sync()

    def test_half_of_the_judged_share_goes_to_the_reference_with_its_probability(self, make):
        decisions = make(judged_share=0.4).route_batch([EASY] * 1_000)
        names = Counter(decision.expert.name for decision in decisions)
        assert 140 < names["large"] < 260  # 20%
        drawn = next(one for one in decisions if one.expert.name == "large")
        assert drawn.propensity == pytest.approx(0.2)
        assert drawn.changes[0].reason == "large was drawn to compare it with a cheaper expert"
        assert all(one.explored == (one.expert.name == "large") for one in decisions)

    @pytest.mark.parametrize("context", [{"current": "small"}, {"tags": ("critical",)}])
    def test_conversations_that_go_on_and_critical_requests_have_no_draws(self, make, context):
        contexts = [ConversationContext(**context)] * 50
        decisions = make().route_batch([EASY] * 50, contexts=contexts)
        assert {(one.expert.name, one.propensity) for one in decisions} == {("small", 1.0)}

    def test_it_goes_on_while_the_answers_are_good(self, make):
        router = make()
        self.judge(router, 30, {"small": 1.0, "large": 1.0})
        status = router.policy.status()
        assert status.stopped is None
        assert (status.judged, status.is_watched) == (30, True)
        assert status.difference == pytest.approx(0.05, abs=0.2)
        assert "By 30 judged answers the score is" in str(status)

    def test_it_stops_when_they_are_bad_for_all_processes_and_later_ones(self, make):
        router, beside = make(), make()
        self.judge(router, 50, {"small": 0.0, "large": 1.0})
        beside.policy.sync()
        for one in (router, beside, make()):
            assert chosen(one, EASY, EASY) == ["large", "large"]
            assert one.policy.status().stopped is not None
            assert "broken" in one.route(EASY).changes[0].reason
        assert "this is no longer so" in str(router.policy.status())

    def test_calibrating_again_is_a_new_start(self, make):
        router = make()
        self.judge(router, 50, {"small": 0.0, "large": 1.0})
        again = router.with_policy(Guarantee.calibrate(router, make_table(), "large"))
        assert again.policy.status().stopped is None
        assert "small" in chosen(again, *[EASY] * 20)

    def test_a_router_without_a_log_does_not_end_the_watch_of_another(self, make):
        router = make()
        beside = make_router(policy=router.policy)
        assert not beside.policy.status().is_watched
        assert set(chosen(beside, *[EASY] * 20)) == {"small"}
        assert router.policy.status().is_watched

    def test_an_unwatched_one_draws_nothing(self, make):
        router = make(judged_share=0.0)
        assert set(chosen(router, *[EASY] * 50)) == {"small"}
        assert not router.policy.status().is_watched

    def test_a_pickle_reads_the_log_again(self, make):
        router = make()
        self.judge(router, 50, {"small": 0.0, "large": 1.0})
        router.traffic.flush()
        again = pickle.loads(pickle.dumps(router.policy))  # noqa: S301 - our own bytes
        assert again.status().stopped == router.policy.status().stopped is not None
