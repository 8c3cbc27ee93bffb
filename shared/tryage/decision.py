"""The decision: who was chosen, how everyone else stood, who was rejected, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence  # noqa: TC003 - pydantic, hence LangChain, reads the hints
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - as above
from typing import Any

from tryage.experts import Expert  # noqa: TC001 - as above
from tryage.preferences import Preferences
from tryage.ranking import Ranked, Rejected  # noqa: TC001 - as above


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The answer of a router to one prompt.

    `prompt` is the text after flags were taken out: send that to `expert`. `ranking` and
    `rejected` behave like tuples of `Ranked` and `Rejected`. When no expert could be chosen,
    `expert` is the declared default, `default_used` is true and `default_reason` says why. `as_of`
    is when the Hub told what is known of the experts (UTC), None if it came from elsewhere.
    """

    prompt: str
    expert: Expert
    ranking: Sequence[Ranked] = ()
    rejected: Sequence[Rejected] = ()
    preferences: Preferences = field(default_factory=Preferences)
    default_used: bool = False
    default_reason: str | None = None
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    as_of: datetime | None = None

    @property
    def chosen(self) -> Ranked | None:
        """How the chosen expert stands; None if the default was used."""
        return self.ranking[0] if len(self.ranking) and not self.default_used else None

    @property
    def margin(self) -> float | None:
        """By how much the second expert's total is higher; None without a second."""
        if len(self.ranking) < 2:
            return None
        return self.ranking[1].total - self.ranking[0].total

    @property
    def confidence(self) -> float | None:
        """Probability that the chosen expert beats the second, None without one or without a std.

        Takes the two predictions as independent Gaussians.
        """
        if len(self.ranking) < 2:
            return None
        best, second = self.ranking[0], self.ranking[1]
        if best.std is None or second.std is None:
            return None
        spread = math.hypot(best.std, second.std)
        gap = second.total - best.total
        if spread == 0:
            return 1.0 if gap > 0 else 0.5
        return 0.5 * (1 + math.erf(gap / (spread * math.sqrt(2))))

    def explain(self, top: int = 3) -> str:
        """Tell a person who was chosen and why, with the `top` best in full."""
        from tryage.explanation import explain

        return explain(self, top)

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return it JSON-safe for a log; `top` limits the ranking and the rejections."""
        chosen = self.chosen
        return {
            "expert": self.expert.name,
            "prompt": self.prompt,
            "predicted_loss": chosen.predicted_loss if chosen else None,
            "std": chosen.std if chosen else None,
            "margin": self.margin,
            "confidence": self.confidence,
            "default_used": self.default_used,
            "default_reason": self.default_reason,
            "ranking": [ranked.to_dict() for ranked in self.ranking[:top]],
            "rejected": [rejected.to_dict() for rejected in self.rejected[:top]],
            "preferences": self.preferences.to_dict(),
            "flags": list(self.flags),
            "warnings": list(self.warnings),
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
        }
