"""Experts that are about as good as a known model, predicted by the bundled router."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tryage import Expert, Library, Router
from tryage.errors import InputError
from tryage.models.efforts import loss_ratio

PROMPTS = ["hi", "Prove that e is transcendental.", "Translate 'dog' into French."]
KNOWN = "gpt-4o-2024-11-20"


@pytest.fixture(scope="module")
def perception():
    return Router.from_pretrained().perception


def predict(perception, *experts):
    """Return the losses and their deviations, each `(n_prompts, n_experts)`."""
    prediction = perception.for_library(Library(experts)).predict(PROMPTS)
    return prediction.losses, prediction.std


def ability_std(perception, *experts):
    """Return how uncertain the ability of each expert is, `(n_experts, n_prompts)`."""
    known = perception.for_library(Library(experts))
    return known.ability_std_at(known.predict(PROMPTS).positions).T


@pytest.mark.parametrize("reference", [KNOWN, "gpt-4o", "openai:gpt-4o", "GPT-4o-2024-11-20"])
def test_the_quality_is_that_of_the_measured_reference_and_less_certain(perception, reference):
    losses, std = predict(perception, Expert(KNOWN), Expert("mine", about_as_good_as=reference))
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], atol=1e-6)
    assert (std[:, 1] > std[:, 0]).all()
    known, told = ability_std(perception, Expert(KNOWN), Expert("mine", about_as_good_as=reference))
    assert (told > 2 * known).all()


def test_own_facts_do_not_change_the_quality_that_is_told(perception):
    dear = Expert("mine", about_as_good_as=KNOWN, output_price=99.0, parameters=1e12)
    losses, _ = predict(perception, Expert("mine", about_as_good_as=KNOWN), Expert("x", ()))
    dear_losses, _ = predict(perception, dear, Expert("x", ()))
    np.testing.assert_allclose(losses[:, 0], dear_losses[:, 0], atol=1e-6)


def test_a_reference_that_nobody_measured_is_judged_by_its_public_facts(perception):
    told = Expert("mine", about_as_good_as="claude-opus-5-5")
    nothing = Expert("nothing")
    losses, std = predict(perception, told, nothing)
    assert (losses[:, 0] < losses[:, 1]).all()
    assert (std[:, 0] > 0).all()


def test_a_reference_may_be_another_expert_of_the_library(perception):
    base = Expert("base", parameters=7e9, aliases=("b",))
    experts = (base, Expert("tuned", about_as_good_as="b"))
    losses, _ = predict(perception, *experts)
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], atol=1e-5)
    known, told = ability_std(perception, *experts)
    assert (told > known).all()


def test_an_unknown_reference_is_an_error_that_suggests_near_names(perception):
    with pytest.raises(InputError, match=r"'claude-hiku-4-5' of 'mine'.*Did you mean claude-haiku"):
        Router(perception, [Expert("mine", about_as_good_as="claude-hiku-4-5")])
    with pytest.raises(InputError, match="'zzz' of 'mine' is no known model"):
        Router(perception, [Expert("mine", about_as_good_as="zzz")])


def test_a_measured_expert_keeps_its_own_quality_and_the_log_says_so(perception, caplog):
    losses, _ = predict(perception, Expert(KNOWN), Expert("new"))
    with caplog.at_level("INFO", logger="tryage"):
        told, _ = predict(perception, Expert(KNOWN, about_as_good_as="gpt-3.5-turbo"), Expert("x"))
    np.testing.assert_array_equal(losses, told)
    assert f"'gpt-3.5-turbo' of '{KNOWN}' does not count: the expert was measured" in caplog.text


def test_another_effort_of_a_measured_model_changes_the_loss_by_a_ratio(perception):
    experts = [
        Expert(f"mine@{effort}", effort=effort, about_as_good_as=f"gpt-4o@{effort}")
        for effort in ("none", "low", "high")
    ]
    losses, _ = predict(perception, Expert(KNOWN), *experts)
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], atol=1e-6)  # gpt-4o does not reason
    assert (losses[:, 0] > losses[:, 2]).all()
    assert (losses[:, 2] > losses[:, 3]).all()
    hard, easy = np.argmax(losses[:, 0]), np.argmin(losses[:, 0])
    assert losses[hard, 0] - losses[hard, 3] > losses[easy, 0] - losses[easy, 3]
    ratios = losses[:, 3] / losses[:, 0]
    assert ratios[hard] == pytest.approx(loss_ratio("high", "none"), abs=0.06)
    assert (ratios < 1).all()  # where nearly all models succeed, an effort changes less


def test_a_loss_near_zero_falls_with_effort_as_well(perception):
    names = [f"gpt-4o@{effort}" for effort in ("none", "low", "high")]
    experts = [Expert(f"mine {name}", about_as_good_as=name) for name in names]
    prompts = [f"{i} + {i}? " + "Prove it. " * i for i in range(40)]
    losses = perception.for_library(Library(experts)).predict(prompts).losses
    assert losses.min() < 0.2
    assert (np.diff(losses, axis=1) < 0).all()


def test_efforts_of_a_model_that_nobody_measured_differ(perception):
    experts = [
        Expert(f"openai:gpt-9@{effort}", effort=effort, about_as_good_as=f"openai:gpt-9@{effort}")
        for effort in ("low", "high")
    ]
    losses, _ = predict(perception, *experts)
    assert (losses[:, 0] > losses[:, 1]).all()


def test_feedback_starts_from_the_reference_and_leaves_it_alone():
    router = Router(
        Router.from_pretrained().perception, [KNOWN, Expert("mine", about_as_good_as=KNOWN)]
    )

    def losses():
        ranking = router.route(PROMPTS[0]).ranking
        return {one.name: one.predicted_loss for one in ranking}

    before = losses()
    decision = router.with_preferences(None).subset(["mine"]).route(PROMPTS[0])
    for _ in range(5):
        router.observe(decision, 1.0)
    after = losses()
    assert after["mine"] > before["mine"] + 0.01
    assert after[KNOWN] == pytest.approx(before[KNOWN], abs=1e-6)


def test_an_aptitude_test_starts_from_the_reference(perception):
    told, bare = Expert("mine", about_as_good_as=KNOWN), Expert("mine")
    losses = {PROMPTS[0]: 0.0}
    prediction = [
        perception.onboard(expert, losses).predict(PROMPTS[1:]).losses[:, -1]
        for expert in (told, bare)
    ]
    expected, _ = predict(perception, Expert(KNOWN), Expert("new"))
    distance = [np.abs(one - expected[1:, 0]).max() for one in prediction]
    assert distance[0] < distance[1]


def test_a_reference_is_saved_and_loaded(tmp_path):
    expert = Expert("mine@low", about_as_good_as=KNOWN, effort="low", input_price=1.0)
    assert Expert.from_dict(json.loads(json.dumps(expert.to_dict()))) == expert
    router = Router(Router.from_pretrained().perception, [KNOWN, expert])
    router.save_pretrained(tmp_path)
    loaded = Router.from_pretrained(tmp_path)
    assert loaded.library["mine@low"] == expert
    one, other = (r.route(PROMPTS[1]).ranking for r in (router, loaded))
    assert [(x.name, x.predicted_loss) for x in one] == [(x.name, x.predicted_loss) for x in other]


def test_medium_effort_of_a_model_that_nobody_measured_is_the_model_by_its_facts(perception):
    plain = Expert("anthropic:claude-opus-5-5", output_price=4.5)
    name = "anthropic:claude-opus-5-5@medium"
    medium = Expert(name, about_as_good_as=name, effort="medium", output_price=4.5)
    losses, _ = predict(perception, plain, medium)
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], atol=0.02)
