"""Training: it routes where there is something to tell, and does no harm where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.errors import QTableError
from tryage.learning.qtable import QTable
from tryage.learning.training import trainer as training
from tryage.learning.training.estimators import fit_head
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.encoder import StaticEncoder


def paid(perception, table):
    """Mean loss of what the perception chooses, and of each expert, on a table."""
    chosen = perception.predict(table.prompts).losses.argmin(axis=1)
    return table.losses[np.arange(len(table)), chosen].mean(), table.losses.mean(axis=0)


def noise(n=200, seed=0):
    rng = np.random.default_rng(seed)
    chance = np.linspace(0.45, 0.55, 6)
    return QTable(
        tuple(f"word{i % 40} word{i % 7} {i}" for i in range(n)),
        tuple("abcdef"),
        (rng.random((n, 6)) < chance).astype(np.float32),
    )


def same(one, two):
    prompts = ["sum word1", "law word3 word9", "", "nothing known"]
    ours, theirs = one.predict(prompts), two.predict(prompts)
    np.testing.assert_array_equal(ours.losses, theirs.losses)
    np.testing.assert_array_equal(ours.std, theirs.std)


class CountingEncoder(StaticEncoder):
    """Counts the prompts that it embeds."""

    embedded = 0

    def encode(self, prompts):
        self.embedded += len(prompts)
        return super().encode(prompts)


@pytest.fixture
def counting(encoder):
    return CountingEncoder(encoder._table, encoder._scales, encoder._tokenizer.tokenizer)


@pytest.fixture
def heads(monkeypatch):
    """How many heads were fitted; `heads.fail_at` raises instead of fitting that one."""

    class Heads:
        fitted, fail_at = 0, None

        def __call__(self, *given):
            if self.fitted == self.fail_at:
                raise KeyboardInterrupt
            self.fitted += 1
            return original(*given)

    original = fit_head
    counted = Heads()
    monkeypatch.setattr(training, "fit_head", counted)
    return counted


@pytest.mark.parametrize("named", [True, False])
def test_where_topics_decide_the_choice_beats_the_best_single_expert(encoder, specialists, named):
    perception = fit(specialists(named=named), encoder, progress=False)
    routed, singles = paid(perception, specialists(n=400, seed=9))
    assert routed < 0.15
    assert singles.min() > 0.35


def test_where_nothing_decides_the_choice_is_the_best_single_expert(encoder):
    table = noise()
    perception = fit(table, encoder, progress=False)
    chosen = perception.predict([*table.prompts, "sum word1", ""]).losses.argmin(axis=1)
    assert set(chosen) == {table.losses.mean(axis=0).argmin()}
    assert perception.report["routed"] == pytest.approx(perception.report["best_single"])


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
    assert paid(perception, test)[0] < 0.15


def test_the_noise_is_that_of_unseen_losses_though_few_experts_are_fitted_without_a_rest(
    learned, specialists
):
    test = specialists(n=400, seed=9)
    residual = test.losses - learned.predict(test.prompts).losses
    assert learned.abilities.noise == pytest.approx(np.mean(residual**2), rel=0.2)


def test_gaps_do_not_keep_it_from_learning(encoder, specialists):
    table = specialists(n=400)
    losses = table.losses.copy()
    losses[np.random.default_rng(1).random(losses.shape) < 0.5] = np.nan
    losses[np.isnan(losses).all(axis=1), 0] = 0
    perception = fit(replace(table, losses=losses), encoder, progress=False)
    assert paid(perception, specialists(n=400, seed=9))[0] < 0.25


def test_two_sources_with_their_own_experts_are_learned_together(encoder, specialists):
    table = specialists(n=400)
    losses = table.losses.copy()
    losses[:200, 3], losses[200:, 0] = np.nan, np.nan
    perception = fit(replace(table, losses=losses), encoder, progress=False)
    assert paid(perception, specialists(n=400, seed=9))[0] < 0.25


def test_the_report_says_what_routing_is_worth_on_unseen_prompts(learned, specialists):
    report, table = learned.report, specialists()
    assert report["prompts"] == 240
    assert report["experts"] == 5
    assert report["best_single"] == pytest.approx(table.losses.mean(axis=0).min())
    assert report["random"] == pytest.approx(table.losses.mean())
    assert report["oracle"] == pytest.approx(table.losses.min(axis=1).mean())
    assert report["oracle"] <= report["routed"] < report["best_single"] - 0.2
    test, _ = paid(learned, specialists(n=400, seed=9))
    assert report["routed"] == pytest.approx(test, abs=0.05)


def test_the_same_seed_gives_the_same_perception(encoder, specialists):
    same(*(fit(specialists(), encoder, progress=False) for _ in range(2)))


def test_losses_decide_and_not_the_order_of_experts(encoder, specialists, learned):
    table = specialists()
    turned = fit(table.select(table.experts[::-1]), encoder, progress=False)
    test = specialists(n=100, seed=9)
    ours, theirs = (p.predict(test.prompts).losses for p in (learned, turned))
    np.testing.assert_allclose(ours, theirs[:, ::-1], atol=0.02)


def test_embeddings_at_hand_are_used_instead_of_the_encoder(counting, specialists, learned):
    table = specialists()
    given = counting.encode(table.prompts)
    counting.embedded = 0
    perception = fit(table, counting, embeddings=given, progress=False)
    assert counting.embedded == 0
    same(perception, learned)


def test_a_killed_training_goes_on_where_it_was(counting, specialists, learned, heads, tmp_path):
    heads.fail_at = 1  # in the second of the three inner folds
    with pytest.raises(KeyboardInterrupt):
        fit(specialists(), counting, checkpoint=tmp_path, progress=False)
    assert heads.fitted == 1
    before, counting.embedded, heads.fail_at = counting.embedded, 0, None
    perception = fit(specialists(), counting, checkpoint=tmp_path, progress=False)
    assert heads.fitted == 1 + 2 + 1  # the two folds that are left, and the last one
    assert counting.embedded < 20 < before
    same(perception, learned)


def test_a_damaged_checkpoint_is_computed_again(encoder, specialists, learned, heads, tmp_path):
    fit(specialists(), encoder, checkpoint=tmp_path, progress=False)
    damaged = next(tmp_path.glob("fold-2*"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    heads.fitted = 0
    same(fit(specialists(), encoder, checkpoint=tmp_path, progress=False), learned)
    assert heads.fitted == 1 + 1


def test_a_checkpoint_of_other_losses_or_of_another_encoder_is_not_used(
    encoder, specialists, heads, tmp_path
):
    fit(specialists(), encoder, checkpoint=tmp_path, progress=False)
    rows = np.random.default_rng(5).normal(size=encoder._table.shape).astype(np.float32)
    other = StaticEncoder.from_rows(rows, encoder._tokenizer.tokenizer)
    for table, reader in ((specialists(seed=1), encoder), (specialists(), other)):
        heads.fitted = 0
        resumed = fit(table, reader, checkpoint=tmp_path, progress=False)
        assert heads.fitted == 4
        same(resumed, fit(table, reader, progress=False))


def test_other_settings_are_another_checkpoint(encoder, specialists, heads, tmp_path):
    fit(specialists(), encoder, checkpoint=tmp_path, progress=False)
    heads.fitted = 0
    settings = FitConfig(seed=1)
    fit(specialists(), encoder, config=settings, checkpoint=tmp_path, progress=False)
    assert heads.fitted == 4


def test_the_rank_bounds_the_ability_space(encoder, specialists):
    perception = fit(specialists(), encoder, config=FitConfig(rank=2), progress=False)
    assert perception.abilities.means.shape == (5, 1 + 2)


def test_a_single_expert_is_no_choice_but_still_predicted(encoder, specialists):
    table = specialists().select(["coder"])
    perception = fit(table, encoder, progress=False)
    losses = perception.predict(["code word1", "poem word1"]).losses
    assert losses[0, 0] < losses[1, 0]


def test_prompts_that_are_twins_stay_together(encoder, specialists, monkeypatch):
    table = specialists(n=31)
    twice = table.take(np.tile(np.arange(31), 2))
    seen = []
    original = fit_head

    def watched(x, *given):
        seen.append(len(np.unique(x, axis=0)))
        return original(x, *given)

    monkeypatch.setattr(training, "fit_head", watched)
    fit(twice, encoder, progress=False)
    assert sorted(seen) == [20, 21, 21, 31]


@pytest.mark.parametrize(
    ("prompts", "blank_row", "blank_column"), [(9, None, None), (30, 3, None), (30, None, 2)]
)
def test_a_table_with_too_little_is_refused(encoder, specialists, prompts, blank_row, blank_column):
    table = specialists(n=prompts)
    losses = table.losses.copy()
    if blank_row is not None:
        losses[blank_row] = np.nan
    if blank_column is not None:
        losses[:, blank_column] = np.nan
    with pytest.raises(QTableError, match="training needs at least 10"):
        fit(replace(table, losses=losses), encoder, progress=False)


def test_one_prompt_repeated_is_too_little(encoder, specialists):
    with pytest.raises(QTableError, match="training needs at least 10"):
        fit(specialists(n=12).take(np.zeros(40, int)), encoder, progress=False)
