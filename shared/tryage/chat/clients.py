"""Clients by the names of their models: made when first needed, and which model each calls."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from typing_extensions import Self

from tryage.chat.efforts import EffortSource, unsupported_effort
from tryage.chat.model_names import model_name_of
from tryage.core.redaction import is_secret, without_secrets
from tryage.errors import InputError
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

C = TypeVar("C")

# Attributes in which a wrapper keeps the client that it calls.
_INNER_ATTRIBUTES = ("bound", "llm")

# Attributes in which a client keeps the address that it calls.
_ADDRESS_NAME = re.compile(r"base|url|endpoint|host")


class ClientPool(Mapping[str, Any], Generic[C]):
    """Name -> client, or the source that makes one; a deep copy shares the clients.

    A framework's subclass sets `client_type`, the class of its clients, and `source_description`,
    which describes valid sources in error messages. Threads may share a pool.

    Raises:
        InputError: there is no client, or one is of another type.
    """

    client_type: ClassVar[type[Any]]
    source_description: ClassVar[str]

    def __init__(self, sources: Mapping[str, Any]) -> None:
        if not sources:
            raise InputError("There are no models. Give at least one to choose.")
        self._sources = dict(sources)
        for name in sources:
            if not self.is_valid_source(source := self._plain_source(name)):
                raise InputError(
                    f"The model {name!r} is a {type(source).__name__}. "
                    f"Expected {self.source_description}."
                )
        self._clients: dict[str, C] = {
            name: self._with_effort(name, source)
            for name in sources
            if isinstance(source := self._plain_source(name), self.client_type)
        }
        # One lock for each client: a client that takes long to make must not hold up the others.
        self._locks = {name: ForkSafeLock() for name in sources}
        self._health_keys: dict[str, Hashable] = {}
        self.without_log_probabilities: set[str] = set()  # whose clients refuse to give them

    @classmethod
    def is_valid_source(cls, source: object) -> bool:
        """Tell whether it is a client or can make one."""
        return isinstance(source, cls.client_type) or (
            callable(source) and not isinstance(source, type)
        )

    def build(self, source: Any) -> C:  # noqa: ANN401 - a source of a client is of any type
        """Make a client from a source that is not a client yet."""
        client: C = source()
        return client

    def apply_effort(self, client: C, effort: str) -> C:
        """Return a client that is asked with a reasoning effort; it shares all else.

        Raises:
            InputError: the client has no parameter for it that is known.
        """
        raise unsupported_effort(client, effort)

    def effort(self, name: str) -> str | None:
        """Return the effort with which a client is asked; None if the name says nothing of it."""
        source = self._sources[name]
        return source.effort if isinstance(source, EffortSource) else None

    def _plain_source(self, name: str) -> Any:  # noqa: ANN401 - a source of a client is of any type
        """Return a client or its source, whatever its effort."""
        source = self._sources[name]
        return source.source if isinstance(source, EffortSource) else source

    def _with_effort(self, name: str, client: C) -> C:
        effort = self.effort(name)
        return client if effort is None else self.apply_effort(client, effort)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a source of a client is of any type
        """Return the client if it exists already, else its source."""
        return self._clients[name] if name in self._clients else self._plain_source(name)

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the given order."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Count the clients."""
        return len(self._sources)

    @property
    def built(self) -> Mapping[str, C]:
        """The clients that are made, by name."""
        return self._clients

    def is_built(self, name: str) -> bool:
        """Tell whether the client exists already: making one may take a while."""
        return name in self._clients

    def get_client(self, name: str) -> C:
        """Return the client; the first call makes it.

        Raises:
            InputError: a function returned something else.
            Exception: whatever the client's own package raises, for example without a key.
        """
        if name not in self._clients:
            with self._locks[name]:
                if name not in self._clients:
                    client = self.build(self._plain_source(name))
                    self._check_made(name, client)
                    self._clients[name] = self._with_effort(name, client)
        return self._clients[name]

    def _check_made(self, name: str, client: object) -> None:
        if not isinstance(client, self.client_type):
            raise InputError(
                f"The function that makes the model {name!r:.80} returned a "
                f"{type(client).__name__}. Expected {self.source_description}."
            )

    def health_key(self, name: str) -> Hashable:
        """Return what stands for the model that a client calls, in the health of the process."""
        key = self._health_keys.get(name)
        if key is None:
            if not self.is_built(name):
                return ClientIdentity(self), name  # its own key may depend on the environment
            key = self._health_keys[name] = client_key(self._clients[name])
        return key

    def __repr__(self) -> str:
        """List the names only: settings and clients may hold secrets."""
        return f"{type(self).__name__}({', '.join(self)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the clients: they hold connections, and are safe to share."""
        return self


