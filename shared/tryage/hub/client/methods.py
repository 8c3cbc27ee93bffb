"""What both clients share: how a question becomes a method, and what they refuse."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from tryage.errors import HubError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.hub.client.protocol import Call
    from tryage.hub.client.settings import HubSettings


class Client(Protocol):
    """Whatever has settings."""

    @property
    def settings(self) -> HubSettings:
        """Where the Hub is, and who asks."""


P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C", bound=Client)


def asks(
    question: Callable[Concatenate[HubSettings, P], Call[T]], by: Callable[[C, Call[T]], R]
) -> Callable[Concatenate[C, P], R]:
    """Make a question of calls.py, with its arguments and its words, a method that asks it."""

    @wraps(question)
    def method(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return by(self, question(self.settings, *args, **kwargs))

    return method


def at_once(concurrency: int) -> int:
    """Return how many questions may be under way, or say that nothing could be."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise InputError(f"concurrency must be a whole number from 1, got {concurrency!r:.80}.")
    return concurrency


def refuse(*, closed: bool) -> None:
    """Raise when the client was closed."""
    if closed:
        raise HubError("this client is closed; make a new one.")
