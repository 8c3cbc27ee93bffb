"""Where calls are answered: what chooses, who answers, and how often asking may fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from tryage.chat.attempts import Attempts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.chat.children import Children
    from tryage.chat.conversation import Conversation
    from tryage.chat.plan import Plan
    from tryage.chat.routing import ChatRouter
    from tryage.errors import TryageError
    from tryage.preferences import Preferences

C = TypeVar("C")


@dataclass(frozen=True)
class Call:
    """One call as it came in: what is routed, and what is asked of the choice."""

    conversation: Conversation
    preferences: Preferences | None
    model: str | None


@dataclass(frozen=True)
class Desk(Generic[C]):
    """A router for conversations, the clients that answer them, and how many may be asked."""

    chat: ChatRouter
    children: Children[C]
    most: int | None

    def plan(self, call: Call) -> Plan:
        """Choose for one call."""
        return self.chat.plan(call.conversation, call.preferences, model=call.model)

    def plan_all(self, calls: Sequence[Call]) -> list[Plan | TryageError]:
        """Choose for all calls, in one encoder pass."""
        return self.chat.plan_batch(
            [call.conversation for call in calls],
            [call.preferences for call in calls],
            [call.model for call in calls],
        )

    def attempts(self, plan: Plan) -> Attempts:
        """Return the attempts at an answer."""
        return Attempts(plan, self.chat.router.library, self.most)
