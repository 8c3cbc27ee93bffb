"""How many questions settle what new models are good at: recorded outcomes, asked again.

    python benchmarks/onboarding.py [--sets metabench ...] [--seeds 5] [--cache build/onboarding]

The families of some models are left out of a router (`onboarding_sets.py`). Then these models are
asked questions of a pool, up to fifty each; other prompts judge. Compared are

- prior: what the models' names and facts tell;
- plain mean: the mean of as many answers to random questions, the same for all prompts;
- before: our belief after random questions, other ones for each model, as of earlier versions;
- random: the same with the level of the answers;
- adaptive: `tryage onboard`;
- retrained: the router that learned from all models on all prompts but those that judge.

*Level* is the mean absolute error of a model's mean loss. *Routed* is the mean loss of the best new
model by each prediction, and *gain* which share of the retrained router's gain over the prior is
reached, in routed loss and in squared error, from the sums over the seeds. Each seed is the mean of
four draws of random questions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from datasets import ABSENT, available
from onboarding_sets import NAMES, Replay, read_replay

from tryage.onboarding.belief import AbilityBelief, QuestionPlaces
from tryage.onboarding.selection import TypicalChoices, choose_questions
from tryage.perception.abilities import Gaussian

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COUNTS = (5, 10, 20, 50)
LONG_COUNTS = (*COUNTS, 100, 300)  # for the level, without choosing questions
BATCH = 5
DRAWS = 4  # of random questions, and of the order of the representative ones
MAX_MODELS, MAX_POOL, MAX_TYPICAL = 8, 400, 64


class Figures(NamedTuple):
    """Level error, routed loss and mean squared error of a prediction."""

    level: float
    routed: float
    squared: float


class Trial:
    """A replay cut to the size of a user's test, with its positions in the ability space."""

    def __init__(self, replay: Replay, seed: int) -> None:
        rng = np.random.default_rng(seed)
        models = np.sort(rng.permutation(len(replay.new))[:MAX_MODELS])
        pool = np.sort(rng.permutation(len(replay.pool))[:MAX_POOL])
        self.priors = [replay.priors[i] for i in models]
        self.losses = replay.pool_losses[np.ix_(pool, models)]
        self.truth = replay.test_losses[:, models]
        self.retrained = replay.retrained[:, models]
        self.link, self.noise = replay.perception.link, replay.perception.abilities.noise
        self.pool = replay.perception.latent_positions([replay.pool[i] for i in pool])
        self.test = replay.perception.latent_positions(replay.test)
        self.rng = np.random.default_rng(seed)

    def predict(self, means: Floats) -> Floats:
        """Return the predicted losses of the judging prompts, `(n_test, n_models)`."""
        y = self.test @ means.T
        return np.asarray(self.link.losses(y, y.min(axis=1, keepdims=True)))

    def judge(self, predicted: Floats) -> Figures:
        """Compare predicted losses `(n_test, n_models)` with the recorded ones."""
        is_known = ~np.isnan(self.truth)
        n = np.maximum(is_known.sum(axis=0), 1)
        difference = np.where(is_known, predicted - self.truth, 0.0)
        rows = np.flatnonzero(is_known.any(axis=1))
        chosen = np.where(is_known, predicted, np.inf)[rows].argmin(axis=1)
        return Figures(
            float(np.abs(difference.sum(axis=0) / n).mean()),
            float(self.truth[rows, chosen].mean()),
            float((difference**2).sum() / is_known.sum()),
        )


Method: TypeAlias = "Callable[[Trial], dict[int, Figures]]"


def ask_plain_mean(trial: Trial) -> dict[int, Figures]:
    """Predict the mean of the first answers to random questions for every prompt."""
    orders = [_random_order(trial, m) for m in range(len(trial.priors))]
    found = {}
    for count in LONG_COUNTS:
        means = [trial.losses[order[:count], m].mean() for m, order in enumerate(orders)]
        found[count] = trial.judge(np.tile(means, (len(trial.truth), 1)))
    return found


