"""What a router predicts for models of 2025 and 2026 that it has never seen, in every outcome set.

    python benchmarks/unseen_models.py [ROUTER_FOLDER] [--seeds 5]

A maker's generation (gpt-5, 5.1 ... 5.6) is left out at a time: the prior is fitted to the router's
other experts, and predicts each model of the generation in all sets. Three kinds of knowledge:

- facts: what public tables say of a name (price, release, published results);
- price and date: the same without published results;
- name: nothing of the generation is in any table; older models of the family are.

Compared with the order by release date and price, with the rating by blind votes, and with chance.
The space of abilities and the place of each prompt in it come from the router, which has seen the
generation; the prior has not. Sets from which no router in the package may learn are marked.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import ABSENT, SETS, available, load
from scipy.stats import rankdata, spearmanr

from tryage import Expert, Library, Router
from tryage.learning.training.metadata_prior import fit_metadata_prior
from tryage.models.names import parse_model_name
from tryage.models.relatives import expected_facts
from tryage.perception.metadata import NUMERIC_FEATURES, metadata_features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.perception.metadata import MetadataFeatures
    from tryage.perception.metadata_prior import MetadataPrior

    Floats = NDArray[np.float64]
    Result = Mapping[str, tuple[float, float]]

HARD = (
    *("livecodebench", "lechmazur_generalization", "pm_llm_v22", "creative_writing_v3"),
    *("longform_writing", "sql_scale", "misguided_attention", "terminal_bench_011"),
    "coderouter_id",
)
OTHERS = ("textclass", "zoonk_tasks", "zoonk_battles", "diabetes_rag_fr")

EPOCH = datetime.date(2023, 1, 1).toordinal()
FIRST_YEAR = 2.0  # years since then
MIN_ANSWERS = 10  # of a model in a set
MIN_MODELS = 4  # of a set; fewer have no order to speak of
MAX_PROMPTS = 400  # of a set, for routing
KINDS = ("facts", "price and date", "name")
AGE, PRICE, INDEX, RATING = (
    NUMERIC_FEATURES.index(name) for name in ("age", "price", "index", "rating")
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of an outcome set, its generation, and its numbers for each kind of knowledge."""

    name: str
    generation: str
    features: Mapping[str, MetadataFeatures]


@dataclass(frozen=True, slots=True)
class Contest:
    """The recent models of one set: their losses, and where its prompts lie in ability space."""

    name: str
    models: tuple[Model, ...]
    losses: Floats
    positions: Floats


# --- the models -------------------------------------------------------------------------------


@cache
def generation_of(name: str) -> str:
    """Return a maker's generation: "gpt 5" of "gpt-5.4-mini"; the name itself if it tells none."""
    spelling = parse_model_name(name.rpartition("/")[2])
    if spelling is None or spelling.family is None or not spelling.generation:
        return name
    return f"{spelling.family} {spelling.generation[0]}"


@cache
def describe(name: str) -> Model:
    """Return a model as it is known from public tables, without results, and by its name alone."""
    generation = generation_of(name)
    known = metadata_features(Library([name]))
    numbers = known.numeric.copy()
    numbers[:, [INDEX, RATING]] = np.nan
    kinds = {KINDS[0]: known, KINDS[1]: replace(known, numeric=numbers)}
    return Model(name, generation, {**kinds, KINDS[2]: name_alone(name, generation)})


def is_recent(model: Model) -> bool:
    """Return whether a public table says that a model is of 2025 or later."""
    known = model.features["facts"]
    return bool(known.numeric[0, AGE] > FIRST_YEAR and not known.is_expected[0])