# Models of the Hub -----------------------------------------------------------------------------


@dataclass(frozen=True)
class HubClientFactory(Generic[C]):
    """Makes the client of one model of the Hugging Face Hub.

    A pickle leaves out the settings that are secrets, such as a token.
    """

    build: Callable[..., C]
    name: str
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self) -> C:
        """Return the client."""
        return self.build(self.name, **self.settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep everything that is not a secret."""
        return type(self), (self.build, self.name, without_secrets(self.settings))


def hub_models(
    names: Iterable[str], build: Callable[..., C], settings: Mapping[str, Any]
) -> dict[str, HubClientFactory[C]]:
    """Return what makes the client of each model, by its id; `build` takes the id and settings."""
    return {name: HubClientFactory(build, name, dict(settings)) for name in names}


# What a client calls ---------------------------------------------------------------------------


def client_key(client: object) -> Hashable:
    """Return the same key for clients that call the same model in the same way.

    The key is a digest of the class, the model's name, the addresses and the credentials that the
    client holds. A client that shows neither an address nor a credential is known only as itself.
    """
    clients = [client, *(getattr(client, name, None) for name in _INNER_ATTRIBUTES)]
    settings = sorted({pair for inner in clients for pair in _connection_settings(inner)})
    if not settings:
        return ClientIdentity(client)
    bound_kwargs = getattr(client, "kwargs", None)
    bound_model = bound_kwargs.get("model") if isinstance(bound_kwargs, Mapping) else None
    parts = [*(_class_name(inner) for inner in clients), bound_model, model_name_of(*clients)]
    # Keyed, so that nobody can guess a short password by its digest.
    return hashlib.blake2b(repr([*parts, *settings]).encode(), key=_salt(), digest_size=16).digest()


def base_url_of(client: object) -> str | None:
    """Return the address that a client calls, None if it does not say."""
    for inner in (client, *(getattr(client, name, None) for name in _INNER_ATTRIBUTES)):
        for name, text in _connection_settings(inner):
            if "://" in text and _ADDRESS_NAME.search(name) and "proxy" not in name:
                return text
        if _class_name(inner).startswith("langchain_ollama."):  # its address is a default of Ollama
            return os.environ.get("OLLAMA_HOST") or "http://localhost:11434"
    return None


class ClientIdentity:
    """A key that stands for one object; it equals the key of no later object."""

    __slots__ = ("_hash", "_reference")

    def __init__(self, client: object) -> None:
        self._hash = id(client)
        self._reference: Callable[[], object]
        try:
            self._reference = weakref.ref(client)
        except TypeError:  # a class with slots: the key keeps its object alive
            self._reference = lambda: client

    def __eq__(self, other: object) -> bool:
        """Tell whether both stand for the same living object."""
        if not isinstance(other, ClientIdentity):
            return NotImplemented
        client = self._reference()
        return self is other or (client is not None and client is other._reference())

    def __hash__(self) -> int:
        """Return the object's id at the time when it lived."""
        return self._hash


def _connection_settings(client: object) -> Iterator[tuple[str, str]]:
    """Yield the addresses and the credentials among a client's attributes, with their names."""
    # Copies: another thread may use the client for the first time, which adds attributes.
    for name, value in dict(getattr(client, "__dict__", {})).items():
        nested = dict(value) if isinstance(value, Mapping) else {name: value}
        for inner_name, inner_value in nested.items():
            text = _text_of(inner_value)
            if text and ("://" in text or is_secret(str(inner_name), inner_value)):
                yield str(inner_name), text


def _text_of(value: object) -> str | None:
    """Return a text or a secret text of pydantic; None for other values."""
    reveal = getattr(value, "get_secret_value", None)
    text = reveal() if callable(reveal) else value
    return text if isinstance(text, str) else None


def _class_name(client: object) -> str:
    return f"{type(client).__module__}.{type(client).__qualname__}"


@lru_cache(maxsize=1)
def _salt() -> bytes:
    return secrets.token_bytes(16)