def ask_random(trial: Trial, *, with_level: bool = True) -> dict[int, Figures]:
    """Learn from random questions, other ones for each model."""
    orders = [_random_order(trial, m) for m in range(len(trial.priors))]
    found = {}
    for count in LONG_COUNTS:
        means = [
            _learn(trial, prior, order[:count], m, with_level=with_level)
            for m, (prior, order) in enumerate(zip(trial.priors, orders, strict=True))
        ]
        found[count] = trial.judge(trial.predict(np.array(means)))
    return found


def ask_as_before(trial: Trial) -> dict[int, Figures]:
    """Learn from random questions without a correction of the level, as earlier versions did."""
    return ask_random(trial, with_level=False)


def _learn(
    trial: Trial, prior: Gaussian, rows: NDArray[np.intp], model: int, *, with_level: bool
) -> Floats:
    """Return the ability that `Router.onboard` learns from some answers."""
    positions, losses = trial.pool[rows], trial.losses[rows, model]
    mean = prior.posterior(positions, losses, trial.noise).mean.copy()
    if with_level:
        mean[0] += trial.link.level_shift(positions @ mean, losses, trial.noise)
    return mean


def ask_adaptive(trial: Trial) -> dict[int, Figures]:
    """Learn from the questions that `tryage onboard` chooses, the same for all models."""
    places = QuestionPlaces.from_text(trial.pool, trial.link, trial.noise, trial.priors)
    belief = AbilityBelief(trial.priors, places)
    n = len(trial.priors)
    rows = trial.rng.permutation(len(trial.pool))
    typical = trial.pool[np.sort(rows[:MAX_TYPICAL])]
    choices = TypicalChoices(
        typical, np.zeros((len(typical), n)), np.full(len(typical), np.inf), trial.link
    )
    can_answer = ~np.isnan(trial.losses)
    n_answers = np.zeros(n, np.intp)
    found = {}
    for count in COUNTS:
        while True:
            is_asked = can_answer & (n_answers < count)
            questions = choose_questions(belief, choices, is_asked, BATCH, rows.tolist())
            if not questions:
                break
            for question in questions:
                models = np.flatnonzero(is_asked[question] & (n_answers < count))
                if models.size:
                    losses = {m: trial.losses[question, m] for m in models.tolist()}
                    belief.update(question, losses)
                can_answer[question, models] = False
                n_answers[models] += 1
        abilities = [belief.calibrated_ability(m, trial.link) for m in range(n)]
        found[count] = trial.judge(trial.predict(np.array([one.mean for one in abilities])))
    return found


METHODS: dict[str, Method] = {
    "plain mean": ask_plain_mean,
    "before": ask_as_before,
    "random": ask_random,
    "adaptive": ask_adaptive,
}


def _random_order(trial: Trial, model: int) -> NDArray[np.intp]:
    return trial.rng.permutation(np.flatnonzero(~np.isnan(trial.losses[:, model])))


def evaluate(name: str, seeds: int, cache: Path, methods: Sequence[str]) -> dict[str, Floats]:
    """Return the figures of a set by method, `(seeds, counts, 3)`; prior and retrained once."""
    rows: dict[str, list[Floats]] = {}
    for seed in range(seeds):
        trial = Trial(read_replay(name, seed, cache), seed)
        prior = trial.judge(trial.predict(np.array([one.mean for one in trial.priors])))
        rows.setdefault("prior", []).append(np.array([prior]))
        rows.setdefault("retrained", []).append(np.array([trial.judge(trial.retrained)]))
        for method in methods:
            draws = []
            for draw in range(DRAWS):  # the same random questions for each method
                trial.rng = np.random.default_rng((seed, draw))
                draws.append(np.array(list(METHODS[method](trial).values())))
            rows.setdefault(method, []).append(np.mean(draws, axis=0))
    return {method: np.array(values) for method, values in rows.items()}


def gains(figures: dict[str, Floats], method: str, column: int) -> Floats:
    """Return the share of the retrained router's gain over the prior after `COUNTS` answers."""
    prior, full = (figures[one][:, 0, column].mean() for one in ("prior", "retrained"))
    mean = figures[method][:, : len(COUNTS), column].mean(axis=0)
    return np.asarray((prior - mean) / (prior - full))


