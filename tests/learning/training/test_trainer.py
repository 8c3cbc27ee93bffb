"""Training routes well where prompts decide the losses, and does no harm where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage import Router
from tryage.errors import InputError, QTableError
from tryage.learning.training import trainer
from tryage.learning.training.estimators import fit_head
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.encoder import StaticEncoder
from tryage.perception.tokenizer_file import read_tokenizer
from tryage.scoring.qtable import QTable


def routed_loss(perception, table):
    """Return the mean loss of the experts that the perception chooses on a table."""
    chosen = perception.predict(table.prompts).losses.argmin(axis=1)
    return table.losses[np.arange(len(table)), chosen].mean()


def noise(n=200, seed=0):
    """Make a table whose losses do not depend on the prompts."""
    rng = np.random.default_rng(seed)
    probability = np.linspace(0.45, 0.55, 6)
    return QTable(
        tuple(f"word{i % 40} word{i % 7} {i}" for i in range(n)),
        tuple("abcdef"),
        (rng.random((n, 6)) < probability).astype(np.float32),
    )


def assert_same_predictions(one, two):
    prompts = ["sum word1", "law word3 word9", "", "unknown words"]
    first, second = one.predict(prompts), two.predict(prompts)
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(first.std, second.std)


class CountingEncoder(StaticEncoder):
    """Counts the prompts that it embeds."""

    embedded = 0

    def encode(self, prompts):
        self.embedded += len(prompts)
        return super().encode(prompts)


@pytest.fixture
def counting(encoder, tmp_path):
    encoder.save(tmp_path / "encoder")
    return CountingEncoder.load(tmp_path / "encoder")


@pytest.fixture
def other_encoder(encoder, tmp_path):
    """An encoder with the same tokens and other embeddings."""
    encoder.save(tmp_path / "encoder")
    tokenizer = read_tokenizer(tmp_path / "encoder" / "tokenizer.json")
    rows = np.random.default_rng(5).normal(size=(encoder.vocabulary, encoder.dim))
    return StaticEncoder.from_rows(rows.astype(np.float32), tokenizer)


@pytest.fixture
def heads(monkeypatch):
    """Count the heads that are fitted; at number `fail_at` raise an interrupt instead."""

    class CountingFit:
        fitted, fail_at = 0, None

        def __call__(self, *args):
            if self.fitted == self.fail_at:
                raise KeyboardInterrupt
            self.fitted += 1
            return fit_head(*args)

    counting_fit = CountingFit()
    monkeypatch.setattr(trainer, "fit_head", counting_fit)
    return counting_fit


@pytest.mark.parametrize("named", [True, False])
def test_where_topics_decide_the_losses_routing_beats_the_best_single_expert(
    encoder, specialists, named
):
    perception = fit(specialists(named=named), encoder, progress=False)
    test = specialists(n=400, seed=9)
    assert routed_loss(perception, test) < 0.15
    assert test.losses.mean(axis=0).min() > 0.35


def test_where_losses_are_random_the_best_single_expert_is_chosen(encoder):
    # In one such table of eight, a gain of more than a standard error is there by chance.
    table = noise(seed=2)
    perception = fit(table, encoder, progress=False)
    chosen = perception.predict(table.prompts).losses.argmin(axis=1)
    assert set(chosen) == {table.losses.mean(axis=0).argmin()}
    # what chance makes of 200 prompts
    assert perception.report["routed"] == pytest.approx(perception.report["best_single"], abs=0.02)


def test_predicted_losses_of_scored_answers_are_calibrated_and_within_zero_and_one(
    learned, specialists
):
    test = specialists(n=400, seed=9)
    losses = learned.predict(test.prompts).losses
    assert losses.min() >= 0
    assert losses.max() <= 1
    assert losses.mean() == pytest.approx(test.losses.mean(), abs=0.05)
    low = losses < 0.2
    assert test.losses[low].mean() == pytest.approx(losses[low].mean(), abs=0.08)


def test_real_valued_losses_are_predicted_in_their_own_unit(encoder, specialists):
    table = specialists()
    wide = replace(table, losses=5 + 10 * table.losses)
    perception = fit(wide, encoder, progress=False)
    test = specialists(n=400, seed=9)
    predicted = perception.predict(test.prompts)
    assert predicted.losses.mean() == pytest.approx(5 + 10 * test.losses.mean(), abs=1)
    assert routed_loss(perception, test) < 0.15


def test_the_noise_is_the_squared_error_on_unseen_prompts(learned, specialists):
    test = specialists(n=400, seed=9)
    residual = test.losses - learned.predict(test.prompts).losses
    assert learned.abilities.noise == pytest.approx(np.mean(residual**2), rel=0.2)


def test_a_table_with_gaps_is_learned(encoder, specialists):
    table = specialists(n=400)
    losses = table.losses.copy()
    losses[np.random.default_rng(1).random(losses.shape) < 0.5] = np.nan
    losses[np.isnan(losses).all(axis=1), 0] = 0
    perception = fit(replace(table, losses=losses), encoder, progress=False)
    assert routed_loss(perception, specialists(n=400, seed=9)) < 0.25


def test_two_sources_with_their_own_experts_are_learned_together(encoder, specialists):
    table = specialists(n=400)
    losses = table.losses.copy()
    losses[:200, 3], losses[200:, 0] = np.nan, np.nan
    perception = fit(replace(table, losses=losses), encoder, progress=False)
    assert routed_loss(perception, specialists(n=400, seed=9)) < 0.25


def test_the_report_says_what_routing_is_worth_on_unseen_prompts(learned, specialists):
    report, table = learned.report, specialists()
    assert report["prompts"] == 240
    assert report["experts"] == 5
    assert report["best_single"] == pytest.approx(table.losses.mean(axis=0).min())
    assert report["random"] == pytest.approx(table.losses.mean())
    assert report["oracle"] == pytest.approx(table.losses.min(axis=1).mean())
    assert report["oracle"] <= report["routed"] < report["best_single"] - 0.2
    unseen = routed_loss(learned, specialists(n=400, seed=9))
    assert report["routed"] == pytest.approx(unseen, abs=0.05)


def test_the_same_seed_gives_the_same_perception(encoder, specialists):
    assert_same_predictions(*(fit(specialists(), encoder, progress=False) for _ in range(2)))


def test_the_order_of_experts_does_not_matter(encoder, specialists, learned):
    table = specialists()
    turned = fit(table.select(table.experts[::-1]), encoder, progress=False)
    test = specialists(n=100, seed=9)
    ours, theirs = (p.predict(test.prompts).losses for p in (learned, turned))
    np.testing.assert_allclose(ours, theirs[:, ::-1], atol=0.02)


def test_given_embeddings_are_used_instead_of_the_encoder(counting, specialists, learned):
    table = specialists()
    given = counting.encode(table.prompts)
    counting.embedded = 0
    perception = fit(table, counting, embeddings=given, progress=False)
    assert counting.embedded == 0
    assert_same_predictions(perception, learned)


def test_a_killed_training_resumes_where_it_was(counting, specialists, learned, heads, tmp_path):
    heads.fail_at = 1  # in the second of the three inner folds
    with pytest.raises(KeyboardInterrupt):
        fit(specialists(), counting, checkpoint=tmp_path, progress=False)
    assert heads.fitted == 1
    before, counting.embedded, heads.fail_at = counting.embedded, 0, None
    perception = fit(specialists(), counting, checkpoint=tmp_path, progress=False)
    assert heads.fitted == 1 + 2 + 1  # the two folds that are left, and the last one
    assert counting.embedded < 20 < before
    assert_same_predictions(perception, learned)


def test_a_damaged_checkpoint_is_computed_again(encoder, specialists, learned, heads, tmp_path):
    fit(specialists(), encoder, checkpoint=tmp_path, progress=False)
    damaged = next(tmp_path.glob("out-of-fold-2*"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    heads.fitted = 0
    assert_same_predictions(
        fit(specialists(), encoder, checkpoint=tmp_path, progress=False), learned
    )
    assert heads.fitted == 1 + 1


def test_a_checkpoint_of_other_losses_or_of_another_encoder_is_not_used(
    encoder, other_encoder, specialists, heads, tmp_path
):
    fit(specialists(), encoder, checkpoint=tmp_path, progress=False)
    for table, reader in ((specialists(seed=1), encoder), (specialists(), other_encoder)):
        heads.fitted = 0
        resumed = fit(table, reader, checkpoint=tmp_path, progress=False)
        assert heads.fitted == 4
        assert_same_predictions(resumed, fit(table, reader, progress=False))


def test_another_config_is_another_checkpoint(encoder, specialists, heads, tmp_path):
    fit(specialists(), encoder, checkpoint=tmp_path, progress=False)
    heads.fitted = 0
    fit(specialists(), encoder, config=FitConfig(seed=1), checkpoint=tmp_path, progress=False)
    assert heads.fitted == 4


def test_the_rank_bounds_the_ability_space(encoder, specialists):
    perception = fit(specialists(), encoder, config=FitConfig(rank=2), progress=False)
    assert perception.abilities.means.shape == (5, 1 + 2)


def test_a_single_expert_is_predicted_too(encoder, specialists):
    table = specialists().select(["coder"])
    perception = fit(table, encoder, progress=False)
    losses = perception.predict(["code word1", "poem word1"]).losses
    assert losses[0, 0] < losses[1, 0]


def test_equal_prompts_are_in_the_same_fold(encoder, specialists, monkeypatch):
    table = specialists(n=31)
    twice = table.take(np.tile(np.arange(31), 2))
    counts = []

    def counting_fit(x, *args):
        counts.append(len(np.unique(x, axis=0)))
        return fit_head(x, *args)

    monkeypatch.setattr(trainer, "fit_head", counting_fit)
    fit(twice, encoder, progress=False)
    assert sorted(counts) == [20, 21, 21, 31]


@pytest.mark.parametrize(
    ("prompts", "blank_row", "blank_column"), [(9, None, None), (30, 3, None), (30, None, 2)]
)
def test_a_table_that_is_too_small_is_refused(
    encoder, specialists, prompts, blank_row, blank_column
):
    table = specialists(n=prompts)
    losses = table.losses.copy()
    if blank_row is not None:
        losses[blank_row] = np.nan
    if blank_column is not None:
        losses[:, blank_column] = np.nan
    with pytest.raises(QTableError, match="training needs at least 10"):
        fit(replace(table, losses=losses), encoder, progress=False)


def test_one_repeated_prompt_is_refused(encoder, specialists):
    with pytest.raises(QTableError, match="training needs at least 10"):
        fit(specialists(n=12).take(np.zeros(40, int)), encoder, progress=False)


def test_the_std_of_two_experts_is_not_below_the_standard_error_of_their_mean_losses():
    rng = np.random.default_rng(0)
    prompts = [f"question {i}" for i in range(120)]
    losses = (rng.random((120, 2)) < [0.2, 0.6]).astype(np.float32)
    table = QTable(prompts, ("a", "b"), losses)
    perception = fit(table, Router.from_pretrained().perception.encoder, progress=False)
    std = perception.predict(["question"]).std
    assert (std > 0.9 * losses.std() / np.sqrt(120)).all()  # without a bound it is .00001


@pytest.mark.parametrize(
    "numbers", [{"rank": 0}, {"folds": 1}, {"seed": -1}, {"tfidf_dim": 2.5}, {"n_clusters": True}]
)
def test_a_config_out_of_range_is_refused_before_training(numbers):
    with pytest.raises(InputError, match=f"{next(iter(numbers))} must be a whole number from"):
        FitConfig(**numbers)
