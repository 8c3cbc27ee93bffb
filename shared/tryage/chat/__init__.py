"""Routing of conversations, the same for every framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.chat.attempts import Attempts as Attempts
    from tryage.chat.conversation import Conversation as Conversation
    from tryage.chat.conversation import Turn as Turn
    from tryage.chat.conversation import conversation_requirements as conversation_requirements
    from tryage.chat.model_names import resolve_model_name as resolve_model_name
    from tryage.chat.plan import RoutingPlan as RoutingPlan
    from tryage.chat.router import ChatRouter as ChatRouter
    from tryage.chat.router import Sticky as Sticky
    from tryage.core.cache import LRUCache as LRUCache

    Memory = LRUCache
    Plan = RoutingPlan
    needs = conversation_requirements
    recognise = resolve_model_name

_MODULES = {
    "Attempts": "tryage.chat.attempts",
    "ChatRouter": "tryage.chat.router",
    "Conversation": "tryage.chat.conversation",
    "LRUCache": "tryage.core.cache",
    "RoutingPlan": "tryage.chat.plan",
    "Sticky": "tryage.chat.router",
    "Turn": "tryage.chat.conversation",
    "conversation_requirements": "tryage.chat.conversation",
    "resolve_model_name": "tryage.chat.model_names",
    # Earlier names, kept for code that uses them.
    "Memory": "tryage.core.cache:LRUCache",
    "Plan": "tryage.chat.plan:RoutingPlan",
    "needs": "tryage.chat.conversation:conversation_requirements",
    "recognise": "tryage.chat.model_names:resolve_model_name",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
