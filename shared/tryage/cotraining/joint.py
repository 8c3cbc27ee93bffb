"""Joint co-training: the router's head and the experts take their steps on the same loss.

    J(W, M) = mean_z sum_i p_i(z) L(z, M_i)  +  (Q^(z, M_i; W) - L(z, M_i))^2 / n
    p(z)    = softmax(-(Q^(z, .; W) + sum_j lambda_j C_j) / T)

the expected loss of the system and the error of the perception: the joint objective of router and
experts trained end to end (arXiv 2308.11601). The gradient in expert i is p_i(z) times that of its
own loss, so drawing one expert from p(z) for every prompt, and letting it take a plain step,
follows it without a bias; the limit on an expert's share (`assignment.py`) is the one departure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.extras import require

if TYPE_CHECKING:
    import torch

    from tryage.cotraining.learner import Arrays, Floats, Round, Rows


def objective(
    predicted: torch.Tensor,
    penalties: torch.Tensor,
    losses: torch.Tensor,
    rate: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Estimate J, without a bias, from losses with gaps; all are `(batch, n_experts)`.

    `rate` is how probable it was that a loss would be measured. What was not measured is taken as
    predicted, and what was corrects it by `1 / rate` (the doubly robust estimate, Dudik et al.
    2011). Only `predicted` receives a gradient:

        dJ/dQ^_i = -p_i (L_i - sum_k p_k L_k) / T + 2 (Q^_i - L_i) / n,  over the batch
    """
    import torch

    weight = (~losses.isnan()).to(predicted.dtype) / rate
    gap = predicted - losses.nan_to_num()
    estimate = (predicted - weight * gap).detach()
    chance = torch.softmax(-(predicted + penalties) / temperature, dim=1)
    return (chance * estimate).sum(dim=1).mean() + (weight * gap.pow(2)).mean()


class Joint:
    """Draws an expert for each prompt from `p(z)`; head and experts learn in the same step.

    Args:
        n_experts: How many experts there are.
        width: Of the features, `(batch, width)`.
        temperature: T, in nats per character: differences far below it are ignored. It is the
            exploration.
        rate: The learning rate of the head (Adam).
        spread: By how much the first, random predictions differ, in nats per character: experts
            that nothing tells apart would stay alike.
        seed: Of the first predictions.
    """

    def __init__(  # noqa: PLR0913 - sizes, the objective's number and the optimiser's
        self,
        n_experts: int,
        width: int,
        *,
        temperature: float = 0.05,
        rate: float = 0.05,
        spread: float = 0.1,
        seed: int = 0,
    ) -> None:
        require("torch", "train")
        import torch

        self.temperature = temperature
        first = np.random.default_rng(seed).normal(size=(n_experts, width)) * spread
        first[:, -1] = 0.0  # nobody begins ahead of the others on all prompts
        self.head = torch.nn.Parameter(torch.from_numpy(first))
        self._adam = torch.optim.Adam([self.head], lr=rate, betas=(0.9, 0.99))

    def predict(self, x: Floats) -> Floats:
        """Predict the losses `(batch, n_experts)`."""
        return np.asarray(x @ self.head.detach().numpy().T)

    def __call__(self, batch: Round) -> Rows:
        """Return the expert that learns from each prompt, `(batch,)`."""
        # the least of these is a draw from the softmax (Gumbel 1954)
        noise = batch.rng.gumbel(size=(len(batch.rows), len(self.head)))
        chosen = batch.assign(self.predict(batch.x) - self.temperature * noise)
        losses = batch.measure(chosen)
        rate = np.full(losses.shape, batch.others)
        rate[np.arange(len(chosen)), chosen] = 1.0
        self._step(batch.x, batch.penalties, losses, rate)
        return chosen

    def _step(self, x: Floats, *parts: Floats) -> None:
        import torch

        predicted = torch.from_numpy(x) @ self.head.T
        penalties, losses, rates = map(torch.from_numpy, parts)
        value = objective(predicted, penalties, losses, rates, self.temperature)
        self._adam.zero_grad()
        torch.autograd.backward(value)
        self._adam.step()

    def state(self) -> Arrays:
        """Return the head and the optimiser's moments."""
        moments = self._adam.state.get(self.head, {})
        tensors = {"head": self.head.detach(), **moments}
        return {name: tensor.numpy().copy() for name, tensor in tensors.items()}

    def restore(self, state: Arrays) -> None:
        """Go on from what `state` returned."""
        import torch

        tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
        with torch.no_grad():
            self.head.copy_(tensors.pop("head"))
        if tensors:
            self._adam.state[self.head] = tensors
