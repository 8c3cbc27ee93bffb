"""Cross-validates routing methods and baselines over the same folds, and compares them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.learning.evaluation import baselines as baseline_methods
from tryage.learning.evaluation.constants import find_constants
from tryage.learning.evaluation.costs import CostResult, cost_report, known_costs, priced_experts
from tryage.learning.evaluation.metrics import (
    PairResult,
    best_losses,
    calibration_metrics,
    choice_probabilities,
    expected_value,
    optimal_hits,
    pairwise_metrics,
)
from tryage.learning.evaluation.repeatable import find_repeatable_gain
from tryage.learning.evaluation.report import Evaluation, ExpertPoint, MethodResult
from tryage.learning.evaluation.splits import (
    EvaluationConfig,
    FoldMethod,
    OutOfFold,
    RoutingMethod,
    cross_val_predict,
    folds,
    hide_labels,
    min_train_size,
)
from tryage.learning.evaluation.stacking import STACK
from tryage.simulation.metrics import Interval, bootstrap, interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.core.arrays import Float32Array, Float64Array
    from tryage.scoring.qtable import QTable

BASELINES: Mapping[str, FoldMethod] = MappingProxyType(
    {
        baseline_methods.BEST_SINGLE: baseline_methods.best_single,
        "random": baseline_methods.random,
        "prompt length": baseline_methods.prompt_length,
        "nearest neighbours": baseline_methods.nearest_neighbors,
        baseline_methods.GUARDED_NEIGHBORS: baseline_methods.guarded_neighbors,
        "TF-IDF ridge": baseline_methods.tfidf_ridge,
        "MLP": baseline_methods.mlp,
        "matrix factorisation": baseline_methods.matrix_factorization,
        baseline_methods.CATEGORY_TABLE: baseline_methods.category_table,
        baseline_methods.ORACLE: baseline_methods.oracle,
    }
)

# The predictions of these methods only rank the experts.
_NO_FORECAST = (
    "random",
    baseline_methods.BEST_SINGLE,
    baseline_methods.GUARDED_NEIGHBORS,
    baseline_methods.ORACLE,
)

# Random choice has no cost to weigh; the others would be trained 25 times.
_NO_COST_VIEW = ("random", baseline_methods.ORACLE, "MLP", "TF-IDF ridge", STACK)

_MIN_TRAIN_PROMPTS = 10  # distinct prompts that a router needs to learn from

_MIN_SHARE = 0.005  # experts with a smaller share of a category's prompts are not listed


def evaluate(  # noqa: PLR0913 - three inputs, the rest has defaults
    table: QTable,
    embeddings: Float32Array,
    methods: Mapping[str, RoutingMethod],
    *,
    name: str = "",
    baselines: Mapping[str, FoldMethod] = BASELINES,
    config: EvaluationConfig | None = None,
) -> Evaluation:
    """Cross-validate `methods`, the first of which is the evaluated router, and the baselines.

    `embeddings` are `(n_prompts, dim)` in the order of `table.prompts`, from the router's own
    encoder; they are computed once and split per fold. Folds are grouped by prompt text and are the
    same for all. If the table has costs and the baselines include the best single expert, the
    weight of cost is chosen by cross-validation within each training part, provided that ten
    prompts are left to learn from. Without categories the category table is left out.

    Raises:
        InputError: the embeddings do not fit the table, or a name is given twice.
        PerceptionError: a method predicts NaN or the wrong shape.
        MissingExtraError: scikit-learn is not installed (for the MLP).
    """
    config = config or EvaluationConfig()
    _check_inputs(table, embeddings, methods, baselines)
    usable_rows = np.flatnonzero(table.measured.any(axis=1))
    notes = _notes(table, config)
    table, embeddings = table.take(usable_rows), embeddings[usable_rows]
    runners = {label: hide_labels(method) for label, method in methods.items()}
    runners |= {
        label: method
        for label, method in baselines.items()
        if label != baseline_methods.CATEGORY_TABLE or table.categories
    }
    splits = folds(table.groups, config.n_folds, config.seed)
    runs = {
        label: (method, cross_val_predict(label, method, table, embeddings, splits))
        for label, method in runners.items()
    }
    costs: dict[str, CostResult] = {}
    if _can_choose_weight(table, config) and baseline_methods.BEST_SINGLE in runs:
        cost_runs = {label: run for label, run in runs.items() if label not in _NO_COST_VIEW}
        costs = cost_report(table, embeddings, cost_runs, splits, config)
    predictions = {label: out_of_fold for label, (_, out_of_fold) in runs.items()}
    shares = {
        label: choice_probabilities(out_of_fold.losses, table.measured)
        for label, out_of_fold in predictions.items()
    }
    scores = {label: 1.0 - expected_value(share, table.losses) for label, share in shares.items()}
    router = next(iter(methods), None)
    return Evaluation(
        name=name,
        router=router,
        n_prompts=len(table),
        n_experts=len(table.experts),
        n_folds=config.n_folds,
        seed=config.seed,
        results=_method_results(table, predictions, shares, scores, costs, router, config),
        experts=_expert_points(table),
        notes=notes,
        constants=find_constants(table, None if router is None else scores[router], config),
        repeatable=find_repeatable_gain(table, config),
    )


def _check_inputs(
    table: QTable,
    embeddings: Float32Array,
    methods: Mapping[str, RoutingMethod],
    baselines: Mapping[str, FoldMethod],
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(table):
        raise InputError(
            f"embeddings of shape {embeddings.shape} for {len(table)} prompts; "
            "expected (n_prompts, dim)"
        )
    if duplicate_names := set(methods) & set(baselines):
        raise InputError(
            f"{sorted(duplicate_names)} name both a method and a baseline; rename the method"
        )


def _notes(table: QTable, config: EvaluationConfig) -> tuple[str, ...]:
    """Say what was left out of the evaluation, and why."""
    notes = []
    is_usable = table.measured.any(axis=1)
    if not is_usable.all():
        notes.append(f"{int((~is_usable).sum())} prompts without any measurement were left out.")
    gap_share = 1 - float(table.measured[is_usable].mean())
    if gap_share:
        notes.append(
            f"{gap_share:.1%} of the pairs were not measured; "
            "no method may choose an expert on a prompt that it was not measured on."
        )
    priced_names = priced_experts(table)
    if 1 < len(priced_names) < len(table.experts):
        notes.append(
            f"The cost view is over the {len(priced_names)} of {len(table.experts)} experts whose "
            "cost is known, for the best single expert too."
        )
    table = table.take(np.flatnonzero(is_usable))
    if len(priced_names) > 1 and not _can_choose_weight(table, config):
        notes.append(
            "The cost view is left out: the weight of cost is chosen in folds within folds, and "
            f"{_n_inner_train(table, config)} prompts to learn from are too few."
        )
    return tuple(notes)


def _can_choose_weight(table: QTable, config: EvaluationConfig) -> bool:
    """Tell whether costs are known, and enough prompts are left to choose their weight."""
    has_enough_prompts = _n_inner_train(table, config) >= _MIN_TRAIN_PROMPTS
    return has_enough_prompts and len(priced_experts(table)) > 1


def _n_inner_train(table: QTable, config: EvaluationConfig) -> int:
    return min_train_size(table.groups, config.n_folds, config.inner_folds)


def _method_results(  # noqa: PLR0913 - what one row of the table consists of
    table: QTable,
    predictions: Mapping[str, OutOfFold],
    shares: Mapping[str, Float64Array],
    scores: Mapping[str, Float64Array],
    costs: Mapping[str, CostResult],
    router: str | None,
    config: EvaluationConfig,
) -> tuple[MethodResult, ...]:
    """Return the result of every method; leads are those of the method named `router`."""
    columns = np.column_stack(list(scores.values()))
    bootstrap_means = bootstrap(columns, table.groups, draws=config.draws, seed=config.seed)
    draws_by_label = dict(zip(scores, bootstrap_means.T, strict=True))
    best_scores = 1.0 - best_losses(table.losses)

    def result_of(label: str, score: Float64Array) -> MethodResult:
        lead = None
        if router is not None and label != router:
            mean_lead = float(scores[router].mean() - score.mean())
            lead = interval(mean_lead, draws_by_label[router] - draws_by_label[label])
        losses = predictions[label].losses
        is_forecast = label not in _NO_FORECAST
        return MethodResult(
            name=label,
            score=interval(float(score.mean()), draws_by_label[label]),
            lead=lead,
            optimal_rate=float(optimal_hits(shares[label], table.losses).mean()),
            regret=float((best_scores - score).mean()),
            gap_closed=_gap_closed(label, scores, draws_by_label),
            calibration=calibration_metrics(losses, table.losses) if is_forecast else None,
            pairs={} if label == baseline_methods.BEST_SINGLE else _pair_results(table, losses),
            by_source=_mean_by_label(table.sources, score),
            by_category=_mean_by_label(table.categories, score),
            shares=_choice_shares(table, shares[label]),
            cost=costs.get(label),
        )

    return tuple(result_of(label, score) for label, score in scores.items())


def _gap_closed(
    label: str, scores: Mapping[str, Float64Array], draws: Mapping[str, Float64Array]
) -> Interval | None:
    """Return the share of the gap to the oracle that a method closes; None if there is no gap."""
    single, best = baseline_methods.BEST_SINGLE, baseline_methods.ORACLE
    if not {single, best} <= set(scores) or label in (single, best):
        return None
    gap = float(scores[best].mean() - scores[single].mean())
    gap_draws = draws[best] - draws[single]
    if gap <= 0 or (gap_draws <= 0).any():
        return None
    gain = float(scores[label].mean() - scores[single].mean())
    return interval(gain / gap, (draws[label] - draws[single]) / gap_draws)


def _pair_results(table: QTable, losses: Float64Array) -> dict[str, PairResult]:
    """Return the pair metrics of a table of two experts, in all and per source; else nothing."""
    if len(table.experts) != 2:
        return {}
    row_masks = {"all": np.ones(len(table), dtype=bool)}
    names = sorted({source for source in table.sources or () if source})
    if len(names) > 1:
        row_masks |= {
            source: np.array([label == source for label in table.sources or ()]) for source in names
        }
    results = {
        subset: pairwise_metrics(losses[rows], table.losses[rows], table.experts)
        for subset, rows in row_masks.items()
    }
    return {subset: result for subset, result in results.items() if result is not None}


def _mean_by_label(labels: tuple[str | None, ...] | None, score: Float64Array) -> dict[str, float]:
    """Return the mean score per label; prompts without a label are left out."""
    prompt_labels = np.array(["" if label is None else label for label in labels or ()])
    return {
        str(label): float(score[prompt_labels == label].mean())
        for label in np.unique(prompt_labels)
        if label
    }


def _choice_shares(table: QTable, shares: Float64Array) -> dict[str, dict[str, float]]:
    """Return category -> expert -> share of its prompts, the largest first, without small ones."""
    categories = np.array([category or "" for category in table.categories or [""] * len(table)])
    shares_by_category = {}
    names, sizes = np.unique(categories, return_counts=True)
    for category in names[np.argsort(-sizes, kind="stable")]:
        mean_shares = shares[categories == category].mean(axis=0)
        order = [int(i) for i in np.argsort(-mean_shares) if mean_shares[i] >= _MIN_SHARE]
        shares_by_category[str(category) or "all"] = {
            table.experts[i]: float(mean_shares[i]) for i in order
        }
    return shares_by_category


def _expert_points(table: QTable) -> tuple[ExpertPoint, ...]:
    """Return the mean score of every expert and, if known, its mean cost."""
    means = 1.0 - baseline_methods.expert_means(table).astype(np.float64)
    cost_by_expert: dict[str, float] = {}
    if priced := priced_experts(table):
        costs = np.nanmean(known_costs(table.select(priced)), axis=0)
        cost_by_expert = dict(zip(priced, costs.tolist(), strict=True))
    coverage = table.measured.mean(axis=0)
    return tuple(
        ExpertPoint(name, float(score), cost_by_expert.get(name), float(share))
        for name, score, share in zip(table.experts, means, coverage, strict=True)
    )
