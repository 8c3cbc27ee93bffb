"""Experts specialize, none of them gets all prompts, and a stopped run resumes bit for bit."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from tryage.errors import InputError, PersistenceError
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.modes import AtRandom, ByLabel, Decoupled, Joint
from tryage.learning.cotraining.protocols import PromptPool

pytest.importorskip("scipy")
pytest.importorskip("torch")

CONFIG = CotrainConfig(tokens=20_000, batch=16, step=4, save_every=3)
MODES = [Decoupled, Joint]


def run(learners, pool, mode, config=CONFIG, **options):
    if isinstance(mode, type):
        mode = mode(len(learners), pool.features.shape[1])
    return cotrain(learners, pool, mode, config, progress=False, **options)


def best_of_domains(learners, pool, domains):
    """Name the best expert of each domain."""
    losses = np.stack([learner.losses(pool.texts) for learner in learners], axis=1)
    return {d: losses[domains == d].mean(axis=0).argmin().item() for d in set(domains)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_experts_specialize_in_one_domain_each(mode, seed, letters, pool, domains):
    learners = letters(seed=seed)
    before = np.mean([learner.losses(pool.texts) for learner in learners])
    history = run(learners, pool, mode, CotrainConfig(tokens=20_000, batch=16, step=4, seed=seed))
    assert len(set(best_of_domains(learners, pool, domains).values())) == 2
    best = np.min([learner.losses(pool.texts) for learner in learners], axis=0).mean()
    assert before == pytest.approx(np.log(26), abs=0.1)
    assert best < np.log(8) + 0.25  # with eight letters each, log 8 is the lowest possible loss
    assert history.entries[-1].loss < history.entries[0].loss - 0.7


@pytest.mark.parametrize("mode", MODES)
def test_no_expert_gets_more_than_the_slack_allows(mode, letters, pool):
    learners = letters(4)
    learners[1].counts *= 3  # ahead of the others from the start, and slow to change
    history = run(learners, pool, mode)
    for entry in history.entries:
        assert max(entry.tokens) <= 1.5 * 16 / 4 * 20
    assert history.effective_experts() > 2.6


def test_without_the_limit_half_of_the_experts_get_almost_nothing(letters, pool):
    """The collapse that the limit prevents: of four experts, two get the two domains."""

    def history(slack):
        learners = letters(4)
        learners[1].update(pool.texts[:100])
        config = CotrainConfig(tokens=20_000, batch=16, step=4, slack=slack)
        return run(learners, pool, Decoupled, config)

    assert history(slack=4).effective_experts(last=20) < 2.1
    assert history(slack=1.5).effective_experts(last=20) > 2.6


@pytest.mark.parametrize("mode", MODES)
def test_a_high_penalty_keeps_prompts_from_an_expert(mode, letters, pool):
    penalties = np.tile([0.0, 5.0], (len(pool), 1))
    config = CotrainConfig(tokens=20_000, batch=16, step=4, slack=2)
    history = run(letters(), pool, mode, config, penalties=penalties)
    assert history.shares()[0] > 0.99


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_run_equals_an_uninterrupted_one(mode, letters, pool, tmp_path):
    whole, parts = letters(), letters()
    short, long = (CotrainConfig(tokens=n, batch=16, step=4, save_every=3) for n in (4_000, 9_000))
    expected = run(whole, pool, mode, long)
    run(parts, pool, mode, short, folder=tmp_path)
    again = letters(seed=9)  # other experts, whose state is then replaced
    history = run(again, pool, mode, long, folder=tmp_path)
    assert history == expected
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(one.counts, other.counts)
        assert one.updates == other.updates


def test_after_a_kill_the_rounds_since_the_last_checkpoint_are_repeated(letters, pool, tmp_path):
    whole = letters()
    expected = run(whole, pool, Decoupled)

    class KilledError(Exception):
        pass

    class DyingMode(Decoupled):
        def __call__(self, batch):
            if batch.rng.bit_generator.state == dies_at:
                raise KilledError
            return super().__call__(batch)

    dies_at = np.random.default_rng([0, 7])
    dies_at.random((16, 2))  # drawn before the mode is called
    dies_at = dies_at.bit_generator.state
    DyingMode.__name__ = "Decoupled"
    with pytest.raises(KilledError):
        run(letters(), pool, DyingMode, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["round-0000006"]
    again = letters()
    assert run(again, pool, Decoupled, folder=tmp_path) == expected
    assert all(np.array_equal(a.counts, b.counts) for a, b in zip(whole, again, strict=True))


def test_a_partial_checkpoint_is_not_read(letters, pool, tmp_path):
    run(letters(), pool, Decoupled, folder=tmp_path)
    (tmp_path / "round-9999999.partial").mkdir()
    assert run(letters(), pool, Decoupled, folder=tmp_path).compute >= CONFIG.tokens


def test_ctrl_c_ends_the_run_after_the_round_with_everything_saved(letters, pool, tmp_path):
    class InterruptedMode(Decoupled):
        def __call__(self, batch):
            os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(batch)

    InterruptedMode.__name__ = "Decoupled"
    with pytest.raises(KeyboardInterrupt):
        run(letters(), pool, InterruptedMode, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["round-0000001"]
    whole, again = letters(), letters()
    assert run(again, pool, Decoupled, folder=tmp_path) == run(whole, pool, Decoupled)
    assert np.array_equal(whole[0].counts, again[0].counts)


def test_a_folder_of_other_prompts_is_refused(letters, pool, tmp_path):
    run(letters(), pool, Decoupled, folder=tmp_path)
    other = PromptPool(pool.texts[::-1], pool.features, pool.tokens)
    with pytest.raises(PersistenceError, match="other experts, prompts or settings"):
        run(letters(), other, Decoupled, folder=tmp_path)


def test_a_damaged_folder_is_refused(letters, pool, tmp_path):
    run(letters(), pool, Decoupled, folder=tmp_path)
    (last,) = tmp_path.iterdir()
    (last / "run.json").write_text("{")
    with pytest.raises(PersistenceError, match="damaged: delete it"):
        run(letters(), pool, Decoupled, folder=tmp_path)


def test_an_evaluated_token_counts_a_third_of_a_trained_one(letters, pool):
    history = run(
        letters(), pool, Joint, CotrainConfig(tokens=10_000, batch=16, step=4, exploration_rate=1.0)
    )
    rounds = len(history.entries)
    assert (history.trained_tokens, history.evaluated_tokens) == (
        rounds * 16 * 20,
        rounds * 16 * 20 * 2,
    )
    assert history.compute == pytest.approx(history.trained_tokens + history.evaluated_tokens / 3)
    assert 10_000 <= history.compute < 10_000 + 16 * 20 * 2


def test_training_by_the_true_domain_measures_nothing(letters, pool, domains):
    learners = letters()
    history = run(
        learners, pool, ByLabel(domains.tolist(), 2), CotrainConfig(tokens=5_000, batch=16)
    )
    assert history.evaluated_tokens == 0
    assert {entry.loss for entry in history.entries} == {None}
    assert len(set(best_of_domains(learners, pool, domains).values())) == 2


def test_training_at_random_gives_every_expert_the_same(letters, pool):
    history = run(letters(4), pool, AtRandom(4))
    assert history.evaluated_tokens == 0
    assert history.effective_experts() > 3.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": float("nan")}, "tokens"),
        ({"exploration_rate": 0.0}, "exploration_rate"),
        ({"exploration_rate": 1.5}, "exploration_rate"),
        ({"slack": 0.5}, "slack"),
        ({"batch": 0}, "batch"),
        ({"step": "8"}, "step"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        CotrainConfig(**({"tokens": 10} | wrong))


def test_experts_without_a_unique_name_are_refused(letters, pool):
    with pytest.raises(InputError, match="each with its own name"):
        run([], pool, AtRandom(1))
    with pytest.raises(InputError, match="each with its own name"):
        run([*letters(1), *letters(1)], pool, AtRandom(2))


def test_penalties_of_another_shape_are_refused(letters, pool):
    with pytest.raises(InputError, match=r"expected one per prompt and expert, \(200, 2\)"):
        run(letters(), pool, AtRandom(2), penalties=np.zeros((3, 2)))


def test_training_by_labels_needs_labels():
    with pytest.raises(InputError, match="labels"):
        ByLabel([], 2)
