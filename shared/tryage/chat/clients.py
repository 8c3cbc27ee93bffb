"""The clients that answer, by name: each is made when it is first chosen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from typing_extensions import Self

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")

T = TypeVar("T")

_INLINE_THRESHOLD = 2e-3  # seconds; a hop to a thread and back adds half a millisecond under load


class ClientPool(Mapping[str, Any], Generic[C]):
    """Name -> client, or what makes one. Threads may share it; a deep copy shares the clients.

    A framework says in a subclass what its clients are, `client`, and in words what else makes
    one, `expected`.

    Raises:
        InputError: no client, or one of another type.
    """

    client_type: ClassVar[type[Any]]
    expected: ClassVar[str]

    def __init__(self, sources: Mapping[str, Any]) -> None:
        if not sources:
            raise InputError("There are no models. Give at least one to choose.")
        for name, source in sources.items():
            if not self.is_valid_source(source):
                raise InputError(
                    f"The model {name!r} is a {type(source).__name__}. Expected {self.expected}."
                )
        self._sources = dict(sources)
        ready = (name for name, source in sources.items() if isinstance(source, self.client_type))
        self._clients: dict[str, C] = {name: sources[name] for name in ready}
        self._lock = threading.Lock()

    @classmethod
    def is_valid_source(cls, source: object) -> bool:
        """Tell whether it is a client or can make one."""
        return isinstance(source, cls.client_type) or (
            callable(source) and not isinstance(source, type)
        )

    def build(self, source: Any) -> C:  # noqa: ANN401 - what makes a client is of any type
        """Make a client from something that is none yet."""
        made: C = source()
        return made

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - as above
        """Return the client if there is one yet, else what makes it."""
        return self._clients.get(name, self._sources[name])

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the order given."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Count the clients."""
        return len(self._sources)

    def is_built(self, name: str) -> bool:
        """Tell whether the client exists: making one may take a while."""
        return name in self._clients

    def get_client(self, name: str) -> C:
        """Return the client, made now if it is the first time.

        Raises:
            Exception: whatever the client's own package raises, e.g. without a key.
        """
        if name not in self._clients:
            with self._lock:
                if name not in self._clients:
                    self._clients[name] = self.build(self._sources[name])
        return self._clients[name]

    def __repr__(self) -> str:
        """Name the clients; settings and clients may hold secrets."""
        return f"{type(self).__name__}({', '.join(self)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the clients: they hold connections, and are safe to share."""
        return self


class AdaptiveExecutor:
    """Runs a function in the loop while it last took less than two milliseconds.

    The first time it may have an encoder to load, so it goes to a thread.
    """

    def __init__(self) -> None:
        self._last_duration = float("inf")

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns."""
        if self._last_duration < _INLINE_THRESHOLD:
            return self._run_timed(function)
        return await asyncio.to_thread(self._run_timed, function)

    def _run_timed(self, function: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return function()
        finally:
            self._last_duration = time.perf_counter() - start
