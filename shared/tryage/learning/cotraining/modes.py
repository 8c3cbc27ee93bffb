"""Modes of co-training: which expert learns from which prompt, and what the router learns.

`Decoupled` and `Joint` train a router, `ByLabel` and `AtRandom` train the experts alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.learning.cotraining.protocols import Arrays, TrainingRound

_RIDGE_PENALTY = 1e-2  # of the shared weights; features without data so far stay at zero

_INITIAL_NOISE_VARIANCE = 0.05  # before any loss was measured, squared nats per character

_MIN_NOISE_VARIANCE = 1e-4


class Decoupled:
    """Refits the router on the experts' current losses, then assigns the prompts by it.

    First the experts are frozen: losses are measured on the prompts of this round, which no expert
    has seen yet, and the router's head is refitted in closed form. Then the router is frozen: the
    prompts are assigned by a draw from its posterior, and the experts learn. The draw is the
    exploration: the router tries experts where it is uncertain, and not where it is certain.

    Args:
        n_experts: The number of experts.
        n_features: The number of features of a prompt.
        prior_std: How much experts are expected to differ at first, in nats per character.
        forgetting_factor: The weight of a measurement one round later.
    """

    def __init__(
        self,
        n_experts: int,
        n_features: int,
        *,
        prior_std: float = 0.2,
        forgetting_factor: float = 0.9,
    ) -> None:
        self.belief = BayesianLinear(
            n_experts, n_features, prior_std=prior_std, forgetting_factor=forgetting_factor
        )

    def __call__(self, batch: TrainingRound) -> IndexArray:
        """Return the expert that learns from each prompt, `(batch,)`."""
        belief = self.belief
        losses = batch.measure(batch.assign(belief.predict(batch.x)))
        belief.update(batch.x, losses)
        return batch.assign(batch.x @ belief.sample(batch.rng).T)

    def state(self) -> Arrays:
        """Return the sums of the posterior."""
        return self.belief.state()

    def restore(self, state: Arrays) -> None:
        """Restore what `state` returned."""
        self.belief.restore(state)


class BayesianLinear:
    """A Bayesian linear model of the losses: `L_i = (w + v_i) . x + noise`.

    The shared weights `w` follow what all experts lose; each expert has a Gaussian posterior over
    its difference `v_i` `(n_features,)`. `prior_std` is the standard deviation of these differences
    before anything is measured, in nats per character; `forgetting_factor` is the weight of a
    measurement one round later.
    """

    def __init__(
        self, n_experts: int, n_features: int, *, prior_std: float, forgetting_factor: float
    ) -> None:
        self.prior_std, self.forgetting_factor = prior_std, forgetting_factor
        self._gram, self._moment = np.zeros((n_features, n_features)), np.zeros(n_features)
        self._grams = np.zeros((n_experts, n_features, n_features))
        self._moments = np.zeros((n_experts, n_features))
        self._squared_error, self._count = _INITIAL_NOISE_VARIANCE, 1.0

    def update(self, x: FloatArray, losses: FloatArray) -> None:
        """Learn from losses `(batch, n_experts)` with gaps, at features `(batch, n_features)`."""
        decay = self.forgetting_factor
        is_measured = ~np.isnan(losses)
        filled_losses = np.where(is_measured, losses, 0.0)
        self._gram = decay * self._gram + (x * is_measured.sum(axis=1)[:, None]).T @ x
        self._moment = decay * self._moment + x.T @ filled_losses.sum(axis=1)
        residuals = np.where(is_measured, losses - (x @ self.shared_mean())[:, None], 0.0)
        errors = np.where(is_measured, residuals - x @ self.expert_means().T, 0.0)
        self._squared_error = decay * self._squared_error + float((errors**2).sum())
        self._count = decay * self._count + float(is_measured.sum())
        for i, rows in enumerate(is_measured.T):
            self._grams[i] = decay * self._grams[i] + x[rows].T @ x[rows]
            self._moments[i] = decay * self._moments[i] + x[rows].T @ residuals[rows, i]

    @property
    def noise_variance(self) -> float:
        """The variance of a loss around its prediction, made before the loss was measured."""
        return max(self._squared_error / self._count, _MIN_NOISE_VARIANCE)

    def shared_mean(self) -> FloatArray:
        """Return the mean of `w`, `(n_features,)`."""
        ridge = _RIDGE_PENALTY * np.eye(len(self._gram))
        return np.asarray(np.linalg.solve(self._gram + ridge, self._moment))

    def expert_means(self) -> FloatArray:
        """Return the means of the `v_i`, `(n_experts, n_features)`."""
        moments = self._moments[..., None] / self.noise_variance
        return np.asarray(np.linalg.solve(self._precisions(), moments)[..., 0])

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """Draw all `v_i` from the posterior, `(n_experts, n_features)`, once for a whole round.

        So similar prompts get the same expert even while nothing is known (Thompson sampling).
        """
        means, cholesky_factor = self.expert_means(), np.linalg.cholesky(self._precisions())
        noise = rng.normal(size=means.shape)[..., None]
        return means + np.linalg.solve(np.swapaxes(cholesky_factor, 1, 2), noise)[..., 0]

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict the losses `(batch, n_experts)` at features `(batch, n_features)`."""
        return np.asarray(x @ (self.shared_mean() + self.expert_means()).T)

    def _precisions(self) -> FloatArray:
        identity = np.eye(self._grams.shape[1])
        return np.asarray(self._grams / self.noise_variance + identity / self.prior_std**2)

    def state(self) -> Arrays:
        """Return the sums that determine the posterior."""
        return {
            "gram": self._gram,
            "moment": self._moment,
            "grams": self._grams,
            "moments": self._moments,
            "noise": np.array([self._squared_error, self._count]),
        }

    def restore(self, state: Arrays) -> None:
        """Restore what `state` returned."""
        self._gram, self._moment = state["gram"], state["moment"]
        self._grams, self._moments = state["grams"].copy(), state["moments"].copy()
        self._squared_error, self._count = map(float, state["noise"])


