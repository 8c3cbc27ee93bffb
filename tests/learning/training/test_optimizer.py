"""Gradient descent goes on exactly where it was stopped, and its checkpoint is always whole."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tryage.errors import PersistenceError
from tryage.learning.training.optimizer import ResumableTrainer, Schedule


def trainer(path=None, seed=0, **changes):
    """A trainer of two numbers."""
    schedule = Schedule(4, 0.1, save_every=1, seed=seed, **changes)
    weights = {"w": torch.nn.Parameter(torch.zeros(2))}
    return ResumableTrainer(weights, schedule, path=path, progress=False)


def run(trainer, *, fail_at=None):
    """Pull the numbers to noisy targets; `fail_at` is the step at which the process dies."""
    weight = trainer.parameters["w"]

    def loss(batch, rng):
        if trainer.steps == fail_at:
            raise KeyboardInterrupt
        return (weight - torch.tensor(batch + rng.normal(size=2))).pow(2).sum()

    trainer.run(loss, lambda rng: list(rng.permutation(6).reshape(3, 2)))
    return weight.detach().numpy()


def test_the_learning_rate_warms_up_and_falls_along_a_cosine_to_nearly_zero():
    schedule = Schedule(1, 0.5)
    rates = [schedule.learning_rate_at(step, 100) for step in range(100)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[5 + 95 // 2] == pytest.approx(0.25, abs=0.005)
    assert rates[-1] < 0.001
    assert (np.diff(rates[5:]) < 0).all()


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(trainer(path), fail_at=7)
    resumed = trainer(path)
    assert resumed.steps == 7
    np.testing.assert_array_equal(run(resumed), run(trainer()))


def test_a_finished_run_does_no_other_step(tmp_path):
    path = tmp_path / "state.safetensors"
    weights = run(trainer(path))
    np.testing.assert_array_equal(run(trainer(path), fail_at=12), weights)


def test_another_seed_draws_other_batches_and_other_noise():
    assert not np.array_equal(run(trainer()), run(trainer(seed=1)))


def test_extra_state_and_tensors_come_back_with_the_checkpoint(tmp_path):
    path = tmp_path / "state.safetensors"
    first = trainer(path)
    first.extra_state["validation"] = [0.5]
    first.extra_tensors["best"] = torch.ones(3)
    first.save()
    again = trainer(path)
    assert again.extra_state["validation"] == [0.5]
    assert again.extra_tensors["best"].tolist() == [1, 1, 1]


def test_it_stops_after_the_epoch_that_says_so():
    one = trainer()
    one.run(
        lambda *_: one.parameters["w"].sum(), lambda _: [np.zeros(2)] * 3, after_epoch=lambda: True
    )
    assert one.steps == 3


def test_a_checkpoint_is_whole_whenever_the_process_dies(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    first = trainer(path)
    first.save()
    before = path.read_bytes()

    def write_half(_tensors, file, _metadata):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", write_half)
    with pytest.raises(KeyboardInterrupt):
        first.save()
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    trainer(path).save()
    other = {"b": torch.nn.Parameter(torch.zeros(2))}
    with pytest.raises(PersistenceError, match="another model"):
        ResumableTrainer(other, Schedule(1, 0.1), path=path)
