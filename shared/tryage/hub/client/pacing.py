"""When to ask again: the Hub's own words about its quota, and a growing pause where it has none."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVE = 0.1  # of the window's quota: from here on requests are spread, so that none is refused
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
_NUMBERS = re.compile(r"\b([rtqw])\s*=\s*(\d{1,9})\b")


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a window: `remaining` requests until `reset`, the next not before `opens`.

    Times are seconds on the caller's clock. `limit` requests per `window` seconds are known when
    the Hub stated its policy.
    """

    remaining: int
    reset: float
    opens: float
    limit: int | None = None
    window: float | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], now: float) -> Quota | None:
        """Read `RateLimit: "api";r=499;t=295` and `RateLimit-Policy`; None without the first.

        Header names are lower case. Source: the Hub's documentation of its rate limits, after
        draft-ietf-httpapi-ratelimit-headers.
        """
        state = _numbers(headers.get("ratelimit", ""))
        policy = _numbers(headers.get("ratelimit-policy", ""))
        if not state.keys() >= {"r", "t"}:
            return None
        return cls(state["r"], now + state["t"], now, policy.get("q"), policy.get("w"))

    def wait(self, now: float) -> float:
        """Return the seconds until one more request may be sent."""
        return self.take(now)[0]

    def take(self, now: float) -> tuple[float, Quota]:
        """Return the seconds to wait for one more request, and the quota after it.

        Requests go at once while more than a tenth of the quota is left; the last tenth is spread
        over the rest of the window; with nothing left the next goes when the window resets.
        """
        start = max(now, self.opens)
        quota = self if start < self.reset and self.remaining > 0 else self._renewed(start)
        start = max(start, quota.opens)
        left = quota.remaining - 1
        spread = left < RESERVE * (quota.limit or 0)
        gap = (quota.reset - start) / quota.remaining if spread else 0.0
        return start - now, replace(quota, remaining=left, opens=start + gap)

    def _renewed(self, now: float) -> Quota:
        """Return the next window; without a stated policy, one that lets a single request see."""
        begin = max(now, self.reset)
        return replace(
            self, remaining=self.limit or 1, reset=begin + (self.window or 0), opens=begin
        )

    def seen(self, later: Quota) -> Quota:
        """Return what both say: in one window the count only falls, whatever order replies take."""
        if later.reset > self.reset + 2:  # whole seconds, rounded: one window differs by up to one
            return later
        return replace(
            later,
            remaining=min(self.remaining, later.remaining),
            opens=max(self.opens, later.opens),
        )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a refusal asks to wait (`Retry-After`, else `RateLimit`'s t)."""
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal() and len(asked) < 10:
        return float(asked)
    try:
        when = parsedate_to_datetime(asked)
    except (TypeError, ValueError):
        left = _numbers(headers.get("ratelimit", "")).get("t")
        return None if left is None else float(left)
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - now).total_seconds())


def pause(attempt: int, luck: float) -> float:
    """Return the seconds before a further attempt: doubling, capped, half of it left to `luck`.

    `attempt` counts from 0, `luck` is in [0, 1). Source: "equal jitter", Brooker, Exponential
    Backoff And Jitter (AWS Architecture Blog, 2015).
    """
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 10)) * (0.5 + luck / 2)


def _numbers(text: str) -> dict[str, int]:
    """Return the numbers of the first item in a header of either kind."""
    return {name: int(value) for name, value in _NUMBERS.findall(text.partition(",")[0])}
