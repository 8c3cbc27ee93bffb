"""The presets of preferences, and what each of them means."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tryage.core.validation import did_you_mean
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What is chosen where nothing is said about the trade-off and some costs are known. At a dollar the
# score stays within one point of "best" on each priced outcome set (benchmarks/presets.py).
DEFAULT_PRESET = "balanced"

# Name -> the keywords of `Preferences`.
PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        # The lowest predicted loss; of those predicted equal, the cheapest.
        "best": MappingProxyType({"tolerance": 0.0}),
        # A right answer is worth a dollar. Experts that differ by less than the predictions can
        # tell, .0035 of loss, count alike: "hi" goes to a cheap one.
        "balanced": MappingProxyType({"answer_value": 1.0, "tolerance": 0.0035}),
        # A right answer is worth ten cents.
        "thrifty": MappingProxyType({"answer_value": 0.1}),
    }
)


def preset_keywords(name: object) -> Mapping[str, float]:
    """Return the keywords of `Preferences` that a preset stands for.

    Raises:
        InputError: there is no such preset.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    near = did_you_mean(name, PRESETS) if isinstance(name, str) else ""
    raise InputError(
        f"{name!r:.80} is not a preset; expected {', '.join(map(repr, PRESETS))}.{near}"
    )
