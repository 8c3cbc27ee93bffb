"""Keys of requests: digests by which the answer to an equal request is found again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What distinguishes one request to a model from all others, without any text.

    `whole` is the digest of everything that is sent: messages, tools, settings. `rest` is that of
    everything but the words of the user's last message: two requests with an equal `rest` may mean
    the same if these words do. An empty `whole` is of a request that cannot be compared.
    """

    whole: str
    rest: str

    @classmethod
    def of_prompt(cls, prompt: str) -> RequestKey:
        """Return the key of a prompt that is sent alone."""
        return cls(digest([prompt]), digest([]))


def digest(parts: Iterable[object]) -> str:
    """Return 32 hexadecimal digits that depend on every part, in their order."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        text = part if isinstance(part, str) else repr(part)
        data = text.encode("utf-8", "surrogatepass")
        hasher.update(f"{len(data)}:".encode())
        hasher.update(data)
    return hasher.hexdigest()


NOT_COMPARABLE = RequestKey("", "")
"""The key of a request of which something that is sent has no digest."""
