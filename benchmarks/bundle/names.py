"""Maps the spellings in the outcome sets to real experts: one name per expert over all sets."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.core.library import Library
from tryage.core.validation import did_you_mean
from tryage.errors import LibraryError

if TYPE_CHECKING:
    from tryage.core.expert import Expert

EXPERTS = Path(__file__).with_name("experts.json")

# Names that providers have since given to later models, so they mean no expert here.
MOVED = frozenset({"deepseek-chat", "deepseek-coder"})
# Names that mean another expert today than in the set that used them.
REUSED = frozenset({("zeroeval", "gemini-1.5-flash"), ("zeroeval", "gemini-1.5-pro")})


@cache
def library() -> Library:
    """Read the facts about every expert of the outcome sets."""
    rows: list[dict[str, Any]] = json.loads(EXPERTS.read_text(encoding="utf-8"))
    return Library.from_dicts(rows)


def spellings(expert: Expert) -> list[tuple[str, str]]:
    """Return the (set, spelling) pairs that mean this expert.

    If several spellings of a set answered the same prompt, the first one counts: the others are the
    same weights at another provider.
    """
    measured: dict[str, list[str]] = expert.metadata["measured_as"]
    return [(name, spelling) for name, used in measured.items() for spelling in used]


def canonical(data_set: str, spelling: str) -> str:
    """Return the name of the expert that a set calls `spelling`.

    Raises:
        LibraryError: the set has no such spelling; it suggests similar ones.
    """
    found = _index().get((data_set, spelling))
    if found is None:
        known = [used for name, used in _index() if name == data_set]
        near = did_you_mean(spelling, known)
        raise LibraryError(
            f"{data_set!r} has no model spelled {spelling!r} among its {len(known)} known ones."
            f"{near} Add it to {EXPERTS.name}, under metadata.measured_as of its expert."
        )
    return found


@cache
def _index() -> dict[tuple[str, str], str]:
    return {pair: expert.name for expert in library() for pair in spellings(expert)}
