"""The value of routing: measured losses on held-out prompts for several ways to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage import Preferences

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from prepare import Demo

    from tryage import QTable


@dataclass(frozen=True)
class Policy:
    """A way to choose, with its means per prompt."""

    name: str
    loss: float
    right: float
    parameters: float
    seconds: float
    routed: bool = False


def compare(demo: Demo) -> list[Policy]:
    """Compare the router with the best single model, with random choice and with the oracle."""
    table = demo.held_out
    losses = table.losses
    single = int(demo.train.losses.mean(axis=0).argmin())
    uniform = np.full(losses.shape, 1 / losses.shape[1])
    small = Preferences(weights={"size": 1.0})
    return [
        _policy("oracle: the best, in hindsight", demo, _one_hot(losses.argmin(axis=1), table)),
        _policy("routed", demo, _routed(demo, None), routed=True),
        _policy("routed, size weight 1", demo, _routed(demo, small), routed=True),
        _policy(
            f"best single: {table.experts[single]}",
            demo,
            _one_hot(np.full(len(table), single), table),
        ),
        _policy("random", demo, uniform),
    ]


def _routed(demo: Demo, preferences: Preferences | None) -> NDArray[np.float64]:
    decisions = demo.router.route_batch(demo.held_out.prompts, preferences)
    names = demo.held_out.experts
    return _one_hot(np.array([names.index(one.expert.name) for one in decisions]), demo.held_out)


def _one_hot(columns: NDArray[np.intp], table: QTable) -> NDArray[np.float64]:
    """Return the share of each expert in each answer, `(n_prompts, n_experts)`."""
    return np.eye(len(table.experts))[columns]


def _policy(name: str, demo: Demo, shares: NDArray[np.float64], *, routed: bool = False) -> Policy:
    table = demo.held_out
    sizes = {model.expert.name: model.expert.parameters or np.nan for model in demo.models}
    parameters = np.array([sizes[expert] for expert in table.experts])
    best = table.losses == table.losses.min(axis=1, keepdims=True)

    def mean(values: NDArray[np.floating]) -> float:
        return float((shares * values).sum(axis=1).mean())

    return Policy(
        name,
        loss=mean(table.losses),
        right=mean(best.astype(float)),
        parameters=mean(np.broadcast_to(parameters, table.shape)),
        seconds=mean(table.latencies),
        routed=routed,
    )
