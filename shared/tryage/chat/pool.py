"""From clients to a router over them: their experts, and what is predicted of each."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.chat.facts import twins
from tryage.chat.memory import Memory
from tryage.chat.routing import ChatRouter, Sticky
from tryage.experts import Library
from tryage.preferences import Preferences
from tryage.reading import merged
from tryage.router import Router
from tryage.twins import Twins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.experts import Expert


@dataclass(frozen=True)
class Pool:
    """The experts that the clients are, in their order.

    `twins` says which of them are one model at two providers.
    """

    library: Library
    twins: dict[str, str]

    @classmethod
    def of(cls, found: Iterable[Expert], known: Library | None) -> Pool:
        """Return the pool of these experts, in which one model may have several providers.

        `known` is the library of a router of one's own: the facts are as old as it is.

        Raises:
            LibraryError: two names clash.
        """
        experts, equal = twins(found)
        library = Library(experts)
        library.origin = None if known is None else known.origin
        return cls(library, equal)

    def router(self, base: Router, preferences: Preferences | None, default: str | None) -> Router:
        """Return a router over the pool that decides as another does.

        Raises:
            PerceptionError: a model is new to the router's perception, which has no guess at it.
        """
        perception = base.perception
        if self.twins:
            alone = [name for name in self.library.names if name not in self.twins]
            perception = Twins(perception, self.library.subset(alone), self.twins)
        inherited = base.default if base.default in self.library else None
        return Router(
            perception,
            self.library,
            preferences=merged(base.preferences, preferences or Preferences()),
            constraints=base.constraints,
            default=default or inherited,
            strict=base.strict,
            prompt_flags=base.prompt_flags,
        )


class Choosers:
    """The chat routers of a pool, made when first used: one for each way of choosing.

    Copies of a chat model share them, so that copies with other preferences do not push out what
    is remembered of conversations; a pickle starts anew.
    """

    def __init__(self) -> None:
        # The parts are kept with what was made of them: a key is only theirs while they live.
        self._held: Memory[tuple[tuple[object, ...], ChatRouter]] = Memory(16)
        self._lock = threading.Lock()

    def get(
        self,
        found: Pool,
        router: Router | None,
        preferences: Preferences | None,
        default: str | None,
        sticky: Sticky,
    ) -> ChatRouter:
        """Return what chooses; without a router of one's own, the bundled one is read now."""
        key = (id(found), id(router), id(preferences), default, sticky)
        held = self._held.get(key)
        if held is None:
            with self._lock:
                held = self._held.get(key)
                if held is None:
                    base = Router.from_pretrained() if router is None else router
                    made = ChatRouter(found.router(base, preferences, default), sticky=sticky)
                    held = (found, router, preferences), made
                    self._held.put(key, held)
        return held[1]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep nothing: what is remembered belongs to conversations of this process."""
        return type(self), ()
