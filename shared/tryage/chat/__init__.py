"""Routing conversations: what is the same for every framework whose chat models Tryage chooses."""

from __future__ import annotations

from tryage.chat.attempts import Attempts
from tryage.chat.conversation import Conversation, Turn
from tryage.chat.memory import Memory
from tryage.chat.needs import needs
from tryage.chat.plan import Plan
from tryage.chat.recognition import recognise
from tryage.chat.routing import ChatRouter, Sticky

__all__ = [
    "Attempts",
    "ChatRouter",
    "Conversation",
    "Memory",
    "Plan",
    "Sticky",
    "Turn",
    "needs",
    "recognise",
]
