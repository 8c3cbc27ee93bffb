"""Compares ways to choose on the same prompts: Tryage's router, the baselines, and the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from figures import best_shares

from tryage.learning.evaluation import baselines as base
from tryage.learning.evaluation.metrics import choice_probabilities
from tryage.learning.evaluation.splits import Fold, MethodPrediction, hide_labels
from tryage.learning.evaluation.trained_router import make_routing_method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from figures import Floats

    from tryage import QTable
    from tryage.learning.evaluation.splits import FoldMethod
    from tryage.perception.encoder import Encoder

ROUTER = "Tryage"
ROUTER_WITH_DOMAINS = "Tryage, trained with the domains' names"
MAJORITY = "expert that is most often best"
SINGLE = "expert with the lowest mean loss"
TABLE = "best expert of the true domain (given)"
ORACLE = "oracle"


@dataclass(frozen=True)
class Split:
    """The passages that a router learns from, and those that it is judged on."""

    train: QTable
    test: QTable


def split(table: QTable, seed: int, share: float = 0.8) -> Split:
    """Draw a share of the router's passages by a seed; the held-out passages stay the same."""
    router = np.flatnonzero(np.array(table.sources) == "router")
    drawn = np.random.default_rng(seed).permutation(router)[: round(share * len(router))]
    return Split(table.take(np.sort(drawn)), table.take(np.array(table.sources) == "test"))


def majority(fold: Fold) -> MethodPrediction:
    """Choose the expert that is most often best, for every prompt."""
    row = -best_shares(fold.train.losses)
    return MethodPrediction(np.repeat(row[None], len(fold.test), axis=0).astype(np.float32))


def compare_methods(parts: Split, encoder: Encoder, seed: int) -> dict[str, Floats]:
    """Return the choices of every method, as shares `(n_test, n_experts)`.

    Only the category table knows the domain of a test passage. The router knows the domains of the
    training passages only as `ROUTER_WITH_DOMAINS`.
    """
    router = hide_labels(make_routing_method(encoder, seed))
    methods: Mapping[str, FoldMethod] = {
        ROUTER: lambda fold: router(replace(fold, train=without_categories(fold.train))),
        ROUTER_WITH_DOMAINS: router,
        "nearest neighbours": base.nearest_neighbors,
        TABLE: base.category_table,
        MAJORITY: majority,
        SINGLE: base.best_single,
        "random": base.random,
        ORACLE: base.oracle,
    }
    fold = make_fold(parts, encoder)
    return {
        name: choice_probabilities(run(fold).losses, fold.test.measured)
        for name, run in methods.items()
    }


def router_choices(parts: Split, encoder: Encoder, seed: int) -> Floats:
    """Return only the choices of the router."""
    fold = make_fold(replace(parts, train=without_categories(parts.train)), encoder)
    return choice_probabilities(
        hide_labels(make_routing_method(encoder, seed))(fold).losses, fold.test.measured
    )


def choices_in_unseen_domains(parts: Split, encoder: Encoder, seed: int) -> Floats:
    """Return choices of routers that were trained without the domain of the test passage."""
    known, tested = np.array(parts.train.categories), np.array(parts.test.categories)
    shares = np.zeros(parts.test.losses.shape)
    for domain in sorted(set(tested.tolist())):
        without = Split(parts.train.take(known != domain), parts.test.take(tested == domain))
        shares[tested == domain] = router_choices(without, encoder, seed)
    return shares


def make_fold(parts: Split, encoder: Encoder) -> Fold:
    """Return the split with the embeddings of both sides."""
    return Fold(
        parts.train,
        encoder.encode(parts.train.prompts),
        parts.test,
        encoder.encode(parts.test.prompts),
    )


def without_categories(table: QTable) -> QTable:
    """Return the table without the names of the domains."""
    return replace(table, categories=None)