def pooled(all_figures: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """Return the figures of all sets, every set with the same weight."""
    return {name: np.mean([one[name] for one in all_figures], axis=0) for name in all_figures[0]}


def table(results: dict[str, dict[str, Floats]], methods: Sequence[str]) -> str:
    """Return the figures of all sets as a Markdown table."""
    lines = [
        "| set | method | level after 5 / 10 / 20 / 50 | routed loss after 5 / 10 / 20 / 50 | "
        "gain in routed loss | gain in squared error |",
        "|---" * 6 + "|",
    ]
    for name, figures in results.items():
        for once in ("prior", "retrained"):
            level, routed, _ = figures[once][:, 0].mean(axis=0)
            lines.append(f"| {name} | {once} | {level:.3f} | {routed:.4f} | | |")
        for method in methods:
            mean = figures[method][:, : len(COUNTS)].mean(axis=0)
            cells = [
                " / ".join(f"{value:.3f}" for value in mean[:, 0]),
                " / ".join(f"{value:.4f}" for value in mean[:, 1]),
                *(
                    " / ".join(f"{value:.2f}" for value in gains(figures, method, column))
                    for column in (1, 2)
                ),
            ]
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def update_time(k: int = 33, n_models: int = 4, n_answers: int = 200) -> float:
    """Return the median milliseconds of one update of the joint belief."""
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(50, k))
    places = QuestionPlaces(positions, np.full(50, 0.08), np.full(50, 0.12))
    belief = AbilityBelief([Gaussian(np.zeros(k), np.eye(k))] * n_models, places)
    spent = []
    for i in range(n_answers):
        start = time.perf_counter()
        belief.update(i // n_models, {i % n_models: 0.5})
        spent.append(time.perf_counter() - start)
    return 1e3 * float(np.median(spent))


def noise_shares(names: Sequence[str], cache: Path) -> str:
    """Return which share of the noise of known models on judging prompts they have in common."""
    lines = ["| set | shared noise |", "|---|---|"]
    for name in names:
        replay = read_replay(name, 0, cache)
        perception = replay.perception
        y = perception.latent_positions(replay.test) @ perception.abilities.means.T
        residuals = replay.test_known - perception.link.losses(y, y.min(axis=1, keepdims=True))
        lines.append(f"| {name} | {_shared_share(residuals):.2f} |")
    return "\n".join(lines)


def _shared_share(residuals: Floats) -> float:
    """Return the mean covariance of two models' residuals on a prompt, over their variance.

    `residuals` is `(n_prompts, n_models)` with gaps.
    """
    is_known = ~np.isnan(residuals)
    values, n = np.where(is_known, residuals, 0.0), is_known.sum(axis=1)
    squares = (values**2).sum(axis=1)
    products = values.sum(axis=1) ** 2 - squares  # of all ordered pairs
    pairs = (n * (n - 1)).sum()
    return float(products.sum() / pairs / (squares.sum() / n.sum()))


def main() -> None:
    """Evaluate the sets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("build/onboarding"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--noise", action="store_true", help="how much noise models share")
    options = parser.parse_args()
    if not available():
        sys.exit(ABSENT)
    results = {
        name: evaluate(name, options.seeds, options.cache, options.methods) for name in options.sets
    }
    results["all"] = pooled(list(results.values()))
    print(table(results, options.methods))
    for method in options.methods:
        if results["all"][method].shape[1] > len(COUNTS):
            level = results["all"][method][:, -1, 0].mean()
            print(f"Level after {LONG_COUNTS[-1]} answers, {method}: {level:.4f}")
    print(f"One update of the belief about four models: {update_time():.2f} ms (median)")
    if options.noise:
        print(noise_shares(options.sets, options.cache))
    if options.json:
        plain = {n: {m: v.tolist() for m, v in f.items()} for n, f in results.items()}
        options.json.write_text(json.dumps(plain))


if __name__ == "__main__":
    main()
