"""Settings of the server: keys, and limits of size, time and concurrency."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tryage.core.validation import check_integer, check_number, check_strings
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS_VARIABLE = "TRYAGE_SERVER_KEYS"
"""The variable of the environment that holds the keys of clients, divided by commas."""

_MIN_KEY = 16  # characters: a shorter one is guessed


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Who may ask the server, and how much.

    Attributes:
        keys: The keys of clients, sent as `Authorization: Bearer <key>`. Without any, everyone who
            reaches the address may ask.
        max_body: Bytes of a request at most; larger ones get the status 413.
        max_requests: Requests that are answered at the same time; others get the status 503.
        max_delay: Seconds that a call of no work may take within the process, on average. While one
            takes longer, the server has more to do than it can: new requests get the status 503.
        deadline: Seconds for an answer, over all models that are asked, or until its stream begins.
        client_seconds: Seconds that a client may take to send the next part of its request, and to
            read the next part of its answer.
        stop_seconds: Seconds that answers have to end when the server stops.
        metrics: Whether `GET /metrics` shows the metrics of the process; it needs a key, too.

    Raises:
        InputError: a number out of range, or a key of fewer than 16 characters.
    """

    keys: tuple[str, ...] = field(default=(), repr=False)
    max_body: int = 10_000_000
    max_requests: int = 200
    max_delay: float = 0.3
    deadline: float = 600.0
    client_seconds: float = 60.0
    stop_seconds: float = 30.0
    metrics: bool = False

    def __post_init__(self) -> None:
        """Check the keys and the numbers."""
        object.__setattr__(self, "keys", check_strings("keys", self.keys))
        if any(len(key) < _MIN_KEY for key in self.keys):
            raise InputError(f"A key has fewer than {_MIN_KEY} characters: give a longer one.")
        check_integer("max_body", self.max_body, 1)
        check_integer("max_requests", self.max_requests, 1)
        check_number("max_delay", self.max_delay, 1e-3)
        check_number("deadline", self.deadline, 1e-3)
        check_number("client_seconds", self.client_seconds, 1e-3)
        check_number("stop_seconds", self.stop_seconds, 0.0)


def keys_from_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the keys of clients that the environment holds, () without any."""
    parts = environment.get(KEYS_VARIABLE, "").split(",")
    return tuple(key for part in parts if (key := part.strip()))