def name_alone(name: str, generation: str) -> MetadataFeatures:
    """Return the features of a model of whose generation no table says anything."""
    expected = expected_facts(name, is_usable=lambda one: generation_of(one) != generation)
    spelling = parse_model_name(name)
    stranger = {"hub": {}}  # as of a catalogue, whose experts are not looked up in public tables
    features = metadata_features(
        Library([Expert(name, parameters=spelling and spelling.size, metadata=stranger)])
    )
    if expected is None:
        return features
    numbers = features.numeric.copy()
    numbers[0, AGE] = (
        np.nan if expected.released is None else (expected.released - 738_521) / 365.25
    )
    numbers[0, PRICE] = np.nan if expected.output_price is None else np.log10(expected.output_price)
    return replace(features, numeric=numbers, is_expected=np.array([True]))


def contest(router: Router, name: str, seed: int) -> Contest:
    """Read the recent models of a set, on a random half of its prompts."""
    table = load(name)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(table))[: len(table) // 2 or 1])
    table = table.take(rows if len(table) > 60 else np.arange(len(table)))
    answers = table.measured.sum(axis=0)
    models = [describe(expert) for expert in table.experts]
    kept = [i for i, model in enumerate(models) if answers[i] >= MIN_ANSWERS and is_recent(model)]
    losses = table.losses[:, kept].astype(np.float64)
    used = np.flatnonzero((~np.isnan(losses)).sum(axis=1) >= min(2, len(kept)))
    sample = np.sort(rng.permutation(used)[:MAX_PROMPTS])
    prompts = [table.prompts[i] for i in sample]
    positions = router.perception.latent_positions(prompts)
    return Contest(name, tuple(models[i] for i in kept), losses[sample], positions)


def mean_losses(losses: Floats) -> Floats:
    """Return each model's mean loss, corrected for the prompts that it was given, `(n_models,)`.

    Least squares of a model effect and a prompt effect.
    """
    is_known = ~np.isnan(losses)
    values, effect = np.where(is_known, losses, 0.0), np.zeros(losses.shape[1])
    for _ in range(30):
        prompt = ((values - effect) * is_known).sum(axis=1) / (is_known.sum(axis=1) + 0.5)
        effect = ((values - prompt[:, None]) * is_known).sum(axis=0) / (is_known.sum(axis=0) + 1)
    return effect


# --- predictions ------------------------------------------------------------------------------


class UnseenModels:
    """Predicts models by priors that were fitted without their generation."""

    def __init__(self, router: Router) -> None:
        self._abilities = router.perception.abilities
        names = router.perception.experts
        self._library = router.library.subset(list(names))
        self._generations = np.array([generation_of(name) for name in names])
        self._priors: dict[str, MetadataPrior] = {}

    def prior(self, generation: str) -> MetadataPrior:
        """Return the prior that was fitted without a generation."""
        if generation not in self._priors:
            kept = np.flatnonzero(self._generations != generation)
            self._priors[generation] = fit_metadata_prior(
                metadata_features(self._library.subset(kept)), self._abilities.take(kept.tolist())
            )
        return self._priors[generation]

    def abilities(self, models: Sequence[Model], kind: str) -> Floats:
        """Return the expected ability of every model, `(n_models, k)`."""
        return np.array(
            [self.prior(one.generation).predict(one.features[kind])[0].mean for one in models]
        )

    def held(self, found: Contest, kind: str, deviations: float) -> float:
        """Return how often a model's mean loss lies within so many deviations of its prediction.

        Only differences between models count: sets score on scales of their own.
        """
        place = found.positions.mean(axis=0)
        beliefs = [
            self.prior(one.generation).predict(one.features[kind])[0] for one in found.models
        ]
        mean = np.array([belief.mean @ place for belief in beliefs])
        std = np.sqrt([place @ belief.covariance @ place for belief in beliefs])
        error = mean_losses(found.losses) - mean
        return float((np.abs(error - error.mean()) < deviations * std).mean())


def baselines(models: Sequence[Model]) -> dict[str, Floats]:
    """Return what simple rules say of each model's loss, `(n_models,)`; unknown is the middle."""
    numbers = np.concatenate([one.features["facts"].numeric for one in models])
    ranks = [_rank(numbers[:, column]) for column in (AGE, PRICE)]
    return {"release + price": -sum(ranks), "rating": -_rank(numbers[:, RATING])}


def _rank(values: Floats) -> Floats:
    """Return ranks from 0 to 1; an unknown value is in the middle."""
    ranks = np.full(len(values), 0.5)
    known = ~np.isnan(values)
    if known.sum() > 1:
        ranks[known] = (rankdata(values[known]) - 1) / (known.sum() - 1)
    return ranks


def routed(found: Contest, predicted: Floats) -> float:
    """Return the mean score of the model with the lowest `predicted` loss `(n_prompts, n)`."""
    masked = np.where(np.isnan(found.losses), np.inf, predicted)
    chosen = masked.argmin(axis=1)
    return float(1 - found.losses[np.arange(len(chosen)), chosen].mean())


def judge(found: Contest, unseen: UnseenModels) -> Result:
    """Return of every method the rank correlation with the true order, and the score routed."""
    truth = mean_losses(found.losses)
    rules = baselines(found.models)
    predicted = {
        kind: found.positions @ unseen.abilities(found.models, kind).T for kind in KINDS
    } | {name: np.tile(rule, (len(found.losses), 1)) for name, rule in rules.items()}
    results = {
        name: (float(spearmanr(losses.mean(axis=0), truth)[0]), routed(found, losses))
        for name, losses in predicted.items()
    }
    best = routed(found, np.tile(truth, (len(found.losses), 1)))
    chance = float(1 - np.nanmean(found.losses, axis=1).mean())
    return results | {"best single": (1.0, best), "random": (0.0, chance)}


# --- report -----------------------------------------------------------------------------------


def report(results: Mapping[str, list[Result]], sizes: Mapping[str, int]) -> str:
    """Write a table of rank correlations and one of scores: means and deviations over seeds."""
    methods = list(next(iter(results.values()))[0])
    tables = []
    for part, title in enumerate(("Spearman", "Score routed among unseen models")):
        shown = methods if part else methods[:-2]
        lines = [f"| {title} | models | {' | '.join(shown)} |", "|---" * (len(shown) + 2) + "|"]
        means = []
        for name, seeds in results.items():
            values = np.array([[one[method][part] for method in shown] for one in seeds])
            cells = [
                f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), values.std(0), strict=True)
            ]
            mark = name if SETS[name].permissive else f"{name} *"
            lines.append(f"| {mark} | {sizes[name]} | {' | '.join(cells)} |")
            means.append(values.mean(axis=0))
        cells = [f"{mean:.3f}" for mean in np.mean(means, axis=0)]
        lines.append(f"| mean | | {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def main() -> None:
    """Judge all sets with several seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if not available():
        sys.exit(ABSENT)
    router = Router.from_pretrained(options.router) if options.router else Router.from_pretrained()
    unseen = UnseenModels(router)
    for names, title in ((HARD, "Hard sets"), (OTHERS, "Other sets")):
        results: dict[str, list[Result]] = {}
        sizes = {}
        for name in names:
            for seed in range(options.seeds):
                found = contest(router, name, seed)
                if len(found.models) < MIN_MODELS:
                    continue
                sizes[name] = len(found.models)
                results.setdefault(name, []).append(judge(found, unseen))
        print(f"\n{title}\n\n{report(results, sizes)}", flush=True)
    print(f"\n{coverage([contest(router, name, 0) for name in (*HARD, *OTHERS)], unseen)}")


def coverage(contests: Sequence[Contest], unseen: UnseenModels) -> str:
    """Write how often intervals hold the mean loss of a model in a set, mean over the sets."""
    levels = {"50%": 0.6745, "80%": 1.2816, "95%": 1.96}
    lines = [
        f"| knowledge | {' | '.join(f'{name} hold' for name in levels)} |",
        "|---|---|---|---|",
    ]
    judged = [found for found in contests if len(found.models) >= MIN_MODELS]
    for kind in KINDS:
        shares = [np.mean([unseen.held(one, kind, z) for one in judged]) for z in levels.values()]
        lines.append(f"| {kind} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
