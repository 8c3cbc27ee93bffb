"""The models that are compared: names of today, what they mean, and routers over them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts
from tryage.chat.model_names import resolve_model_name
from tryage.core.cache import LRUCache
from tryage.core.validation import did_you_mean
from tryage.errors import InputError
from tryage.models.lookup import look_up
from tryage.models.refresh import current_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from tryage.core.expert import Expert
    from tryage.router import Router
    from tryage.traffic.traffic import Traffic

_MAX_ROUTERS = 16

_MAX_RESULTS = 1_000

_MIN_SEARCH = 2  # letters


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What a router over a pool depends on: the names, and the ids of loaded files."""

    names: tuple[str, ...]
    uses_all: bool = False
    library: str = ""
    traffic: str = ""


class RouterPool:
    """Routers over the chosen models, made when first used; safe to share between threads.

    Args:
        base: It decides.
        place: Its folder or id, None for the bundled router.
    """

    def __init__(self, base: Router, place: str | None = None) -> None:
        self.base, self.place = base, place
        # Facts of the bundled router give way to newer prices, those of a user's own do not.
        self._own_library = None if place is None else base.library
        self._routers: LRUCache[Router] = LRUCache(_MAX_ROUTERS)
        self._results: LRUCache[Any] = LRUCache(_MAX_RESULTS)
        self._lock = threading.Lock()

    def router(
        self,
        key: PoolKey,
        experts: Mapping[str, Expert] | None = None,
        traffic: Traffic | None = None,
    ) -> Router:
        """Return the router over a pool, which decides as a chat model over these names would.

        Args:
            key: The names, and what the other arguments are called.
            experts: What a loaded library says about models, by name.
            traffic: The log that the router learns from.

        Raises:
            InputError: no model is chosen.
            PerceptionError: the router cannot predict one of the models.
        """
        if not key.names and not key.uses_all:
            raise InputError("No model is chosen. Add two or more, such as gpt-5.4.")
        with self._lock:
            found = self._routers.get(key)
            if found is None:
                found = self._build(key, experts or {}, traffic)
                self._routers.put(key, found)
        return found

    def remember(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what was computed for a key, or compute it."""
        found = self._results.get(key)
        if found is None:
            found = compute()
            self._results.put(key, found)
        return found

    def _build(
        self, key: PoolKey, experts: Mapping[str, Expert], traffic: Traffic | None
    ) -> Router:
        if key.uses_all and traffic is None and not experts:
            return self.base
        names = self.base.library.names if key.uses_all else key.names
        told = [experts[name] for name in names if name in experts]
        clients = {name: ClientFacts(None, {}) for name in names}
        candidates = candidate_experts(clients, self._own_library, told)
        pool = CandidatePool.from_experts(candidates, self._own_library)
        return pool.build_router(self.base, None, None, traffic=traffic)

    def is_known(self, name: str) -> bool:
        """Return whether anything is known of the model that a name means."""
        return resolve_model_name(self.base.library, name) is not None or look_up(name) is not None

    def meaning(self, name: str) -> str | None:
        """Return the known model that a name means, None if it is called so itself."""
        found = resolve_model_name(self.base.library, name)
        if found is None:
            known = current_snapshot().find(name)
            meant = None if known is None else known.name
        else:
            meant = found.name
        return None if meant is None or meant.casefold() == name.casefold() else meant

    def check_name(self, name: str) -> None:
        """Raise unless a name means a model of which something is known.

        Raises:
            InputError: nothing is known of it; the message has names that look like it.
        """
        if self.is_known(name):
            return
        near = current_snapshot().suggest(name)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        hint = hint or did_you_mean(name, self.base.library.names)
        raise InputError(
            f"Nothing is known of a model {name!r:.80}.{hint} A model of your own is read from a "
            "library file with its name and prices."
        )

    def name_problem(self, name: str) -> str | None:
        """Return what `check_name` says of a name that is not known, None for a known one."""

        def check() -> str:
            try:
                self.check_name(name)
            except InputError as error:
                return str(error)
            return ""

        return self.remember(("name", name), check) or None

    def search(self, text: str, limit: int = 20) -> list[str]:
        """Return names of known models that hold a text, those first that begin with it."""
        wanted = text.strip().casefold()
        if len(wanted) < _MIN_SEARCH:
            return []
        names = dict.fromkeys((*self.base.library.names, *current_snapshot()))
        found = [name for name in names if wanted in name.casefold()]
        return sorted(found, key=lambda name: not name.casefold().startswith(wanted))[:limit]
