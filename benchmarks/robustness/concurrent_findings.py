"""Counts how often something that must always hold was looked at, and how often it did not hold."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Findings:
    """The counts, safe between threads; `examples` has the first case in which a fact was wrong."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._lock = threading.Lock()

    def check(self, fact: str, holds: bool, example: object = "") -> None:
        """Count a look at a fact."""
        with self._lock:
            self.tried[fact] += 1
            if not holds:
                self.broken[fact] += 1
                self.examples.setdefault(fact, f"{example!s:.500}")

    @contextmanager
    def no_error(self, fact: str) -> Iterator[None]:
        """Count a block, and whether it raises."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - any error is a finding
            self.check(fact, False, f"{error!r} in {_innermost_calls(error)}")
        else:
            self.check(fact, True)

    def table(self) -> str:
        """Return the counts as a table of Markdown, with the examples below."""
        rows = ["| what must hold | looked at | broken |", "|---|---|---|"]
        rows += [f"| {fact} | {n:,} | {self.broken[fact]} |" for fact, n in self.tried.items()]
        return "\n".join(rows + [f"\n{fact}: {text}" for fact, text in self.examples.items()])


def _innermost_calls(error: Exception) -> str:
    """Return where an error was raised: a race that is rare is seen once."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return ", ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames)
