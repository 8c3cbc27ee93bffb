"""Tryage inside LangChain: every prompt of a pipeline goes to the right runnable."""

from tryage.extras import require

require("langchain_core", "langchain")

from tryage_langchain.chat import ChatTryage
from tryage_langchain.handover import to_destination, to_router_input
from tryage_langchain.names import model_string
from tryage_langchain.router import TryageRouter

__all__ = ["ChatTryage", "TryageRouter", "model_string", "to_destination", "to_router_input"]
