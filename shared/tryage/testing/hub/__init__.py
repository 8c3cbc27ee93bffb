"""A Hugging Face Hub for tests: `LocalHub`, and what can be made to go wrong in it."""

from __future__ import annotations

from tryage.testing.hub.faults import (
    Dropped,
    Fault,
    Gated,
    Scheduled,
    ServerError,
    Slow,
    TooManyRequests,
    Truncated,
    Unauthorized,
    Vanished,
    WrongJson,
    WrongShape,
)
from tryage.testing.hub.http import Reply, Request
from tryage.testing.hub.local import LocalHub

__all__ = [
    "Dropped",
    "Fault",
    "Gated",
    "LocalHub",
    "Reply",
    "Request",
    "Scheduled",
    "ServerError",
    "Slow",
    "TooManyRequests",
    "Truncated",
    "Unauthorized",
    "Vanished",
    "WrongJson",
    "WrongShape",
]
