"""The trained perception predicts one prompt or many, and learns from measured losses."""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.perception import Perception
from tryage.errors import InputError, PerceptionError
from tryage.learning.training.trainer import fit
from tryage.perception.abilities import SoftThreshold
from tryage.perception.head import LatentPositions
from tryage.perception.tokenizer import MAX_BYTES
from tryage.router import Router

PROMPTS = ["sum word1 word2", "code word3", "", "something unknown", "poem " * 500]


@pytest.fixture
def fresh(encoder, specialists):
    """A perception for one test alone, which may let it learn."""
    return fit(specialists(n=120), encoder, progress=False)


def test_it_is_a_perception_and_names_its_parts(learned):
    assert isinstance(learned, Perception)
    assert repr(learned) == "LearnedPerception(5 experts, StaticEncoder)"


def test_a_batch_gives_what_each_prompt_gives_alone(learned):
    batch = learned.predict(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = learned.predict([prompt])
        np.testing.assert_allclose(alone.losses[0], batch.losses[row], atol=1e-5)
        np.testing.assert_allclose(alone.std[0], batch.std[row], atol=1e-5)
        np.testing.assert_allclose(alone.output_tokens[0], batch.output_tokens[row], rtol=1e-5)


def test_some_columns_have_the_losses_that_they_have_among_all(fresh):
    # the incumbent counts although its own column is not asked for
    fresh = fresh.replace(soft_threshold=SoftThreshold(incumbent=1, margin=0.1))
    columns = np.array([3, 0])
    every, some = fresh.predict(PROMPTS), fresh.predict_columns(PROMPTS, columns)
    np.testing.assert_array_equal(some.losses, every.losses[:, columns])
    np.testing.assert_array_equal(some.output_tokens, every.output_tokens[:, columns])
    # the sum over fewer columns is rounded elsewhere, in the last place
    np.testing.assert_allclose(some.std, every.std[:, columns], rtol=1e-5)


def watch_std(monkeypatch):
    """Return the list of the standard deviations that will have been computed."""
    found, std = [], LatentPositions.std
    monkeypatch.setattr(
        LatentPositions, "std", lambda *given: found.append(std(*given)) or found[-1]
    )
    return found


def test_a_router_over_few_experts_computes_the_uncertainty_of_no_others(learned, monkeypatch):
    found = watch_std(monkeypatch)
    for router in (Router(learned).subset(["poet", "adder"]), Router(learned)):
        assert router.route("sum word1").chosen.std > 0
    assert [std.shape for std in found] == [(1, 2), (1, 5)]


def test_the_uncertainty_is_computed_once_when_it_is_first_read(learned, monkeypatch):
    found = watch_std(monkeypatch)
    untaught = learned.replace()  # other tests teach the shared one
    one, other = Router(untaught).route_batch(["sum word1", "law word2"])
    assert one.expert.name
    assert not found
    assert one.chosen.std != other.chosen.std
    assert [std.shape for std in found] == [(2, 5)]


def test_after_feedback_the_uncertainty_is_computed_at_once_and_keeps_no_beliefs(fresh):
    router = Router(fresh)
    untaught = weakref.ref(fresh.beliefs.abilities)
    router.observe(router.route("code word1"), 1.0)
    first = weakref.ref(fresh.beliefs.abilities)
    decision = router.route("code word2")
    router.observe(decision, 1.0)
    gc.collect()
    assert untaught() is not None
    assert first() is None
    assert decision.chosen.std > 0


def test_a_router_over_few_experts_sees_what_is_learned(fresh):
    router = Router(fresh).subset(["coder", "poet"])
    before = router.route("code word1").ranking.entry("coder").predicted_loss
    for i in range(8):
        router.observe(router.route(f"code word{i}"), 1.0)
    assert router.route("code word1").ranking.entry("coder").predicted_loss > before


def test_no_prompt_gives_empty_columns(learned):
    nothing = learned.predict([])
    assert nothing.losses.shape == nothing.std.shape == nothing.output_tokens.shape == (0, 5)


def test_any_prompt_has_a_finite_loss_and_a_positive_deviation(learned):
    prediction = learned.predict(["", "\ud800", "日本語", "sum " * 250_000, "\n[{"])
    assert prediction.losses.dtype == prediction.std.dtype == np.float32
    assert np.isfinite(prediction.losses).all()
    assert (prediction.std > 0).all()


def test_lengths_are_forecast_and_a_measure_without_data_is_none(learned):
    tokens = learned.predict(["sum word1"]).output_tokens
    np.testing.assert_allclose(tokens, [[100, 200, 300, 400, 500]], rtol=1e-5)
    assert (
        learned.forecast("costs", learned.head.prepare(learned.extract_features(["sum"]))) is None
    )


def test_the_middle_of_a_long_prompt_is_not_read(learned):
    end = "sum word1 " * (MAX_BYTES // 10)
    prompts = [end + middle * MAX_BYTES + end for middle in ("code ", "poem ")]
    one, other = learned.predict(prompts).losses
    np.testing.assert_array_equal(one, other)


def test_tokens_are_those_of_language_models_and_not_of_the_encoder(learned):
    sentence = "Все люди рождаются свободными и равными в своем достоинстве и правах."  # noqa: RUF001 - Russian
    assert learned.count_tokens([sentence, ""]) == pytest.approx([17, 0], rel=0.3)


def test_an_expert_that_did_well_on_a_prompt_is_predicted_better_there(fresh):
    coder = fresh.experts.index("coder")
    before = fresh.predict(["poem word1"]).losses[0]
    for i in range(8):
        fresh.observe(f"poem word{i}", "coder", 0.0)
    after = fresh.predict(["poem word1"]).losses[0]
    assert after[coder] < before[coder] - 0.02
    others = np.arange(5) != coder
    np.testing.assert_allclose(after[others], before[others], atol=1e-6)


def test_an_expert_that_failed_is_predicted_worse(fresh):
    coder = fresh.experts.index("coder")
    before = fresh.predict(["code word1"]).losses[0, coder]
    for i in range(8):
        fresh.observe(f"code word{i}", "coder", 1.0)
    assert fresh.predict(["code word1"]).losses[0, coder] > before + 0.02


def test_one_loss_moves_the_ability_of_a_new_expert_only_part_of_the_way(learned):
    position = learned.latent_positions(["poem word3"])
    for loss in (0.0, 1.0):
        larger = learned.onboard(Expert("newcomer"), {"poem word3": loss})
        before = float((position @ learned.abilities.prior.mean)[0])
        after = float((position @ larger.abilities.ability(5).mean)[0])
        assert 0 < (after - before) / (loss - before) < 0.7


def test_more_losses_make_an_ability_more_certain(fresh):
    newcomer, variances = Expert("newcomer"), []
    for count in (1, 5, 40):
        losses = {f"{topic} word{i}": 0.5 for i in range(count) for topic in ("sum", "law")}
        larger = fresh.onboard(newcomer, losses)
        variances.append(np.trace(larger.abilities.ability(5).covariance))
    assert variances[0] > variances[1] > variances[2]
    assert np.trace(fresh.abilities.prior.covariance) > variances[0]


def test_an_aptitude_test_returns_a_larger_perception_and_leaves_the_old_one_as_it_is(learned):
    losses = {f"{t} word{i}": float(t != "law") for i in range(15) for t in ("sum", "law", "code")}
    larger = learned.onboard(Expert("jurist"), losses)
    assert larger.experts == (*learned.experts, "jurist")
    assert len(learned.experts) == len(learned.abilities) == 5
    prediction = larger.predict(["law word20", "code word20"])
    assert prediction.losses[0, 5] < prediction.losses[1, 5] - 0.2
    np.testing.assert_allclose(
        prediction.losses[:, :5], learned.predict(["law word20", "code word20"]).losses, atol=1e-6
    )
    assert np.isnan(prediction.output_tokens[:, 5]).all()


def test_onboarding_brings_the_mean_of_the_predictions_nearer_to_that_of_the_losses(learned):
    rng = np.random.default_rng(0)
    prompts = [f"{topic} word{i}" for i in range(40) for topic in ("sum", "law", "code", "poem")]
    losses = (rng.random(len(prompts)) < 0.04).astype(float)
    expert, positions = Expert("strong"), learned.latent_positions(prompts)
    line = learned.ability(expert).posterior(positions, losses, learned.abilities.noise)
    taught = learned.onboard(expert, dict(zip(prompts, losses.tolist(), strict=True)))
    errors = []
    for mean in (line.mean, taught.abilities.means[5]):
        y = (positions @ mean)[:, None]
        errors.append(abs(float(learned.link.losses(y, y).mean() - losses.mean())))
    assert errors[1] < 0.85 * errors[0]


def test_onboarding_a_known_expert_updates_it(learned):
    larger = learned.onboard(Expert("poet"), {f"code word{i}": 0.0 for i in range(20)})
    assert larger.experts == learned.experts
    poet = learned.experts.index("poet")
    prompt = ["code word30"]
    assert larger.predict(prompt).losses[0, poet] < learned.predict(prompt).losses[0, poet]


def test_onboarding_a_known_expert_keeps_what_was_known(learned):
    larger = learned.onboard(Expert("poet"), {f"code word{i}": 1.0 for i in range(20)})
    assert larger.predict(["poem word30"]).losses[0, learned.experts.index("poet")] < 0.2


def test_the_prior_is_about_the_mean_loss_of_all_experts(learned, specialists):
    loss, std = learned.prior()
    assert loss == pytest.approx(specialists().losses.mean(), abs=0.1)
    assert 0 < std < 1


def test_a_new_expert_that_is_best_everywhere_wins_in_spite_of_the_margin(encoder, specialists):
    table = specialists(n=120)
    flat = type(table)(
        table.prompts,
        ("a", "b", "c"),
        (np.random.default_rng(0).random((120, 3)) < [0.5, 0.52, 0.54]).astype(np.float32),
    )
    larger = fit(flat, encoder, progress=False).onboard(
        Expert("star"), dict.fromkeys(table.prompts[:60], 0.0)
    )
    assert (larger.predict(PROMPTS).losses.argmin(axis=1) == 3).all()


def test_an_incumbent_that_begins_to_fail_is_replaced(encoder, specialists):
    table = specialists(n=120)
    flat = type(table)(
        table.prompts,
        ("a", "b", "c"),
        (np.random.default_rng(0).random((120, 3)) < [0.3, 0.4, 0.8]).astype(np.float32),
    )
    perception = fit(flat, encoder, progress=False)
    first = int(perception.predict(["sum word1"]).losses[0].argmin())
    for prompt in table.prompts * 2:
        perception.observe(prompt, flat.experts[first], 1.0)
    assert perception.predict(["sum word1"]).losses[0].argmin() != first


def test_missing_and_infinite_losses_are_refused(learned):
    with pytest.raises(InputError, match="No loss of 'x'"):
        learned.onboard(Expert("x"), {})
    with pytest.raises(InputError, match="finite"):
        learned.onboard(Expert("x"), {"sum": float("nan")})
    with pytest.raises(InputError, match="finite"):
        learned.observe("sum", "coder", float("inf"))


def test_feedback_on_an_unknown_expert_says_to_onboard_it(learned):
    with pytest.raises(PerceptionError, match="onboard it first"):
        learned.observe("sum", "nobody", 0.5)


def test_as_many_abilities_as_experts_are_needed(learned):
    parts = (learned.encoder, learned.feature_extractor, learned.head, learned.abilities)
    with pytest.raises(PerceptionError, match="2 experts with 5 abilities"):
        type(learned)(("a", "b"), *parts, learned.soft_threshold, learned.link)


def test_a_perception_survives_pickle_and_still_learns(fresh):
    again = pickle.loads(pickle.dumps(fresh))  # noqa: S301 - our own
    np.testing.assert_array_equal(again.predict(["a"]).losses, fresh.predict(["a"]).losses)
    again.observe("a", again.experts[0], 0.5)


def test_a_trained_perception_calibrates_its_uncertainty_and_tells_noise_from_prompts(learned):
    known, noise = ["sum word3 word5 7", "law word1 word2 9"], ["\u2603 zzz qqq", "0x" * 90]
    prediction = learned.predict([*known, *noise])
    assert prediction.uncertainty is learned.uncertainty
    assert prediction.typicality[:2].min() > 0.05 > prediction.typicality[2:].max()
    alone = learned.predict_from_positions(learned.locate(learned.estimator_inputs(noise)))[0]
    assert (prediction.std[2:] > alone.std).all()


def test_some_columns_have_the_same_uncertainty_as_all(learned):
    all_of, some = learned.predict(["zzz"]), learned.predict_columns(["zzz"], np.array([2, 0]))
    np.testing.assert_allclose(some.std, all_of.std[:, [2, 0]], rtol=1e-5)
    np.testing.assert_array_equal(some.typicality, all_of.typicality)


def test_a_perception_without_a_calibration_predicts_as_before(learned):
    before = learned.replace(uncertainty=None).predict(["sum word3", "zzz"])
    now = learned.predict(["sum word3", "zzz"])
    np.testing.assert_array_equal(before.losses, now.losses)
    assert before.typicality is before.uncertainty is None
