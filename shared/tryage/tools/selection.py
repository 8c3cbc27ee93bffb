"""What a ranker answers: the tools, how every other one stood, and what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - pydantic, hence LlamaIndex, reads the hints
from dataclasses import dataclass
from typing import Any

from tryage.ranking import Ranked, Rejected  # noqa: TC001 - as above
from tryage.tools.tool import Tool  # noqa: TC001 - as above


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The tools for one query, best first; none if the ranker abstained.

    `needed` is the probability that any tool is needed. In `ranking` a tool's `predicted_loss` is
    the probability that it is of no use.
    """

    query: str
    tools: tuple[Tool, ...]
    needed: float
    ranking: Sequence[Ranked]
    rejected: Sequence[Rejected]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tools, best first."""
        return tuple(tool.name for tool in self.tools)

    @property
    def abstained(self) -> bool:
        """Whether no tool was chosen because none seemed to be needed."""
        return not self.tools

    def explain(self, top: int = 3) -> str:
        """Tell a person what was chosen and why, with the `top` best in full."""
        chosen = ", ".join(self.names) or "no tool"
        lines = [f"{chosen}: some tool is needed with probability {self.needed:.2f}."]
        for place, one in enumerate(self.ranking[:top], 1):
            terms = "".join(f" + {name} {term:.3f}" for name, term in one.terms.items())
            line = f"  {place}. {one.name}: of use {1 - one.predicted_loss:.2f}, total "
            lines.append(f"{line}{one.predicted_loss:.3f}{terms} = {one.total:.3f}")
        lines += [
            f"  left out: {one.name}, {'; '.join(one.reasons)}" for one in self.rejected[:top]
        ]
        if len(self.rejected) > top:
            lines.append(f"  left out: {len(self.rejected) - top:,} more")
        return "\n".join(lines)

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return it JSON-safe for a log; `top` limits the ranking and the rejections."""
        return {
            "query": self.query,
            "tools": list(self.names),
            "needed": self.needed,
            "abstained": self.abstained,
            "ranking": [one.to_dict() for one in self.ranking[:top]],
            "rejected": [one.to_dict() for one in self.rejected[:top]],
        }
