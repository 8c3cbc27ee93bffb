"""Tryage inside LangChain: every prompt of a pipeline goes to the right runnable."""

from tryage.extras import require

require("langchain_core", "langchain")

from tryage_langchain.router import TryageRouter

__all__ = ["TryageRouter"]
