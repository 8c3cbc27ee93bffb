"""A Hugging Face Hub for tests: `LocalHub`, and the faults that a test can cause in it."""

from __future__ import annotations

from tryage.testing.hub.faults import (
    ConnectionDropped,
    Fault,
    Gated,
    RepositoryDeleted,
    Scheduled,
    ServerError,
    Slow,
    TooManyRequests,
    Truncated,
    Unauthorized,
    WrongJson,
    WrongShape,
)
from tryage.testing.hub.http import FakeRequest, FakeResponse
from tryage.testing.hub.local import LocalHub

# The former names, for tests that use them.
Dropped, Vanished, Request, Reply = ConnectionDropped, RepositoryDeleted, FakeRequest, FakeResponse

__all__ = [
    "ConnectionDropped",
    "Dropped",
    "FakeRequest",
    "FakeResponse",
    "Fault",
    "Gated",
    "LocalHub",
    "Reply",
    "RepositoryDeleted",
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
