"""What is known of the LLMs that people already have, and what can be relied on of them all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms import LLM, LLMMetadata

from tryage.chat.facts import called
from tryage.chat.known import Told, experts_of
from tryage.chat.pool import Pool
from tryage.preferences import Preferences
from tryage_llamaindex._calls import calls_tools
from tryage_llamaindex._hub import HubModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.experts import Expert, Library
    from tryage.router import Router

NAME = "tryage"
_UNNAMED = LLMMetadata().model_name
# An LLM tells whether it calls tools and leaves the rest open: what is left open is possible.
_POSSIBLE = frozenset({"structured_output", "vision", "audio", "reasoning"})


def name_of(model: object) -> str | None:
    """Return the name of what an LLM calls, None if it does not tell."""
    if (name := called(model)) is not None:
        return name
    metadata = metadata_of(model)
    return None if metadata is None or metadata.model_name == _UNNAMED else metadata.model_name


def metadata_of(model: object) -> LLMMetadata | None:
    """Return an LLM's metadata; None of one that is not made yet, or has none."""
    try:
        return model.metadata if isinstance(model, LLM) else None
    except ValueError:  # OpenAI's of a model that it has never heard of
        return None


def pool(models: Mapping[str, object], router: Router | None, told: Sequence[Expert]) -> Pool:
    """Return what is known of the LLMs; `told` is what the user says of them.

    Raises:
        LibraryError: two names clash.
    """
    known = None if router is None else router.library
    clients = {name: _told(model) for name, model in models.items()}
    found = experts_of(clients, known, told)
    return Pool.of(map(_with_tools, found, models.values()), known)


def shared_metadata(
    models: Mapping[str, object], experts: Library, wanted: Preferences, window: int | None
) -> LLMMetadata:
    """Return what holds whoever is chosen, before any query is known.

    The context is that of the smallest that meets the standing requirements: LlamaIndex cuts
    retrieved text to it. Tools are offered to those that call tools, so one is enough.
    """
    standing = (need for need in wanted.requirements if need.field != "cost")  # of one request
    allowed = Preferences(requirements=standing).satisfied(experts)
    chosen = [experts.names[i] for i in range(len(experts)) if allowed[i] or not allowed.any()]
    told = {name: metadata_of(models[name]) for name in chosen}
    windows = [_window(told[name], experts[name]) for name in chosen]
    outputs = [one.num_output for one in told.values() if one is not None and one.num_output > 0]
    capable = [experts[name].capabilities for name in chosen]
    known: dict[str, Any] = {
        "context_window": window or min((one for one in windows if one is not None), default=None),
        "num_output": min(outputs, default=None),
    }
    return LLMMetadata(
        is_chat_model=True,  # each child applies its own template
        is_function_calling_model=any(able is None or "tools" in able for able in capable),
        model_name=NAME,
        **{name: value for name, value in known.items() if value is not None},
    )


def _told(model: object) -> Told:
    """Return what an LLM tells of itself; the default context is what nobody has set."""
    window = getattr(metadata_of(model), "context_window", DEFAULT_CONTEXT_WINDOW)
    facts = {} if window == DEFAULT_CONTEXT_WINDOW else {"context_length": window}
    return Told(name_of(model), facts, "the LLM's own metadata")


def _with_tools(expert: Expert, model: object) -> Expert:
    """Return an expert that calls tools if the LLM says so, whatever else is known."""
    able = _POSSIBLE if expert.capabilities is None else expert.capabilities
    tools = frozenset({"tools"})
    if isinstance(model, HubModel):
        return replace(expert, capabilities=able - tools)
    if not isinstance(model, LLM) or metadata_of(model) is None:
        return expert
    return replace(expert, capabilities=able | tools if calls_tools(model) else able - tools)


def _window(metadata: LLMMetadata | None, expert: Expert) -> int | None:
    if expert.context_length is not None:
        return int(expert.context_length)
    return None if metadata is None else metadata.context_window
