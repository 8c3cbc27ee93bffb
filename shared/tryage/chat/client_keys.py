"""What a client calls, as a key: two clients of one model at one provider have the same key."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from tryage.chat.model_names import model_name_of
from tryage.core.redaction import is_secret

if TYPE_CHECKING:
    from collections.abc import Hashable

# Attributes in which a wrapper keeps the client that it calls.
_INNER_ATTRIBUTES = ("bound", "llm")

# Attributes in which a client keeps the address that it calls.
_ADDRESS_NAME = re.compile(r"base|url|endpoint|host")


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
    for name, value in getattr(client, "__dict__", {}).items():
        nested = value.items() if isinstance(value, Mapping) else [(name, value)]
        for inner_name, inner_value in nested:
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
