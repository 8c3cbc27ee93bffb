"""Decoupled co-training: the router learns while the experts hold still, then the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.cotraining.belief import Belief

if TYPE_CHECKING:
    from tryage.cotraining.learner import Arrays, Round, Rows


class Decoupled:
    """Refits the router on what the experts lose now, then sends them the prompts by it.

    With the experts frozen: losses are measured on the prompts of this round, which nobody has
    learned from, and the router's head is refitted in closed form. With the router frozen: the
    prompts go out by a draw from what it believes, and the experts learn. The draw is the
    exploration: where it is unsure it tries, where it is sure it does not.

    Args:
        n_experts: How many experts there are.
        width: Of the features, `(batch, width)`.
        spread: What experts are believed to differ by at first, in nats per character.
        memory: What a measurement counts after another round.
    """

    def __init__(
        self, n_experts: int, width: int, *, spread: float = 0.2, memory: float = 0.9
    ) -> None:
        self.belief = Belief(n_experts, width, spread=spread, memory=memory)

    def __call__(self, batch: Round) -> Rows:
        """Return the expert that learns from each prompt, `(batch,)`."""
        belief = self.belief
        losses = batch.measure(batch.assign(belief.predict(batch.x)))
        belief.learn(batch.x, losses)
        return batch.assign(batch.x @ belief.draw(batch.rng).T)

    def state(self) -> Arrays:
        """Return what is believed."""
        return self.belief.state()

    def restore(self, state: Arrays) -> None:
        """Go on from what `state` returned."""
        self.belief.restore(state)
