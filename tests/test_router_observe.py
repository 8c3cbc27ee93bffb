"""Router and learning: unseen experts, onboarding, and feedback on decisions."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Perception, Prediction
from tryage.core.preferences import Preferences
from tryage.errors import InputError, PerceptionError
from tryage.router import Router
from tryage.testing import FixedPerception, LearningPerception


def test_unseen_experts_without_a_prior_are_refused_by_name():
    with pytest.raises(PerceptionError, match=r"1 of 2 experts \(new\) and has no prior"):
        Router(FixedPerception({"a": 0.1}), ["a", "new"])


def test_unseen_experts_get_the_prior():
    ranked = Router(LearningPerception({"b": 0.2, "a": 0.1}), ["new", "a"]).route("x").ranking
    assert [(r.name, r.std) for r in ranked] == [("a", pytest.approx(0.1)), ("new", 0.5)]


class LibraryPerception(Perception):
    """Predicts a tenth of the parameters in billions for an unseen expert."""

    def __init__(self, perception, library):
        self.perception, self.library, self.experts = perception, library, library.names
        self.observed = []

    def predict(self, prompts):
        losses = np.tile(self.library.column("parameters") / 1e10, (len(prompts), 1))
        seen = [self.library.index(name) for name in self.perception.experts]
        losses[:, seen] = self.perception.predict(prompts).losses
        return Prediction(losses, np.full_like(losses, 0.1))

    def observe(self, prompt, expert, loss):
        self.observed.append((prompt, expert, loss))


class MetadataPerception(LearningPerception):
    def for_library(self, library):
        self.wrapped = LibraryPerception(self, library)
        return self.wrapped


def test_unseen_experts_are_predicted_and_observed_by_the_perception_of_the_library():
    perception = MetadataPerception({"a": 0.3})
    library = Library([Expert("tiny", parameters=1e9), Expert("a", parameters=7e9), "blank"])
    router = Router(perception, library)
    ranked = router.route("x").ranking
    assert [(r.name, pytest.approx(r.predicted_loss)) for r in ranked] == [
        ("tiny", 0.1),
        ("a", 0.3),
    ]
    router.observe(router.route("x"), 0.9)
    assert perception.wrapped.observed == [("x", "tiny", 0.9)]


def test_feedback_on_an_unseen_expert_is_refused_without_such_a_perception():
    router = Router(LearningPerception({"a": 0.9}), ["a", "new"])
    assert router.route("x").expert.name == "new"
    with pytest.raises(PerceptionError, match="never seen 'new'; onboard it first"):
        router.observe(router.route("x"), 0.1)


def test_onboarding_returns_a_router_that_knows_the_expert():
    router = Router(
        LearningPerception({"a": 0.3}), default="a", preferences=Preferences({"size": 0})
    )
    grown = router.onboard(Expert("new", parameters=1e9), {"p": 0.1, "q": 0.2})
    decision = grown.route("x")
    assert (decision.expert, grown.default) == (Expert("new", parameters=1e9), "a")
    assert decision.ranking[0].predicted_loss == pytest.approx(0.15)
    assert router.library.names == ("a",)
    assert len(grown.onboard(Expert("new"), {"p": 0.9}).library) == 2


def test_feedback_reaches_the_perception_under_the_name_it_has_for_the_expert():
    library = Library([Expert("mine", aliases=("theirs",)), Expert("b")])
    router = Router(LearningPerception({"theirs": 0.1, "b": 0.3}), library)
    router.observe(router.route("x"), 0.9)
    assert router.route("x").expert.name == "b"
    assert router.route("y").expert.name == "mine"


@pytest.mark.usefixtures("fixed_ids")
@pytest.mark.parametrize("loss", [-1e300, 100.0, 1.5, -0.1, np.inf, "1", None, True])
def test_a_loss_outside_the_range_is_refused_and_teaches_nothing(loss, trained_router):
    router = Router(trained_router.perception.replace(), trained_router.library)
    before = [one.to_dict() for one in router.route_batch(["sum word1", "code word2"])]
    with pytest.raises(InputError, match="loss must be"):
        router.observe(router.route("sum word1"), loss)
    with pytest.raises(InputError, match="loss must be"):
        router.onboard(Expert("new"), {"sum word1": 0.5, "sum word2": loss})
    assert [one.to_dict() for one in router.route_batch(["sum word1", "code word2"])] == before


def test_the_worst_loss_of_one_prompt_does_not_banish_an_expert(trained_router):
    router = Router(trained_router.perception.replace(), trained_router.library)
    prompts = [f"{topic} word{i}" for topic in ("sum", "code", "poem") for i in range(20)]
    before = [one.expert.name for one in router.route_batch(prompts)]
    for _ in range(3):
        router.observe(router.route("sum word1"), 1.0)
    after = [one.expert.name for one in router.route_batch(prompts)]
    assert np.mean([one == other for one, other in zip(before, after, strict=True)]) > 0.9


class TokenLosses(LearningPerception):
    """Predicts losses per token, which may exceed 1."""

    def loss_range(self):
        return 0.0, 20.0


def test_a_perception_of_other_losses_states_their_range():
    router = Router(TokenLosses({"a": 2.5}))
    router.observe(router.route("x"), 3.5)
    assert router.route("x").ranking[0].predicted_loss == pytest.approx(3.0)
    with pytest.raises(InputError, match="loss must be between 0 and 20, got 100"):
        router.observe(router.route("x"), 100.0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_children_observe_while_threads_of_the_parent_do(
    trained_router, finishes_in_children
):
    router = Router(trained_router.perception.replace(), trained_router.library)
    decision = router.route("sum word1")

    def observe():
        router.observe(decision, 0.5)

    assert finishes_in_children(observe, n_forks=40, meanwhile=observe)


def test_impossible_feedback_and_onboarding_are_refused():
    router = Router(FixedPerception({"a": 0.1}))
    with pytest.raises(PerceptionError, match="FixedPerception cannot learn"):
        router.observe(router.route("x"), 0.5)
    with pytest.raises(PerceptionError, match="cannot learn"):
        router.onboard(Expert("b"), {"p": 0.5})
    with pytest.raises(InputError, match="losses are a list; expected a dict"):
        router.onboard(Expert("b"), [0.5])
    with pytest.raises(InputError, match="takes an Expert"):
        router.onboard("b", {"p": 0.5})
    unseen = Router(LearningPerception({"a": 0.9}), ["new"])
    with pytest.raises(PerceptionError, match="onboard it first"):
        unseen.observe(unseen.route("x"), 0.5)
    learner = Router(LearningPerception({"a": 0.9}))
    with pytest.raises(InputError, match="loss"):
        learner.observe(learner.route("x"), np.nan)
