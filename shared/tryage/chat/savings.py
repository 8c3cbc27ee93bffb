"""Savings: what the answers of a routed chat model cost, and what one model alone would have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tryage.locks import ForkSafeLock


class AnswerCosts(NamedTuple):
    """What one answer cost, and what other models would have cost; in USD, None unknown."""

    billed: float | None
    best_single: float | None = None
    dearest: float | None = None


@dataclass(frozen=True, slots=True)
class Savings:
    """The totals of many answers, in USD; None where nothing is known.

    `answers` counts all answers, also streams that were not read to their end. `unknown` counts
    those of them, and the failed calls, whose bill is unknown: a price is, or the provider has not
    reported the tokens. They are in no sum. `billed` is what the others cost, with their failed
    attempts. `best_single` and `dearest` are what other models would have cost for the same
    tokens: the best single one, called `best_single_name`, and the dearest. `saved` is how much
    less than by the best single one was billed; below zero, it was more.
    """

    answers: int = 0
    unknown: int = 0
    billed: float | None = None
    best_single: float | None = None
    dearest: float | None = None
    saved: float | None = None
    best_single_name: str | None = None

    @property
    def saved_share(self) -> float | None:
        """The savings as a share of the cost of the best single model, None if that is 0."""
        if self.saved is None or not self.best_single:
            return None
        return self.saved / self.best_single

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {
            "answers": self.answers,
            "unknown": self.unknown,
            "billed": self.billed,
            "best_single": self.best_single,
            "dearest": self.dearest,
            "saved": self.saved,
            "saved_share": self.saved_share,
            "best_single_name": self.best_single_name,
        }

    def __str__(self) -> str:
        """Say it in one line: the answers, the bill, and how much less it is."""
        parts = [f"{_plural(self.answers, 'answer')}: {_dollars(self.billed)} billed"]
        if self.saved is not None:
            parts.append(self._comparison())
        if self.dearest is not None:
            parts.append(f"the dearest model costs {_dollars(self.dearest)}")
        if self.unknown:
            parts.append(f"the cost of {_plural(self.unknown, 'answer')} is unknown")
        return "; ".join(parts)

    def _comparison(self) -> str:
        """Compare the bill with that of the best single model."""
        saved, share = self.saved or 0.0, self.saved_share
        percent = "" if share is None else f" ({abs(share):.0%})"
        word = "saved, because" if saved >= 0 else "more, because"
        name = self.best_single_name or "the best single model"
        return (
            f"{_dollars(abs(saved))}{percent} {word} {name} alone costs "
            f"{_dollars(self.best_single)}"
        )

    def plus(self, costs: AnswerCosts, *, is_answer: bool = True) -> Savings:
        """Return the totals with one more answer, or with one more call that has failed."""
        answers = self.answers + is_answer
        if costs.billed is None:
            return replace(self, answers=answers, unknown=self.unknown + 1)
        less = None if costs.best_single is None else costs.best_single - costs.billed
        return Savings(
            answers,
            self.unknown,
            _add(self.billed, costs.billed),
            _add(self.best_single, costs.best_single),
            _add(self.dearest, costs.dearest),
            _add(self.saved, less),
        )


class SavingsCounter:
    """Adds up the costs of answers; safe between threads, and in a process that is forked.

    A copy or a pickle starts from zero.
    """

    def __init__(self) -> None:
        self._totals, self._lock = Savings(), ForkSafeLock()

    def add(self, costs: AnswerCosts, *, is_answer: bool = True) -> None:
        """Count one answer, or a call that has failed."""
        with self._lock:
            self._totals = self._totals.plus(costs, is_answer=is_answer)

    def read(self, best_single_name: str | None, *, reset: bool = False) -> Savings:
        """Return the totals; with `reset`, the next ones start from zero."""
        with self._lock:
            totals = self._totals
            if reset:
                self._totals = Savings()
        return replace(totals, best_single_name=best_single_name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a new counter: the answers belong to this process."""
        return type(self), ()

    def __repr__(self) -> str:
        """Show the totals."""
        return f"SavingsCounter({self._totals})"


def _add(total: float | None, value: float | None) -> float | None:
    return total if value is None else (total or 0.0) + value


def _dollars(usd: float | None) -> str:
    """Write USD with at least three digits that mean something, such as $12.30 and $0.000123."""
    if usd is None:
        return "an unknown amount"
    digits = 2 if usd >= 1 or usd <= 0 else min(10, 2 - math.floor(math.log10(usd)))
    return f"${usd:,.{digits}f}"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
