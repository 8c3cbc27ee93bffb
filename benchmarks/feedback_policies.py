"""Policies that learn from the feedback on their own choices, for feedback_replay.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tryage.core.library import Library
from tryage.traffic.beliefs import first_belief
from tryage.traffic.learner import Alarm, Learner
from tryage.traffic.records import DecisionRecord, Feedback, LoggedFeedback

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.exploration import Exploration
    from tryage.perception.model import LearnedPerception

    Array = NDArray[np.float64]


class Policy(Protocol):
    """Chooses an expert for a prompt, and learns from the loss of its answer."""

    def probabilities(self, i: int) -> Array:
        """Return the probability of each expert on prompt `i`, `(n_experts,)`."""
        ...

    def update(self, i: int, expert: int, loss: float) -> None:
        """Learn from the loss of one answer."""
        ...

    def greedy(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the expert that looks best on each prompt, `(n,)`."""
        ...


class Beliefs:
    """Predicted losses, from the abilities of a learner, at the positions of all prompts.

    They are what `LearnedPerception.predict_from_positions` returns without shrinkage and without
    the disagreement of estimators.
    """

    def __init__(self, learner: Learner, names: tuple[str, ...], positions: Array) -> None:
        self.learner, self.names, self.positions = learner, names, positions
        n, k = len(names), positions.shape[1]
        self._seen: list[object] = [None] * n
        self._means, self._covariances = np.empty((n, k)), np.empty((n, k, k))
        self._loadings = np.empty((n, k, k))

    def _refresh(self) -> None:
        """Read the beliefs that have changed."""
        for j, name in enumerate(self.names):
            belief = self.learner.state.beliefs.get(name)
            if belief is None:
                belief = self._seen[j] or first_belief(self.learner.prior_ability(name))
            if belief is not self._seen[j]:
                self._seen[j], own = belief, belief.given_common
                self._means[j], self._covariances[j] = own.mean, own.covariance
                self._loadings[j] = belief.loading

    def predict(self, rows: NDArray[np.intp] | list[int]) -> tuple[Array, Array]:
        """Return losses and standard deviations of the means, `(n, n_experts)` each."""
        self._refresh()
        x, common = self.positions[rows], self.learner.state.common
        h = np.einsum("nk,ekl->nel", x, self._loadings)
        y = x @ self._means.T + h @ common.mean
        own = np.einsum("nk,ekl,nl->ne", x, self._covariances, x)
        variances = own + ((h @ common.covariance) * h).sum(axis=2)
        link, best = self.learner.link, y.min(axis=1, keepdims=True)
        return link.losses(y, best), link.std(y, np.sqrt(variances), best)


