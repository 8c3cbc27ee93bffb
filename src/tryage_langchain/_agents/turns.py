"""The pure part of the middleware: one decision per turn, kept in the agent's own state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.chat.needs import met, needs, telling
from tryage.chat.plan import How, Plan
from tryage.counting import estimate_tokens
from tryage.preferences import Preferences
from tryage.reading import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.chat import Conversation, Sticky
    from tryage.router import Router

Record = dict[str, Any]
"""A decision as the state keeps it: plain, because a strict checkpointer refuses classes."""


@dataclass(frozen=True)
class Turns:
    """Chooses for the calls of an agent, minding the record of the call before.

    The record holds `turn`, the key of the user's message, and what `Plan.record` says: `model`,
    `reason`, `how`, `scores`.
    """

    router: Router
    sticky: Sticky

    def choose(
        self,
        conversation: Conversation,
        turn: str,
        before: Mapping[str, Any],
        preferences: Preferences,
        model: str | None = None,
    ) -> Record:
        """Return the record of this call; `model` names the one expert to use.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        library = self.router.library
        tokens = conversation.tokens(estimate_tokens)
        required = needs(conversation, tokens)
        current = self._seated(before)
        able = current is not None and met(required, library, library.index(current))
        if model is not None:
            preferences = preferences.tightened(Preferences(only=[library[model].name]))
        elif able and self._goes_on(turn, before):
            return {**_kept(before), "model": current, "how": "kept for the turn", "turn": turn}
        wanted = (*preferences.requirements, *telling(required, library))
        (decision,) = self.router.route_batch(
            [conversation.request],
            [Preferences(preferences.weights, wanted)],
            contexts=[Context(tokens, current, conversation.answered_tokens(estimate_tokens))],
        )
        name = decision.expert.name
        how: How = "routed"
        if model is not None and not decision.default_used:
            how = "asked for"
        elif self.sticky == "thread" and able and any(r.name == current for r in decision.ranking):
            name, how = str(current), "kept for the thread"
        plan = Plan(decision, name, how, (turn, preferences), required)
        return {**plan.record(), "turn": turn}

    def _goes_on(self, turn: str, before: Mapping[str, Any]) -> bool:
        return self.sticky != "call" and before.get("turn") == turn

    def _seated(self, before: Mapping[str, Any]) -> str | None:
        """Return the expert that answered last, if it is one of ours."""
        for name in (before.get("served_by"), before.get("model")):
            if name in self.router.library:
                return str(name)
        return None


def _kept(before: Mapping[str, Any]) -> Record:
    return {key: value for key, value in before.items() if key != "served_by"}
