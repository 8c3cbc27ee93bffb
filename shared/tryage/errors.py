"""The exceptions of Tryage, one tree.

TryageError
├── InputError (ValueError)            a value of the wrong type, shape or range
│   ├── FlagError                      a malformed flag in a prompt
│   ├── LibraryError                   duplicate names, unknown expert, empty library
│   └── QTableError                    a Q-table that cannot be read or used
├── NoExpertError (LookupError)        no expert is left to choose, and no default may step in
├── PerceptionError (RuntimeError)     the predictions are unusable (NaN, shape, failed encoder)
├── AllFailedError (RuntimeError)       every expert that was asked has failed
├── MeasurementError (RuntimeError)    an expert cannot be measured any further
├── PersistenceError (OSError)         a saved router that is missing, damaged or too new
├── CatalogueError (OSError)           a local catalogue that cannot be read or written
├── HubError (ConnectionError)         the Hub cannot be reached, refuses, or gives no answer
│   ├── HubOfflineError                asked while offline; nothing was sent
│   ├── HubAccessError                 a bad token, or a repository behind a gate
│   ├── HubMissingError                no such repository, or none that this token may see
│   ├── HubQuotaError                  too many requests; says how long to wait
│   └── HubReplyError                  an answer that is truncated, no JSON, or of the wrong shape
└── MissingExtraError (ImportError)    an optional dependency is not installed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class TryageError(Exception):
    """Base of every error that Tryage raises on purpose."""


class InputError(TryageError, ValueError):
    """A value of the wrong type, shape or range was given."""


class FlagError(InputError):
    """A prompt holds a malformed flag; the message names the nearest valid form."""


class LibraryError(InputError):
    """The library is empty, has duplicate names, or does not hold the expert asked for."""


class QTableError(InputError):
    """A Q-table cannot be read or used."""


class NoExpertError(TryageError, LookupError):
    """No expert is left to choose and strict mode forbids the default."""


class PerceptionError(TryageError, RuntimeError):
    """The perception's predictions are unusable."""


class AllFailedError(TryageError, RuntimeError):
    """Every expert that was asked has failed; the message tells each one's error, no secrets.

    `failures` holds `(expert, error)` in the order of the attempts.
    """

    def __init__(self, message: str, failures: Sequence[tuple[str, BaseException]] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


class MeasurementError(TryageError, RuntimeError):
    """An expert cannot be measured any further: its client or its model refuses."""


class PersistenceError(TryageError, OSError):
    """A saved router is missing, damaged or from a newer version."""


class CatalogueError(TryageError, OSError):
    """A local catalogue cannot be read or written."""


class HubError(TryageError, ConnectionError):
    """The Hub cannot be reached, refuses, or gives no answer; `status` is that of its reply."""

    status: int | None = None


class HubOfflineError(HubError):
    """The Hub was asked while offline; nothing was sent."""


class HubAccessError(HubError):
    """The token is bad, or the repository is behind a gate that it does not open."""


class HubMissingError(HubError):
    """There is no such repository, or none that this token may see."""


class HubQuotaError(HubError):
    """Too many requests; `retry_after` seconds until the next may be sent, None when unknown."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HubReplyError(HubError):
    """The Hub's answer is truncated, no JSON, or of the wrong shape."""


class MissingExtraError(TryageError, ImportError):
    """An optional dependency is not installed; the message names the command to install it."""
