"""Which call of a fake model fails, and how: by the request's marker, and by outages on a schedule.

Both are known beforehand, so that a report can tell whether every answer and every failure has its
reason.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

MODELS = ("gpt-5-mini", "claude-haiku-4-5", "gpt-5-nano", "gemini-2.5-pro")

# Shares of the calls of each model that fail by themselves, outside outages.
FAULT_SHARES = dict(zip(MODELS, (0.20, 0.10, 0.05, 0.05), strict=True))

FAULTS = (
    "status 500",
    "status 429",
    "hang",
    "drip",
    "HTML",
    "null",
    "wrong shape",
    "undecodable",
    "cut",
    "reset",
    "empty",
    "silence",
)
"""What a call of a model that fails does; "cut" and "silence" begin to answer."""

HUGE_SHARE, VARIED_SHARE = 0.002, 0.1  # of the answers: very long ones, and ones that differ

_MARKER = re.compile(r"m\d{6}[a-z]{6}")


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which every call of some models fails; in shares of the period."""

    models: tuple[str, ...]
    fault: str
    start: float
    end: float


OUTAGES = (
    Outage(MODELS[:1], "status 500", 0.10, 0.20),
    Outage(MODELS[1:2], "hang", 0.30, 0.35),
    Outage(MODELS[:1], "status 429", 0.50, 0.56),
    Outage(MODELS[:2], "reset", 0.66, 0.70),
    Outage(MODELS, "status 500", 0.80, 0.83),
)
"""They come again in each period."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What each call does, on a clock of seconds since the start.

    `period` is the time in seconds after which the outages come again.
    """

    period: float

    def fault(self, marker: str, model: str, seconds: float) -> str | None:
        """Return what goes wrong with a call, None if it is answered."""
        outage = self.outage(model, seconds)
        return own_fault(marker, model) if outage is None else outage.fault

    def outage(self, model: str, seconds: float) -> Outage | None:
        """Return the outage of a model at that time."""
        share = seconds % self.period / self.period
        for one in OUTAGES:
            if model in one.models and one.start <= share < one.end:
                return one
        return None

    def retry_after(self, model: str, seconds: float) -> int:
        """Return the seconds for `Retry-After` of a refused call: longer in an outage."""
        return 1 if self.outage(model, seconds) is None else max(round(self.period / 40), 1)


def own_fault(marker: str, model: str) -> str | None:
    """Return what goes wrong with a model's call for a request outside outages."""
    share = share_of(marker, model, "fault") / FAULT_SHARES[model]
    return FAULTS[int(share * len(FAULTS))] if share < 1 else None


def share_of(*words: str) -> float:
    """Return a number from 0 to 1 that depends on the words alone."""
    digest = hashlib.blake2b("|".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def make_marker(path: str, i: int) -> str:
    """Return the marker of request number `i` of a path: every word of its answer is it."""
    digest = hashlib.blake2b(f"{path}|{i}".encode(), digest_size=6).digest()
    return f"m{i:06d}" + "".join(chr(97 + byte % 26) for byte in digest)


def last_marker(text: str) -> str | None:
    """Return the last marker in a text."""
    found = _MARKER.findall(text)
    return found[-1] if found else None
