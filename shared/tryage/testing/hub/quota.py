"""The Hub's rate limits: so many requests per fixed window, said in every answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Quota:
    """Counts the requests of each bucket (`api`, `resolvers`) in windows of `window` seconds."""

    requests: int
    window: float
    clock: Callable[[], float]
    _buckets: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, path: str) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is within the quota, and the headers that say so.

        Refused requests, redirects and errors count as well.
        """
        bucket = "resolvers" if "/resolve/" in path else "api"
        now = self.clock()
        start, used = self._buckets.get(bucket, (now, 0))
        if now - start >= self.window:
            start, used = now, 0
        used += 1
        self._buckets[bucket] = start, used
        left = max(self.requests - used, 0)
        return used <= self.requests, limits(
            bucket, left, start + self.window - now, self.requests, self.window
        )


def limits(bucket: str, left: int, reset: float, quota: int, window: float) -> dict[str, str]:
    """Return the headers; `reset` and `window` are seconds, rounded up to whole ones."""
    return {
        "RateLimit": f'"{bucket}";r={left};t={math.ceil(reset)}',
        "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={math.ceil(window)}',
    }
