"""The attempts at one answer: who is asked, what failed, and when to give up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.chat.failures import another_may_answer, told
from tryage.chat.needs import taken_on_trust
from tryage.errors import AllFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.chat.plan import Plan
    from tryage.experts import Library


class Attempts:
    """Go through a plan until one expert answers.

    The caller does the asking, so sync, async and streams share it:

        for name in attempts:
            try:
                answer = ask(name)
            except Exception as error:
                attempts.failed(name, error)
            else:
                return attempts.record(name), answer

    `failures` holds `(name, error)`, in order. `most` limits how many are asked, None is all.
    """

    def __init__(self, plan: Plan, library: Library, most: int | None = None) -> None:
        self.plan, self.failures = plan, list[tuple[str, Exception]]()
        self._library, self._most = library, most

    def __iter__(self) -> Iterator[str]:
        """Yield who to ask next.

        Raises:
            AllFailedError: everyone was asked and failed, and there was more than one to ask.
        """
        for name in self.plan.order():
            if self._most is not None and len(self.failures) >= self._most:
                break
            yield name
        if len(self.failures) == 1:  # nothing to sum up: the caller knows this error
            raise self.failures[0][1]
        lines = [f"  {name}: {told(error)}" for name, error in self.failures]
        message = "\n".join([f"All {len(lines)} experts that were asked have failed:", *lines])
        raise AllFailedError(message, self.failures) from self.failures[-1][1]

    def failed(self, name: str, error: Exception, *, asked: bool = True) -> None:
        """Note that an expert failed; `asked` is False if its client could not even be made.

        Raises:
            Exception: the error itself, when no other expert could do better.
        """
        if asked:
            trust = taken_on_trust(self.plan.needs, self._library, self._library.index(name))
            if not another_may_answer(error, on_trust=trust):
                raise error
        self.failures.append((name, error))

    def record(self, served_by: str) -> dict[str, Any]:
        """Return the plan's record with who answered and who failed before, JSON-safe."""
        record = self.plan.record(served_by)
        if self.failures:
            record["failed"] = {name: told(error) for name, error in self.failures}
        return record
