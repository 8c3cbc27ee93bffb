"""What telemetry is told of a routed call, and which provider a client calls."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tryage.chat.hooks import call_key
from tryage.chat.plan import CACHED
from tryage.chat.streams import PeekedStream
from tryage.models.hosts import host_of
from tryage.telemetry.observer import IGNORED_CALL, TELEMETRY, CallFacts, TokenCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.chat.hooks import FallbackHooks
    from tryage.chat.plan import RoutingPlan
    from tryage.core.decision import Decision
    from tryage.core.usage import TokenUsage
    from tryage.telemetry.observer import CallObserver

# What OpenTelemetry's conventions call a host, where we have another word for it.
_PROVIDERS = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}

_INNER_ATTRIBUTES = ("bound", "llm")

_PACKAGES = ("langchain_", "llama_index.llms.")


def observe_call(plan: RoutingPlan, clients: Mapping[str, object]) -> CallObserver:
    """Return what is told of a call that begins now; nobody is if telemetry is off.

    `clients` are those that are made, by the names of their experts.
    """
    observer = TELEMETRY.observer
    if observer is None:
        return IGNORED_CALL
    is_cached = plan.calls is not None and plan.calls.answer is not None
    return observer.begin_call(
        CallFacts(
            plan.id,
            plan.first,
            CACHED if is_cached else plan.reason_kind,
            None if plan.turn_choice is not None else plan.decision,
            partial(_provider_at, clients),
        )
    )


def observe_decision(decision: Decision, clients: Mapping[str, object]) -> CallObserver:
    """Do what `observe_call` does, for a decision that is followed by one call."""
    observer = TELEMETRY.observer
    if observer is None:
        return IGNORED_CALL
    provider = partial(_provider_at, clients)
    facts = CallFacts(decision.id, decision.expert.name, "routed", decision, provider)
    return observer.begin_call(facts)


def with_traces(hooks: FallbackHooks, observer: CallObserver) -> FallbackHooks:
    """Return hooks whose calls are observed."""
    if observer is IGNORED_CALL:
        return hooks
    return replace(hooks, call=observer.traced(hooks.call, call_key, _is_stream))


def token_counts(usage: TokenUsage | None) -> TokenCounts | None:
    """Return the tokens of an answer as telemetry counts them, None if they are unknown."""
    if usage is None:
        return None
    return TokenCounts(usage.input_tokens, usage.output_tokens, usage.cached_tokens)


def provider_of(client: object) -> str | None:
    """Return the provider that a client calls, in OpenTelemetry's words; None if unknown.

    It is in the name of the client's package: langchain_openai, llama_index.llms.openai.
    """
    while client is not None:
        module = type(client).__module__
        for beginning in _PACKAGES:
            if module.startswith(beginning):
                host = host_of(module.removeprefix(beginning).partition(".")[0]) or "core"
                if host != "core":  # langchain_core has what wraps a client
                    return _PROVIDERS.get(host, host)
        client = next(filter(None, (getattr(client, one, None) for one in _INNER_ATTRIBUTES)), None)
    return None


def _provider_at(clients: Mapping[str, object], name: str) -> str | None:
    return provider_of(clients.get(name))


def _is_stream(answer: object) -> bool:
    return isinstance(answer, PeekedStream)
