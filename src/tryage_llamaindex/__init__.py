"""Tryage inside LlamaIndex: every query goes to the right choice, without an LLM call."""

from tryage.core.validation import require_extra

require_extra("llama_index.core", "llamaindex")

from tryage_llamaindex._fallback import RoutingCostEvent, RoutingDecisionEvent
from tryage_llamaindex.llm import TryageLLM
from tryage_llamaindex.selector import TryageSelection, TryageSelector
from tryage_llamaindex.tool_retriever import TryageToolRetriever

__all__ = [
    "RoutingCostEvent",
    "RoutingDecisionEvent",
    "TryageLLM",
    "TryageSelection",
    "TryageSelector",
    "TryageToolRetriever",
]