@dataclass
class Tryage:
    """The router with a log: the learner, exploration if there is any, and probes."""

    perception: LearnedPerception
    names: tuple[str, ...]
    positions: Array
    kinds: list[str]
    exploration: Exploration | None
    with_probes: bool = True
    alarms: list[Alarm] = field(default_factory=list)
    sequence: int = 0

    def __post_init__(self) -> None:
        """Start with what the perception knows."""
        self.learner = Learner(self.perception, Library(self.names))
        self.beliefs = Beliefs(self.learner, self.names, self.positions)
        self.frozen = self.beliefs.predict(list(range(len(self.positions))))[0].argmin(axis=1)

    def probabilities(self, i: int) -> Array:
        """Return the exact propensities."""
        losses, std = self.beliefs.predict([i])
        n, best = len(self.names), int(losses[0].argmin())
        chances = np.eye(n)[best]
        if self.exploration is not None:
            chances = self.exploration.propensities(losses[0], std[0], np.zeros(n))
        if self.with_probes:
            frozen = self.names[self.frozen[i]]
            probes = self.learner.probes(frozen, self.names[best])
            shares = np.array([probes.get(name, 0.0) for name in self.names])
            chances = shares + (1 - shares.sum()) * chances
        self._last = chances
        return np.asarray(chances)

    def update(self, i: int, expert: int, loss: float) -> None:
        """Write a row of the log, and read it."""
        self.sequence += 1
        name, number = self.names[expert], str(self.sequence)
        record = DecisionRecord(
            number,
            float(self.sequence),
            "",
            name,
            float(self._last[expert]),
            candidates=self.names,
            propensities=tuple(self._last.tolist()),
            position=self.positions[i],
            kind=self.kinds[i],
            frozen_choice=self.names[self.frozen[i]],
        )
        feedback = Feedback(number, number, float(self.sequence), 1 - loss, "test")
        self.alarms += self.learner.update([LoggedFeedback(self.sequence, feedback, name, record)])

    def greedy(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the expert of the lowest predicted loss."""
        return np.asarray(self.beliefs.predict(rows)[0].argmin(axis=1))


class Observe:
    """What `Router.observe` did before there was a log: greedy, with the noise of the abilities."""

    def __init__(
        self, perception: LearnedPerception, names: tuple[str, ...], positions: Array
    ) -> None:
        self.positions, self.noise = positions, perception.abilities.noise
        learner = Learner(perception, Library(names))
        self.abilities = [learner.frozen_ability(name) for name in names]

    def greedy(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the expert of the lowest linear prediction."""
        means = np.array([one.mean for one in self.abilities])
        return np.asarray((self.positions[rows] @ means.T).argmin(axis=1))

    def probabilities(self, i: int) -> Array:
        """Return 1 for the best expert."""
        best = self.greedy(np.array([i]))[0]
        return np.asarray(np.eye(len(self.abilities))[best])

    def update(self, i: int, expert: int, loss: float) -> None:
        """Update the ability of the expert that answered."""
        ability = self.abilities[expert]
        position = self.positions[[i]]
        self.abilities[expert] = ability.posterior(position, np.array([loss]), self.noise, 3.0)


class LinearBandit:
    """Ridge regressions of the loss, one for each expert, with geometric forgetting.

    `precision` `(n_experts, k, k)` and `shift` `(n_experts, k)` forget by `gamma` a step, down to
    the prior's. With `gamma` 1 it is what LinUCB (Li et al., 2010) and linear Thompson sampling
    (Agrawal and Goyal, 2013) share.
    """

    def __init__(self, x: Array, n_experts: int, *, gamma: float = 1.0, ridge: float = 1.0) -> None:
        self.x, self.gamma, self.ridge = x, gamma, ridge
        k = x.shape[1]
        self.precision = np.repeat((ridge * np.eye(k))[None], n_experts, axis=0)
        self.shift = np.zeros((n_experts, k))
        self.last = np.zeros(n_experts)
        self.step = 0
        self._refresh(range(n_experts))

    def _refresh(self, experts: range | list[int]) -> None:
        if not hasattr(self, "covariance"):
            self.covariance = np.zeros_like(self.precision)
            self.theta = np.zeros_like(self.shift)
        for j in experts:
            self.covariance[j] = np.linalg.inv(self.precision[j])
            self.theta[j] = self.covariance[j] @ self.shift[j]

    def predict(self, i: int) -> tuple[Array, Array]:
        """Return rewards and standard deviations, `(n_experts,)` each."""
        x = self.x[i]
        variances = np.einsum("k,jkl,l->j", x, self.covariance, x)
        staleness = np.minimum(self.gamma ** -(self.step - self.last), 200)
        return self.theta @ x, np.sqrt(variances * staleness)

    def update(self, i: int, expert: int, loss: float) -> None:
        """Learn from one reward, `1 - loss`."""
        self.step += 1
        decay, x = self.gamma ** (self.step - self.last[expert]), self.x[i]
        identity = (1 - decay) * self.ridge * np.eye(len(x))
        self.precision[expert] = decay * self.precision[expert] + identity + np.outer(x, x)
        self.shift[expert] = decay * self.shift[expert] + (1 - loss) * x
        self.last[expert] = self.step
        self._refresh([expert])

    def greedy(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the expert of the highest expected reward."""
        return np.asarray((self.x[rows] @ self.theta.T).argmax(axis=1))


class EpsilonGreedy(LinearBandit):
    """A tenth of the requests goes to any expert."""

    epsilon = 0.1

    def probabilities(self, i: int) -> Array:
        """Return the mixture of the best expert and all."""
        n = len(self.theta)
        best = np.eye(n)[int(self.predict(i)[0].argmax())]
        return np.asarray((1 - self.epsilon) * best + self.epsilon / n)


class LinUCB(LinearBandit):
    """The highest upper bound; ParetoBandit with `alpha` .05, `gamma` .997 and 25 components."""

    def __init__(self, x: Array, n_experts: int, alpha: float, gamma: float = 1.0) -> None:
        super().__init__(x, n_experts, gamma=gamma)
        self.alpha = alpha
        self.penalties = np.zeros(n_experts)
        self._random = np.random.default_rng(0)

    def probabilities(self, i: int) -> Array:
        """Return 1 for the highest bound; ties are drawn."""
        mean, std = self.predict(i)
        bounds = mean + self.alpha * std - self.penalties
        ties = np.flatnonzero(bounds >= bounds.max() - 1e-12)
        return np.asarray(np.eye(len(mean))[int(self._random.choice(ties))])


class PacedLinUCB(LinUCB):
    """ParetoBandit with its pacer: costs are penalized while the mean cost exceeds the target.

    Dual ascent on a moving average, with the rates that are published with it.
    """

    def __init__(self, x: Array, costs: Array, target: float) -> None:
        super().__init__(x, costs.shape[1], alpha=0.05, gamma=0.997)
        self.costs, self.target = costs, target
        self.mean_cost, self.dual = target, 0.0
        self.normalized = costs.mean(axis=0) / costs.mean(axis=0).max()

    def update(self, i: int, expert: int, loss: float) -> None:
        """Learn from the reward and from the cost."""
        super().update(i, expert, loss)
        self.mean_cost += 0.05 * (self.costs[i, expert] - self.mean_cost)
        self.dual = float(np.clip(self.dual + 0.05 * (self.mean_cost / self.target - 1), 0, 5))
        self.penalties = self.dual * self.normalized


class Thompson(LinearBandit):
    """Posterior sampling with a wide prior that knows nothing of the experts."""

    def __init__(self, x: Array, n_experts: int, noise: float, seed: int) -> None:
        super().__init__(x, n_experts)
        self.noise, self._random = noise, np.random.default_rng(seed)

    def probabilities(self, i: int) -> Array:
        """Return 1 for the best of one sample."""
        mean, std = self.predict(i)
        sample = mean + self.noise * std * self._random.normal(size=len(mean))
        return np.asarray(np.eye(len(mean))[int(sample.argmax())])
