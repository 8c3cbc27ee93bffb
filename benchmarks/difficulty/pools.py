"""Pools of models of today, known by their names alone, and routers over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage import Router

PAIRS = (
    ("openai:gpt-5.4", "openai:gpt-5.4-mini"),
    ("openai:gpt-5", "openai:gpt-5-nano"),
    ("openai:gpt-5.6-sol", "openai:gpt-5.6-luna"),
    ("anthropic:claude-opus-4-5", "anthropic:claude-haiku-4-5"),
    ("google_genai:gemini-3.1-pro", "google_genai:gemini-3.1-flash-lite"),
    ("xai:grok-4", "xai:grok-4-1-fast"),
    ("mistralai:mistral-large-2512", "mistralai:mistral-small-2506"),
    ("deepseek:deepseek-v4-pro", "deepseek:deepseek-v4-flash"),
    ("openrouter:qwen/qwen3.7-max", "openrouter:qwen/qwen3-30b-a3b"),
    ("openrouter:meta-llama/llama-4-maverick", "openrouter:meta-llama/llama-3.1-8b-instruct"),
)
"""A dear and a cheap model of one maker."""

FIVE = (
    "openai:gpt-5.4",
    "openai:gpt-5.4-mini",
    "anthropic:claude-opus-4-5",
    "google_genai:gemini-3.1-flash-lite",
    "deepseek:deepseek-v4-flash",
)
"""What a person may have keys for."""


def router_over(names: Sequence[str], base: Router) -> Router:
    """Return a router over models that are known by their names alone, as integrations make it."""
    clients = {name: ClientFacts(name, {}) for name in names}
    pool = CandidatePool.from_experts(candidate_experts(clients, None, ()), None)
    return pool.build_router(base, None, None)
