"""Who is to answer a conversation, why, and who is next if that one fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.decision import Decision
    from tryage.preferences import Preferences, Requirement

How: TypeAlias = Literal["routed", "kept for the turn", "kept for the thread", "asked for"]
_TOLD = 5  # scores in a record: enough to see the field, little enough for every message


@dataclass(frozen=True, slots=True)
class Plan:
    """One conversation's decision.

    `first` names the expert that is asked first: the decision's own, unless `how` says that the
    conversation stays with another. `key` stands for the turn and what was asked of the choice;
    `needs` are what the conversation requires of any expert.
    """

    decision: Decision
    first: str
    how: How
    key: tuple[str, Preferences]
    needs: tuple[Requirement, ...] = ()

    @property
    def reason(self) -> str:
        """Why `first` is asked first, in a few words."""
        if self.how != "routed":
            return self.how
        if self.decision.default_used:
            return f"default: {self.decision.default_reason}"
        if len(self.decision.ranking) < 2:
            return "the only one that could be chosen"
        return f"lowest total of {len(self.decision.ranking)}"

    def order(self) -> Iterator[str]:
        """Yield who is asked: the first, then the rest of the ranking, best first.

        Who was asked for by name is asked alone: another's answer is not what was wanted.
        """
        yield self.first
        if self.how != "asked for":
            yield from (one.name for one in self.decision.ranking if one.name != self.first)

    def record(self, served_by: str | None = None) -> dict[str, Any]:
        """Return it JSON-safe and short, for a message or a trace; no word of the prompt."""
        best = self.decision.ranking[:_TOLD]
        name = served_by or self.first
        told: dict[str, Any] = {
            "model": name,
            "reason": self.reason if name == self.first else f"{self.first} failed",
            "how": self.how,
            "scores": {one.name: round(one.total, 6) for one in best},
        }
        if (confidence := self.decision.confidence) is not None:
            told["confidence"] = round(confidence, 4)
        if self.decision.flags:
            told["flags"] = list(self.decision.flags)
        return told