class Joint:
    """Draws an expert for each prompt from `p(z)`; head and experts learn in the same step.

    Args:
        n_experts: The number of experts.
        n_features: The number of features of a prompt.
        temperature: T, in nats per character; it decides the exploration. Differences far below it
            are ignored.
        learning_rate: The learning rate of the head (Adam).
        init_std: How much the first, random predictions differ, in nats per character: experts
            with equal predictions would stay alike.
        seed: The seed of the first predictions.
    """

    def __init__(  # noqa: PLR0913 - sizes, and the numbers of objective and optimizer
        self,
        n_experts: int,
        n_features: int,
        *,
        temperature: float = 0.05,
        learning_rate: float = 0.05,
        init_std: float = 0.1,
        seed: int = 0,
    ) -> None:
        require_extra("torch", "train")
        import torch

        self.temperature = temperature
        initial_weights = (
            np.random.default_rng(seed).normal(size=(n_experts, n_features)) * init_std
        )
        initial_weights[:, -1] = 0.0  # no expert starts ahead of the others on all prompts
        self.head = torch.nn.Parameter(torch.from_numpy(initial_weights))
        self._optimizer = torch.optim.Adam([self.head], lr=learning_rate, betas=(0.9, 0.99))

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict the losses `(batch, n_experts)`."""
        return np.asarray(x @ self.head.detach().numpy().T)

    def __call__(self, batch: TrainingRound) -> IndexArray:
        """Return the expert that learns from each prompt, `(batch,)`."""
        # the minimum of predictions with this noise is a draw from the softmax (Gumbel 1954)
        noise = batch.rng.gumbel(size=(len(batch.rows), len(self.head)))
        assignment = batch.assign(self.predict(batch.x) - self.temperature * noise)
        losses = batch.measure(assignment)
        propensity = np.full(losses.shape, batch.exploration_rate)
        propensity[np.arange(len(assignment)), assignment] = 1.0
        self._gradient_step(batch.x, batch.penalties, losses, propensity)
        return assignment

    def _gradient_step(self, x: FloatArray, *arrays: FloatArray) -> None:
        import torch

        predictions = torch.from_numpy(x) @ self.head.T
        penalties, losses, propensity = map(torch.from_numpy, arrays)
        objective = joint_objective(predictions, penalties, losses, propensity, self.temperature)
        self._optimizer.zero_grad()
        torch.autograd.backward(objective)
        self._optimizer.step()

    def state(self) -> Arrays:
        """Return the head and the optimizer's moments."""
        moments = self._optimizer.state.get(self.head, {})
        tensors = {"head": self.head.detach(), **moments}
        return {name: tensor.numpy().copy() for name, tensor in tensors.items()}

    def restore(self, state: Arrays) -> None:
        """Restore what `state` returned."""
        import torch

        tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
        with torch.no_grad():
            self.head.copy_(tensors.pop("head"))
        if tensors:
            self._optimizer.state[self.head] = tensors


