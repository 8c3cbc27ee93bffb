"""The parts of the bundled router, which a process reads once, however many routers it has."""

from __future__ import annotations

from typing import Any

from tryage.locks import ForkSafeLock
from tryage.perception.pretrained import BUNDLED_FOLDER, load_router_parts

_lock = ForkSafeLock()
_parts: dict[str, Any] = {}


def bundled_router_parts() -> dict[str, Any]:
    """Return the arguments of `Router` for the bundled router.

    All callers share what never changes: the encoder, the head and the library. The perception is
    a copy of its own for each, so that what one router learns from feedback is not known to others.

    Raises:
        PersistenceError: a file is missing or damaged.
    """
    if not _parts:
        with _lock:  # threads that need it at once wait for one of them to read it
            if not _parts:
                _parts.update(load_router_parts(BUNDLED_FOLDER, {}))
    return {**_parts, "perception": _parts["perception"].replace()}
