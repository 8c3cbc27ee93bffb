"""Every exception of Tryage, in one tree.

TryageError
├── InputError (ValueError)            a value of the wrong type, shape or range
│   ├── FlagError                      a malformed flag in a prompt
│   ├── LibraryError                   an empty library, duplicate names, an unknown expert
│   ├── QTableError                    a Q-table that cannot be read or used
│   ├── ConfigError                    a `tryage.toml` with problems, each with its line
│   └── GuaranteeError                 measured answers that do not allow a guarantee
├── InfeasibleError (ValueError)       limits that no assignment of prompts to experts meets
├── NoExpertError (LookupError)        no expert is eligible, and no default may be used
│   └── BudgetExceededError            a hard budget is spent
├── PerceptionError (RuntimeError)     the predictions are unusable (NaN, shape, failed encoder)
├── AllFailedError (RuntimeError)      every expert that was called has failed
├── ClientError (RuntimeError)      what a client raised, as words without credentials
├── InvalidAnswerError (ValueError)    a model replied, but its answer cannot be used
├── AttemptTimeoutError (TimeoutError)    one model took longer than its limit
├── DeadlineExceededError (TimeoutError)  a whole call took longer than its limit
├── MeasurementError (RuntimeError)    an expert cannot be measured further
├── FileWriteError (OSError)           a file that cannot be written; the old one is unchanged
├── PersistenceError (OSError)         a saved router that is missing, damaged or too new
├── CatalogueError (OSError)           a local catalogue that cannot be read or written
├── TrafficError (OSError)             a log of traffic that cannot be read or written
├── HubError (ConnectionError)         the Hub is unreachable, refuses, or does not answer
│   ├── HubOfflineError                a request in offline mode; nothing was sent
│   ├── HubAccessError                 an invalid token, or a gated repository
│   ├── HubMissingError                no such repository, or one that this token may not read
│   ├── HubQuotaError                  too many requests; the error says how long to wait
│   └── HubReplyError                  an answer that is cut off, not JSON, or of the wrong shape
└── MissingExtraError (ImportError)    an optional dependency is not installed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class TryageError(Exception):
    """Base class of every error that Tryage raises on purpose."""


class InputError(TryageError, ValueError):
    """A value has the wrong type, shape or range."""


class FlagError(InputError):
    """A prompt contains a malformed flag; the message names the nearest valid form."""


class LibraryError(InputError):
    """The library is empty, has duplicate names, or does not contain the requested expert."""


class QTableError(InputError):
    """A Q-table cannot be read or used."""


class ConfigProblem(NamedTuple):
    """One problem of a file of settings: the file, the line from 1, the path of the key, and what.

    The line is None where the file has nothing to point at, and the key is "" for the whole file.
    """

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        """Return the problem in one line, as editors and terminals link it."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(InputError):
    """A file of settings is missing or wrong; `problems` holds all that is wrong with it."""

    def __init__(self, message: str = "", problems: Sequence[ConfigProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, *problems: ConfigProblem) -> ConfigError:
        """Return the error that lists problems, one in a line."""
        lines = [str(problem) for problem in problems]
        head = [f"{len(lines)} problems in the settings:"] if len(lines) > 1 else []
        return cls("\n".join([*head, *lines]), problems)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the problems."""
        return type(self), (str(self), self.problems)


class GuaranteeError(InputError):
    """Measured answers do not allow a guarantee; `n_needed` prompts may, None where unknown."""

    def __init__(self, message: str = "", n_needed: int | None = None) -> None:
        super().__init__(message)
        self.n_needed = n_needed


class InfeasibleError(TryageError, ValueError):
    """No assignment of the prompts to experts meets all limits; the message says which is too low.

    `least_budget`, in USD, and `best_quality` are what would be possible, None where they are not
    the limit that cannot be met.
    """

    def __init__(
        self, message: str, least_budget: float | None = None, best_quality: float | None = None
    ) -> None:
        super().__init__(message)
        self.least_budget, self.best_quality = least_budget, best_quality


class NoExpertError(TryageError, LookupError):
    """No expert is eligible, and there is no default or strict mode forbids it."""


class BudgetExceededError(NoExpertError):
    """A hard budget is spent, so no expert may be called.

    `spent` and `limit` are in USD; `spent` counts requests in flight with what they are expected to
    cost. `key` is whose budget it is, None if all share it. `resets` is when the next period starts
    (UTC).
    """

    def __init__(  # noqa: PLR0913 - what the error says, for programs
        self,
        message: str,
        *,
        budget: str = "",
        spent: float = 0.0,
        limit: float = 0.0,
        key: str | None = None,
        resets: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.budget, self.spent, self.limit = budget, spent, limit
        self.key, self.resets = key, resets

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all values."""
        return _load_exceeded, (str(self), vars(self))


def _load_exceeded(message: str, values: dict[str, Any]) -> BudgetExceededError:
    return BudgetExceededError(message, **values)


class PerceptionError(TryageError, RuntimeError):
    """The predictions of the perception are unusable."""


class AllFailedError(TryageError, RuntimeError):
    """Every expert that was called has failed; the message lists their errors without secrets.

    `failures` holds `(expert, error)` in the order of the attempts; in a pickle, only the name of
    each error's class, because an error may hold a key and may not load again.
    """

    def __init__(self, message: str, failures: Sequence[tuple[str, BaseException]] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the errors of the attempts; the message lists them."""
        return type(self), (str(self), _class_names(self.failures))


class ClientError(TryageError, RuntimeError):
    """What a client of models or of the Hub raised: its class and message without credentials.

    It is the cause of errors whose original cause would show credentials in a printed traceback.
    """


def _class_names(
    failures: Sequence[tuple[str, BaseException]],
) -> tuple[tuple[str, ClientError], ...]:
    """Return failures in whose errors only the name of the class is left."""
    return tuple(
        (expert, error if type(error) is ClientError else ClientError(type(error).__name__))
        for expert, error in failures
    )


class InvalidAnswerError(TryageError, ValueError):
    """A model replied, but its answer cannot be used, so the next model is asked.

    The error of a parser is its `__cause__`. If `is_usable`, the caller can still do something with
    the `answer`: it is returned when no other model gives a better one. `problem` is "parse",
    "empty" or "length".
    """

    def __init__(
        self,
        message: str,
        answer: object = None,
        *,
        is_usable: bool = False,
        problem: str = "parse",
    ) -> None:
        super().__init__(message)
        self.answer, self.is_usable, self.problem = answer, is_usable, problem


class AttemptTimeoutError(TryageError, TimeoutError):
    """One model took longer than its limit, so the next model is asked."""


class DeadlineExceededError(TryageError, TimeoutError):
    """A whole call took longer than its limit; the message lists the errors without secrets.

    `failures` holds `(expert, error)` in the order of the attempts; in a pickle, only the name of
    each error's class, because an error may hold a key and may not load again.
    """

    def __init__(self, message: str, failures: Sequence[tuple[str, BaseException]] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the errors of the attempts; the message lists them."""
        return type(self), (str(self), _class_names(self.failures))


class MeasurementError(TryageError, RuntimeError):
    """An expert cannot be measured further: its client or its model refuses."""


class FileWriteError(TryageError, OSError):
    """A file cannot be written, such as on a full or a read-only disk; the old one is unchanged."""


class PersistenceError(TryageError, OSError):
    """A saved router is missing, damaged or from a newer version."""


class CatalogueError(TryageError, OSError):
    """A local catalogue cannot be read or written."""


class TrafficError(TryageError, OSError):
    """The log of traffic cannot be opened, read or written."""


class HubError(TryageError, ConnectionError):
    """The Hub is unreachable, refuses, or does not answer; `status` is the HTTP status, if any."""

    status: int | None = None


class HubOfflineError(HubError):
    """The Hub was needed in offline mode; nothing was sent."""


class HubAccessError(HubError):
    """The token is invalid, or it gives no access to a gated repository."""


class HubMissingError(HubError):
    """There is no such repository, or this token may not read it."""


class HubQuotaError(HubError):
    """Too many requests; the next may be sent in `retry_after` seconds, None when unknown."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HubReplyError(HubError):
    """The answer of the Hub is cut off, not JSON, or of the wrong shape."""


class MissingExtraError(TryageError, ImportError):
    """An optional dependency is not installed; the message names the command to install it."""
