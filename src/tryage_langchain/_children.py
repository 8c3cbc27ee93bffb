"""The chat models that answer, by name: each is made when it is first chosen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables import Runnable
from pydantic import SecretStr

from tryage.errors import InputError
from tryage.extras import require

if TYPE_CHECKING:
    from typing import Self  # type: ignore[attr-defined, unused-ignore]  # for mypy on 3.10

Child: TypeAlias = Runnable[Any, Any]
Source: TypeAlias = Child | str | Callable[[], Child]

_SECRET = ("key", "token", "secret", "password", "credential", "authorization")


class Children(Mapping[str, Source]):
    """Name -> chat model, or what makes one: an `init_chat_model` string or a function.

    `settings` go to `init_chat_model`. Threads may share it. A deep copy shares the clients; a
    pickle leaves out those that were made from strings, and every setting that is a secret: they
    are made again from the environment.

    Raises:
        InputError: no model, or one of another type.
    """

    def __init__(self, sources: Mapping[str, Source], settings: Mapping[str, Any]) -> None:
        if not sources:
            raise InputError("There are no models. Give at least one to choose.")
        for name, source in sources.items():
            if not isinstance(source, (str, Runnable)) and not callable(source):
                raise InputError(
                    f"The model {name!r} is a {type(source).__name__}. Expected a chat model, an "
                    "init_chat_model string such as 'openai:gpt-4o-mini', or a function that "
                    "makes one."
                )
        self._sources, self._settings = dict(sources), dict(settings)
        self._made: dict[str, Child] = {
            name: source for name, source in sources.items() if isinstance(source, Runnable)
        }
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Source:
        """Return the chat model if there is one yet, else what makes it."""
        return self._made.get(name, self._sources[name])

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the order given."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Count the models."""
        return len(self._sources)

    @property
    def plain_settings(self) -> dict[str, Any]:
        """The settings that are no secrets."""
        return {name: value for name, value in self._settings.items() if not _secret(name, value)}

    def made(self, name: str) -> bool:
        """Tell whether the model exists: making one may take a while."""
        return name in self._made

    def get_model(self, name: str) -> Child:
        """Return the chat model, made now if it is the first time.

        Raises:
            MissingExtraError: `langchain`, which makes models from strings, is not installed.
            Exception: whatever the model's own package raises, e.g. without a key.
        """
        if name not in self._made:
            with self._lock:
                if name not in self._made:
                    self._made[name] = self._make(self._sources[name])
        return self._made[name]

    def _make(self, source: Source) -> Child:
        if isinstance(source, str):
            require("langchain.chat_models", "agents")
            from langchain.chat_models import init_chat_model

            model: Child = init_chat_model(source, **self._settings)
            return model
        return source if isinstance(source, Runnable) else source()

    def __repr__(self) -> str:
        """Name the models; settings and clients may hold secrets."""
        return f"Children({', '.join(self)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the clients: they hold connections, and are safe to share."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what can be made again, without secrets."""
        return type(self), (self._sources, self.plain_settings)


def _secret(name: str, value: object) -> bool:
    return isinstance(value, SecretStr) or any(word in name.casefold() for word in _SECRET)
