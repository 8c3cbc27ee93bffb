"""Who chooses, on the same prompts: Tryage's router, the baselines, and hindsight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from figures import best_shares

from tryage.cli.train import make_routing_method
from tryage.learning.evaluation import baselines as base
from tryage.learning.evaluation.metrics import choice_probabilities
from tryage.learning.evaluation.splits import Fold, MethodPrediction, hide_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from figures import Floats

    from tryage import QTable
    from tryage.learning.evaluation.splits import FoldMethod
    from tryage.perception.encoder import Encoder

ROUTER = "Tryage"
TOLD = "Tryage, trained with the domains' names"
MAJORITY = "expert that is most often best"
SINGLE = "expert with the lowest mean loss"
TABLE = "best expert of the true domain (told to it)"
ORACLE = "oracle"


@dataclass(frozen=True)
class Halves:
    """What a router learns from, and what it is judged on."""

    train: QTable
    test: QTable


def halves(table: QTable, seed: int, share: float = 0.8) -> Halves:
    """Draw a share of the router's passages by a seed; what is held out stays the same."""
    router = np.flatnonzero(np.array(table.sources) == "router")
    drawn = np.random.default_rng(seed).permutation(router)[: round(share * len(router))]
    return Halves(table.take(np.sort(drawn)), table.take(np.array(table.sources) == "test"))


def majority(fold: Fold) -> MethodPrediction:
    """Choose always the expert that is best most often."""
    row = -best_shares(fold.train.losses)
    return MethodPrediction(np.repeat(row[None], len(fold.test), axis=0).astype(np.float32))


def contest(parts: Halves, encoder: Encoder, seed: int) -> dict[str, Floats]:
    """Let everybody choose; return the shares `(n_test, n_experts)` of each.

    Nobody is told the domain of a test passage but the category table; the router is told those of
    the training passages only under the name that says so.
    """
    router = hide_labels(make_routing_method(encoder, seed))
    methods: Mapping[str, FoldMethod] = {
        ROUTER: lambda fold: router(replace(fold, train=unnamed(fold.train))),
        TOLD: router,
        "nearest neighbours": base.nearest_neighbors,
        TABLE: base.category_table,
        MAJORITY: majority,
        SINGLE: base.best_single,
        "random": base.random,
        ORACLE: base.oracle,
    }
    fold = folded(parts, encoder)
    return {
        name: choice_probabilities(run(fold).losses, fold.test.measured)
        for name, run in methods.items()
    }


def routed(parts: Halves, encoder: Encoder, seed: int) -> Floats:
    """Let the router alone choose."""
    fold = folded(replace(parts, train=unnamed(parts.train)), encoder)
    return choice_probabilities(
        hide_labels(make_routing_method(encoder, seed))(fold).losses, fold.test.measured
    )


def domain_unseen(parts: Halves, encoder: Encoder, seed: int) -> Floats:
    """Let routers choose that saw no passage of the domain in question."""
    known, asked = np.array(parts.train.categories), np.array(parts.test.categories)
    shares = np.zeros(parts.test.losses.shape)
    for domain in sorted(set(asked.tolist())):
        without = Halves(parts.train.take(known != domain), parts.test.take(asked == domain))
        shares[asked == domain] = routed(without, encoder, seed)
    return shares


def folded(parts: Halves, encoder: Encoder) -> Fold:
    """Bring the embeddings to both sides."""
    return Fold(
        parts.train,
        encoder.encode(parts.train.prompts),
        parts.test,
        encoder.encode(parts.test.prompts),
    )


def unnamed(table: QTable) -> QTable:
    """Leave out the domains' names."""
    return replace(table, categories=None)
