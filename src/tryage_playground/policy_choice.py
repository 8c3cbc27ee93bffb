"""The policies that the page offers: one number each, in the words of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.core.validation import did_you_mean
from tryage.errors import InputError
from tryage.policies.budget import Budget
from tryage.policies.quality_gap import QualityGap
from tryage.policies.threshold import Threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tryage.core.policy import Policy

POLICY_LABELS: Mapping[str, str] = {
    "": "none",
    "quality_gap": "Quality gap: the cheapest within it",
    "threshold": "Threshold: strong if it gains more, or weak",
    "budget": "Budget: USD per request",
}
"""Kind of a policy -> what the page calls it."""

_CLASSES: Mapping[str, Callable[..., Policy]] = {
    "QualityGap": QualityGap,
    "Threshold": Threshold,
    "Budget": Budget,
}


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """A policy by its kind, with the numbers and models that it needs.

    `kind` is one of `POLICY_LABELS`; `value` is the gap, the threshold, or the USD of a request;
    `strong` and `weak` are models of a threshold.
    """

    kind: str = ""
    value: float | None = None
    strong: str = ""
    weak: str = ""

    @property
    def class_name(self) -> str:
        """The class of the policy, empty for none."""
        return "".join(part.capitalize() for part in self.kind.split("_"))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the class by name."""
        if self.kind == "quality_gap":
            return {"gap": self.value}
        if self.kind == "budget":
            return {"usd_per_request": self.value}
        if self.kind == "threshold":
            return {"strong": self.strong, "weak": self.weak, "threshold": self.value}
        return {}

    def make(self) -> Policy | None:
        """Return a new policy, None for none; one that was used before would remember requests.

        Raises:
            InputError: there is no such kind, or a setting is missing or out of range.
        """
        if not self.kind:
            return None
        if self.kind not in POLICY_LABELS:
            kinds = [kind for kind in POLICY_LABELS if kind]
            raise InputError(
                f"{self.kind!r:.40} is no policy of this page; expected one of "
                f"{', '.join(kinds)}.{did_you_mean(self.kind, kinds)}"
            )
        if self.value is None:
            raise InputError(
                f"The policy {self.class_name} needs its number, such as "
                f"{'0.001' if self.kind == 'budget' else '0.02'}."
            )
        return _CLASSES[self.class_name](**self.arguments)
