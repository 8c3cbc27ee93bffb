"""The trained perception predicts one prompt or many, and learns from what it is told."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.perception import Perception
from tryage.errors import InputError, PerceptionError
from tryage.learning.training.trainer import fit
from tryage.perception.abilities import LatentPositions, SoftThreshold
from tryage.router import Router

PROMPTS = ["sum word1 word2", "code word3", "", "something unknown", "poem " * 500]


@pytest.fixture
def fresh(encoder, specialists):
    """One of its own, for a test that teaches it."""
    return fit(specialists(n=120), encoder, progress=False)


def test_it_keeps_the_protocol_and_names_itself(learned):
    assert isinstance(learned, Perception)
    assert repr(learned) == "LearnedPerception(5 experts, StaticEncoder)"


def test_a_batch_gives_what_each_prompt_gives_alone(learned):
    batch = learned.predict(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = learned.predict([prompt])
        np.testing.assert_allclose(alone.losses[0], batch.losses[row], atol=1e-5)
        np.testing.assert_allclose(alone.std[0], batch.std[row], atol=1e-5)
        np.testing.assert_allclose(alone.output_tokens[0], batch.output_tokens[row], rtol=1e-5)


def test_some_experts_are_predicted_the_losses_that_all_are(fresh):
    fresh.soft_threshold = SoftThreshold(
        incumbent=1, margin=0.1
    )  # who is not asked for counts nevertheless
    columns = np.array([3, 0])
    every, some = fresh.predict(PROMPTS), fresh.predict_columns(PROMPTS, columns)
    np.testing.assert_array_equal(some.losses, every.losses[:, columns])
    np.testing.assert_array_equal(some.output_tokens, every.output_tokens[:, columns])
    # the sum over fewer columns is rounded elsewhere, in the last place
    np.testing.assert_allclose(some.std, every.std[:, columns], rtol=1e-5)


def test_a_router_over_few_of_the_experts_works_out_no_others_doubt(learned, monkeypatch):
    judged = []
    judge = LatentPositions.predict
    monkeypatch.setattr(
        LatentPositions, "predict", lambda *given: judged.append(judge(*given)) or judged[-1]
    )
    Router(learned).subset(["poet", "adder"]).route("sum word1")
    Router(learned).route("sum word1")
    assert [doubt.shape for _, doubt in judged] == [(1, 2), (1, 5)]


def test_a_router_over_few_of_the_experts_sees_what_is_learned(fresh):
    router = Router(fresh).subset(["coder", "poet"])
    before = router.route("code word1").ranking.entry("coder").predicted_loss
    for i in range(8):
        router.observe(router.route(f"code word{i}"), 1.0)
    assert router.route("code word1").ranking.entry("coder").predicted_loss > before


def test_no_prompt_gives_empty_columns(learned):
    nothing = learned.predict([])
    assert nothing.losses.shape == nothing.std.shape == nothing.output_tokens.shape == (0, 5)


def test_any_prompt_has_a_finite_prediction_and_a_width(learned):
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


def test_one_unlucky_answer_of_a_newcomer_is_not_the_whole_truth(learned):
    place = learned.latent_positions(["poem word3"])
    for loss in (0.0, 1.0):
        knows = learned.onboard(Expert("newcomer"), {"poem word3": loss})
        before = float((place @ learned.abilities.prior.mean)[0])
        after = float((place @ knows.abilities.ability(5).mean)[0])
        assert 0 < (after - before) / (loss - before) < 0.7


def test_more_losses_make_the_guess_narrower(fresh):
    stranger, widths = Expert("newcomer"), []
    for count in (1, 5, 40):
        losses = {f"{topic} word{i}": 0.5 for i in range(count) for topic in ("sum", "law")}
        knows = fresh.onboard(stranger, losses)
        place = knows.abilities.ability(5).covariance
        widths.append(np.trace(place))
    assert widths[0] > widths[1] > widths[2]
    assert np.trace(fresh.abilities.prior.covariance) > widths[0]


def test_a_newcomer_is_known_after_an_aptitude_test_and_the_old_one_is_untouched(learned):
    losses = {f"{t} word{i}": float(t != "law") for i in range(15) for t in ("sum", "law", "code")}
    knows = learned.onboard(Expert("jurist"), losses)
    assert knows.experts == (*learned.experts, "jurist")
    assert len(learned.experts) == len(learned.abilities) == 5
    prediction = knows.predict(["law word20", "code word20"])
    assert prediction.losses[0, 5] < prediction.losses[1, 5] - 0.2
    np.testing.assert_allclose(
        prediction.losses[:, :5], learned.predict(["law word20", "code word20"]).losses, atol=1e-6
    )
    assert np.isnan(prediction.output_tokens[:, 5]).all()


def test_onboarding_a_known_expert_updates_it(learned):
    knows = learned.onboard(Expert("poet"), {f"code word{i}": 0.0 for i in range(20)})
    assert knows.experts == learned.experts
    poet = learned.experts.index("poet")
    prompt = ["code word30"]
    assert knows.predict(prompt).losses[0, poet] < learned.predict(prompt).losses[0, poet]


def test_onboarding_a_known_expert_forgets_nothing(learned):
    knows = learned.onboard(Expert("poet"), {f"code word{i}": 1.0 for i in range(20)})
    assert knows.predict(["poem word30"]).losses[0, learned.experts.index("poet")] < 0.2


def test_a_stranger_gets_the_crowds_mean_and_a_wide_guess(learned, specialists):
    loss, width = learned.prior()
    assert loss == pytest.approx(specialists().losses.mean(), abs=0.1)
    assert 0 < width < 1


def test_a_newcomer_that_is_best_everywhere_wins_even_where_the_router_is_cautious(
    encoder, specialists
):
    table = specialists(n=120)
    flat = type(table)(
        table.prompts,
        ("a", "b", "c"),
        (np.random.default_rng(0).random((120, 3)) < [0.5, 0.52, 0.54]).astype(np.float32),
    )
    knows = fit(flat, encoder, progress=False).onboard(
        Expert("star"), dict.fromkeys(table.prompts[:60], 0.0)
    )
    assert (knows.predict(PROMPTS).losses.argmin(axis=1) == 3).all()


def test_an_incumbent_that_begins_to_fail_loses_its_place(encoder, specialists):
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


def test_losses_that_are_none_or_not_finite_are_refused(learned):
    with pytest.raises(InputError, match="No loss of 'x'"):
        learned.onboard(Expert("x"), {})
    with pytest.raises(InputError, match="finite"):
        learned.onboard(Expert("x"), {"sum": float("nan")})
    with pytest.raises(InputError, match="finite"):
        learned.observe("sum", "coder", float("inf"))


def test_feedback_on_an_unknown_expert_says_to_onboard_it(learned):
    with pytest.raises(PerceptionError, match="onboard it first"):
        learned.observe("sum", "nobody", 0.5)


def test_experts_and_abilities_must_be_as_many(learned):
    parts = (learned.encoder, learned.feature_extractor, learned.head, learned.abilities)
    with pytest.raises(PerceptionError, match="2 experts with 5 abilities"):
        type(learned)(("a", "b"), *parts, learned.soft_threshold, learned.link)


def test_a_perception_survives_pickle_and_still_learns(fresh):
    again = pickle.loads(pickle.dumps(fresh))  # noqa: S301 - our own
    np.testing.assert_array_equal(again.predict(["a"]).losses, fresh.predict(["a"]).losses)
    again.observe("a", again.experts[0], 0.5)
