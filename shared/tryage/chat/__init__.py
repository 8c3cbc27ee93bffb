"""Routing of conversations, the same for every framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.chat.conversation import Conversation as Conversation
    from tryage.chat.conversation import Turn as Turn
    from tryage.chat.conversation import needs as needs
    from tryage.chat.fallback import Attempts as Attempts
    from tryage.chat.model_names import recognise as recognise
    from tryage.chat.router import ChatRouter as ChatRouter
    from tryage.chat.router import Plan as Plan
    from tryage.chat.router import Sticky as Sticky
    from tryage.core.cache import Memory as Memory

_MODULES = {
    "Attempts": "tryage.chat.fallback",
    "ChatRouter": "tryage.chat.router",
    "Conversation": "tryage.chat.conversation",
    "Memory": "tryage.core.cache",
    "Plan": "tryage.chat.router",
    "Sticky": "tryage.chat.router",
    "Turn": "tryage.chat.conversation",
    "needs": "tryage.chat.conversation",
    "recognise": "tryage.chat.model_names",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
