"""The name of an expert as `init_chat_model` takes it: "openai:gpt-4o"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.decision import Decision
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.experts import Expert

METADATA = "chat_model"

# What init_chat_model knows. A list, because "llama3:8b" has the same form and names no provider.
PROVIDERS = frozenset(
    {
        "anthropic", "anthropic_bedrock", "azure_ai", "azure_openai", "baseten", "bedrock",
        "bedrock_converse", "cohere", "deepseek", "fireworks", "google_anthropic_vertex",
        "google_genai", "google_vertexai", "groq", "huggingface", "ibm", "litellm", "mistralai",
        "nvidia", "ollama", "openai", "openrouter", "perplexity", "together", "upstage", "xai",
    }
)  # fmt: skip


def model_string(chosen: Decision | Expert) -> str:
    """Return the string with which `init_chat_model` makes the expert's client.

    It is the metadata `chat_model` of the expert, or else its first name or alias of the form
    "provider:model". Never a guess from the name alone: the same weights have many providers.

    Raises:
        InputError: nothing says how the expert is called.
    """
    expert = chosen.expert if isinstance(chosen, Decision) else chosen
    told = expert.metadata.get(METADATA)
    for name in (told, expert.name, *expert.aliases):
        if isinstance(name, str) and _names_a_provider(name):
            return name
    raise InputError(
        f"No init_chat_model string is known for {expert.name!r}. Give the expert an alias or the "
        f"metadata {METADATA!r} such as 'openai:gpt-4o'."
    )


def _names_a_provider(name: str) -> bool:
    provider, colon, model = name.partition(":")
    return bool(colon and model.strip()) and provider in PROVIDERS