def joint_objective(
    predictions: torch.Tensor,
    penalties: torch.Tensor,
    losses: torch.Tensor,
    propensity: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Estimate J, without a bias, from losses with gaps; all are `(batch, n_experts)`.

    `propensity` is the probability that a loss was measured. A loss that was not measured is
    replaced by its prediction; a measured loss corrects the prediction, weighted by
    `1 / propensity` (the doubly robust estimate, Dudik et al. 2011). Only `predictions` receive a
    gradient:

        dJ/dQ^_i = -p_i (L_i - sum_k p_k L_k) / T + 2 (Q^_i - L_i) / n,  over the batch
    """
    import torch

    weight = (~losses.isnan()).to(predictions.dtype) / propensity
    errors = predictions - losses.nan_to_num()
    loss_estimates = (predictions - weight * errors).detach()
    probabilities = torch.softmax(-(predictions + penalties) / temperature, dim=1)
    return (probabilities * loss_estimates).sum(dim=1).mean() + (weight * errors.pow(2)).mean()


class _StatelessMode:
    """A mode that learns nothing and has no state."""

    def state(self) -> Arrays:
        """Return nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Do nothing."""


class ByLabel(_StatelessMode):
    """Each expert learns from the prompts of its own domains, by their true labels.

    `labels` has one label per prompt of the pool; domains are assigned to `n_experts` in turn.

    Raises:
        InputError: there are no labels.
    """

    def __init__(self, labels: Sequence[str], n_experts: int) -> None:
        if not labels:
            raise InputError("No labels were given; give the domain of every prompt.")
        self._expert_of_row = np.unique(np.array(labels), return_inverse=True)[1] % n_experts

    def __call__(self, batch: TrainingRound) -> IndexArray:
        """Return the expert that learns from each prompt, `(batch,)`."""
        return np.asarray(self._expert_of_row[batch.rows], np.intp)


class AtRandom(_StatelessMode):
    """Each prompt goes to an expert drawn at random; with one expert, all go to it."""

    def __init__(self, n_experts: int) -> None:
        self._n_experts = n_experts

    def __call__(self, batch: TrainingRound) -> IndexArray:
        """Return the expert that learns from each prompt, `(batch,)`."""
        return np.asarray(batch.rng.integers(self._n_experts, size=len(batch.rows)), np.intp)


def balanced_assignment(totals: FloatArray, slack: float) -> IndexArray:
    """Return the expert per prompt `(batch,)` with the least sum of `totals` `(batch, n_experts)`.

    An expert gets at most `slack` times an equal share. Without such a limit, an expert that is a
    little ahead gets more prompts, learns more, and is further ahead, until it gets all of them.
    With a slack of 1 all experts get the same number (the balanced assignment of BASE layers, Lewis
    et al. 2021); with a slack of at least the number of experts there is no limit.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    batch, n_experts = totals.shape
    capacity = math.ceil(slack * batch / n_experts)
    if capacity >= batch:
        return np.asarray(totals.argmin(axis=1), np.intp)
    require_extra("scipy", "train")
    from scipy.optimize import linear_sum_assignment

    slots = linear_sum_assignment(np.repeat(totals, capacity, axis=1))[1]
    return np.asarray(slots // capacity, np.intp)


def effective_experts(shares: FloatArray) -> float:
    """Return the effective number of experts: exp of the entropy of their shares.

    It is 1 if one expert gets everything, and the number of experts if all get the same.
    """
    probabilities = shares[shares > 0] / shares.sum()
    return float(np.exp(-(probabilities * np.log(probabilities)).sum()))
