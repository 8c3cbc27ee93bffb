"""Adds requests of known kinds to a table of outcomes: no exam holds a greeting or a proof.

Their losses are those that the item-response model of the table expects at the difficulty that the
kind has. Four experts of different ability stand for them in the table itself, so that they count
little where measured losses count.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "difficulty"))

from anchors import Anchor, make_anchors

from tryage.scoring.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.learning.training.item_response import ItemResponse

SHARE = 0.35  # of all weight; chosen on sets that were left out and on translated prompts
N_TEXTS = 4_000  # prompts of the table whose parts stand beside a request
N_SHOWN_EXPERTS = 4
SOURCE = "kinds"


@dataclasses.dataclass(frozen=True, slots=True)
class AnchoredTable:
    """A table with anchors below its prompts.

    `expected` are the losses that the model expects, `(n_prompts, n_experts)`; `weights` say how
    much each prompt counts, `(n_prompts,)`.
    """

    table: QTable
    expected: NDArray[np.float64]
    weights: NDArray[np.float64]


def with_anchors(
    table: QTable, fitted: ItemResponse, weights: NDArray[np.float64]
) -> AnchoredTable:
    """Append the anchors, with `SHARE` of the weight, to a table whose model was fitted."""
    sampled = np.random.default_rng(0).permutation(len(table))[:N_TEXTS]
    anchors = make_anchors([table.prompts[i] for i in sampled])
    losses = expected_at(fitted, [anchor.difficulty for anchor in anchors])
    rows = _as_table(anchors, table.experts, losses, fitted.ability)
    weight = SHARE / (1 - SHARE) * weights.sum() / len(anchors)
    return AnchoredTable(
        QTable.concat([table, rows]),
        np.concatenate([fitted.expected_losses(), losses]),
        np.concatenate([weights, np.full(len(anchors), weight)]),
    )


def expected_at(fitted: ItemResponse, difficulty: Sequence[float]) -> NDArray[np.float64]:
    """Return the losses of all experts at difficulties in logits, `(n, n_experts)`."""
    slope = np.exp(np.log(fitted.discrimination).mean())
    centered = fitted.ability - fitted.ability.mean()
    return np.asarray(1 / (1 + np.exp(slope * centered - np.array(difficulty)[:, None])))


def _as_table(
    anchors: Sequence[Anchor],
    experts: Sequence[str],
    losses: NDArray[np.float64],
    ability: NDArray[np.float64],
) -> QTable:
    ranked = np.argsort(ability)
    shown = ranked[np.linspace(0, len(ranked) - 1, N_SHOWN_EXPERTS).astype(int)]
    cells = np.full(losses.shape, np.nan, np.float32)
    cells[:, shown] = losses[:, shown]
    return QTable(
        prompts=[anchor.prompt for anchor in anchors],
        experts=experts,
        losses=cells,
        categories=[f"{SOURCE}: {anchor.level}" for anchor in anchors],
        sources=[SOURCE] * len(anchors),
    )
