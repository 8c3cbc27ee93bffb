"""Which provider a client calls, and what telemetry is told of a call."""

from __future__ import annotations

import pytest

from tryage.chat.call_observer import observe_call, provider_of, token_counts, with_traces
from tryage.chat.conversation import Conversation, Turn
from tryage.chat.hooks import FallbackHooks
from tryage.chat.router import ChatRouter
from tryage.core.usage import TokenUsage
from tryage.telemetry.observer import IGNORED_CALL, TokenCounts


def client_of(module, **attributes):
    return type("Client", (), {"__module__": module, **attributes})()


@pytest.mark.parametrize(
    ("module", "provider"),
    [
        ("langchain_openai.chat_models.base", "openai"),
        ("langchain_aws.chat_models.bedrock", "aws.bedrock"),
        ("langchain_google_genai.chat_models", "gcp.gemini"),
        ("langchain_mistralai.chat_models", "mistral_ai"),
        ("langchain_xai.chat_models", "x_ai"),
        ("llama_index.llms.anthropic.base", "anthropic"),
        ("langchain_core.language_models.fake", None),
        ("my.own.models", None),
    ],
)
def test_the_provider_is_read_from_the_package_of_a_client(module, provider):
    assert provider_of(client_of(module)) == provider


def test_the_provider_of_a_wrapper_is_that_of_what_it_calls():
    inner = client_of("langchain_groq.chat_models")
    assert provider_of(client_of("langchain_core.runnables.base", bound=inner)) == "groq"
    assert provider_of(None) is None


def test_tokens_that_are_unknown_stay_unknown():
    assert token_counts(None) is None
    assert token_counts(TokenUsage(7, 3, 2)) == TokenCounts(7, 3, 2)


def test_without_telemetry_hooks_stay_as_they_are(router):
    plan = ChatRouter(router).plan(Conversation([Turn("user", "small talk")]))
    hooks = FallbackHooks(str, str, print)
    assert observe_call(plan, {}) is IGNORED_CALL
    assert with_traces(hooks, IGNORED_CALL) is hooks


def test_a_call_is_observed_with_its_decision(telemetry, router):
    plan = ChatRouter(router).plan(Conversation([Turn("user", "small talk")]))
    observe_call(plan, {}).settle(plan.record(), None)
    decision, whole = telemetry.spans()
    assert (decision.name, whole.name) == ("route tryage", "invoke_workflow tryage")
    assert decision.parent.span_id == whole.context.span_id
    assert whole.start_time == decision.start_time == plan.decision.timing[0]
    assert whole.attributes["tryage.decision.id"] == plan.id
