"""How a routed batch is shared out: each chosen runnable gets its rows in one batch of its own."""

# ruff: noqa: ANN401 - LangChain lets inputs be of any type.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.runnables import Runnable, RunnableConfig


@dataclass
class Share:
    """The rows of a batch that one runnable answers."""

    child: Runnable[Any, Any]
    rows: list[int] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    configs: list[RunnableConfig] = field(default_factory=list)

    def add(self, row: int, forwarded: Any, config: RunnableConfig) -> None:
        """Take one row of the batch."""
        self.rows.append(row)
        self.inputs.append(forwarded)
        self.configs.append(config)

    def place(self, answers: Sequence[Any], results: list[Any]) -> None:
        """Write the answers, or exceptions, to the rows they belong to."""
        for row, answer in zip(self.rows, answers, strict=True):
            results[row] = answer


def shares_at_once(configs: Sequence[RunnableConfig]) -> int | None:
    """Return how many runnables may answer side by side; None is all of them.

    Each runnable holds `max_concurrency` within its own share, so under such a limit the shares
    go one after another: side by side they would exceed it.
    """
    return 1 if configs[0].get("max_concurrency") else None
