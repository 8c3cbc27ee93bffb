"""Reasoning efforts: "gpt-5.6@low" names a model and the effort with which it is asked.

A model that is asked with two efforts is two experts, with their own quality, length, latency and
cost. Each provider has its own parameter for an effort; the integrations know them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.core.validation import did_you_mean, preview
from tryage.errors import InputError
from tryage.models.lookup import look_up
from tryage.models.names import parse_model_name

if TYPE_CHECKING:
    from collections.abc import Callable

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "thinking")
"""All efforts; "thinking" is that of a model which only turns its reasoning on or off."""

DEFAULT_EFFORTS = ("low", "medium", "high")
"""The efforts that `efforts=True` means."""


# Names -----------------------------------------------------------------------------------------


def split_effort(name: str) -> tuple[str, str | None]:
    """Return a name without its effort, and the effort: "gpt-5.6@low" is "gpt-5.6" and "low"."""
    model, at, effort = name.rpartition("@")
    effort = effort.strip().casefold()
    return (model, effort) if at and model and effort in EFFORTS else (name, None)


def join_effort(name: str, effort: str | None) -> str:
    """Return the name of a model that is asked with an effort; None adds nothing."""
    return name if effort is None else f"{split_effort(name)[0]}@{effort}"


# What models offer -----------------------------------------------------------------------------

# Efforts by the name of the model, from the documentation of the providers (2026-11). A model that
# reasons without levels, such as magistral, is not here.
_LEVELS = (
    (r"o1-(?:mini|preview)|gpt-5[.\d]*-pro", ()),  # a single level
    (r"o[134](?:-|$)|gpt-(?:[5-9]|oss)|codex", DEFAULT_EFFORTS),
    (r"claude-(?:3-7|3\.7)|claude-.*?-(?:3-7|[4-9])(?:[-.]|$)|claude-[4-9]", DEFAULT_EFFORTS),
    (r"gemini-3-pro", ("low", "high")),
    (r"gemini-(?:2\.5|[3-9])(?!.*(?:image|tts|live|audio))", DEFAULT_EFFORTS),
    (r"grok-3-mini", ("low", "high")),
)

_CHAT = re.compile(r"gpt-.*-chat")  # "gpt-5-chat" does not reason, unlike the model without "chat"


def known_efforts(name: str) -> tuple[str, ...]:
    """Return the efforts that a model is known to take by its name, of low, medium and high.

    Empty for a model that does not reason, that has no levels, or that is unknown.
    """
    spelling = parse_model_name(name)
    if spelling is None or _CHAT.search(name.casefold()) or known_to_reason(name) is False:
        return ()
    return next((levels for word, levels in _LEVELS if re.match(word, spelling.model)), ())


def known_to_reason(name: str) -> bool | None:
    """Return whether public tables say that a model reasons; None if they do not say."""
    model = look_up(name)
    return None if model is None else model.value("reasoning")


_CLAUDE_WITH_LEVELS = re.compile(r"claude-(?:opus-4-[5-9]|sonnet-4-[6-9]|[a-z]+-[5-9])(?!\d)")


def claude_takes_levels(name: str) -> bool:
    """Return whether a model of Claude takes a level, as since Opus 4.5, and not only a budget."""
    return _CLAUDE_WITH_LEVELS.search(name) is not None


# Tokens of hidden reasoning that a provider may use, where its parameter is a budget and not a
# level. 1,024 is the least that Anthropic allows, and from 16,000 on it advises for hard tasks.
_BUDGETS = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 4_096,
    "thinking": 4_096,
    "high": 16_384,
    "xhigh": 24_576,  # the most that Gemini 2.5 Flash allows
    "max": 24_576,
}


def thinking_budget(effort: str) -> int:
    """Return the tokens of reasoning that an effort means where a provider takes a budget."""
    return _BUDGETS[effort]


def claude_thinking(effort: str) -> dict[str, Any]:
    """Return the parameter `thinking` of Claude for an effort."""
    if effort == "none":
        return {"type": "disabled"}
    return {"type": "enabled", "budget_tokens": thinking_budget(effort)}


_ANSWER_TOKENS = 4_096


def limit_with_thinking(limit: int, budget: int) -> int:
    """Return the limit of tokens for an answer and its reasoning, which Claude counts together.

    A limit that leaves 4,096 tokens for the answer stays: it may be the most that Claude can write.

    Args:
        limit: The most tokens of an answer without reasoning.
        budget: The most tokens of reasoning.
    """
    return limit if limit - budget >= _ANSWER_TOKENS else limit + budget


def unsupported_effort(client: object, effort: str) -> InputError:
    """Return the error for a client without a known parameter for efforts."""
    kind = type(client).__name__
    return InputError(
        f"Tryage does not know how a {kind} takes the reasoning effort {effort!r}. Make it with "
        f"its effort yourself and say so: models={{'my-model': {kind}(...)}}, "
        f"experts=[Expert('my-model', effort={effort!r})]."
    )


# The models of a pool --------------------------------------------------------------------------


@dataclass(frozen=True)
class EffortSource:
    """A client, or what makes one, that is asked with an effort."""

    source: Any
    effort: str


def check_efforts(efforts: object) -> tuple[str, ...]:
    """Return the efforts that the argument `efforts` means: True is low, medium and high.

    Raises:
        InputError: it is neither a bool nor a list of efforts.
    """
    if isinstance(efforts, bool):
        return DEFAULT_EFFORTS if efforts else ()
    if isinstance(efforts, (str, bytes)) or not isinstance(efforts, Sequence):
        raise InputError(
            f"efforts is {preview(efforts)}. Expected True, False or a list such as "
            "['low', 'high']."
        )
    for effort in efforts:
        if effort not in EFFORTS:
            near = did_you_mean(str(effort), EFFORTS)
            raise InputError(f"{preview(effort)} is no effort. Expected some of {EFFORTS}.{near}")
    return tuple(dict.fromkeys(efforts))


def add_efforts(
    models: Mapping[str, Any],
    efforts: Sequence[str],
    offered: Callable[[str, Any], Sequence[str]],
) -> dict[str, Any]:
    """Return models by name, one for each effort that a model has or that is asked for.

    A name that ends with an effort, such as "openai:gpt-5.6@low", gives it to its model. Every
    other model becomes one for each of the `efforts` that it takes, named `name@effort`; a model
    that takes none of them stays as it is.

    Args:
        models: Clients, or what makes one, by name.
        efforts: Which efforts to add.
        offered: Takes a name and its model; returns the efforts that the model takes.

    Raises:
        InputError: a name and its model have different efforts, or two models get one name.
    """
    result: dict[str, Any] = {}
    for name, source in models.items():
        for new_name, new_source in _variants(name, source, efforts, offered):
            if new_name in result:
                raise InputError(f"Two models are called {new_name!r:.80}. Rename one.")
            result[new_name] = new_source
    return result


def _variants(
    name: str,
    source: Any,  # noqa: ANN401 - a source of a client is of any type
    efforts: Sequence[str],
    offered: Callable[[str, Any], Sequence[str]],
) -> list[tuple[str, Any]]:
    """Return the models that one model becomes, with their names."""
    if isinstance(source, EffortSource):
        return [(name, source)]
    named = split_effort(name)[1] if isinstance(name, str) else None
    model, own = split_effort(source) if isinstance(source, str) else (source, None)
    if named and own and named != own:
        raise InputError(
            f"The model {name!r:.80} is {source!r:.80}: two efforts. Give it one of them."
        )
    if effort := named or own:
        return [(name, EffortSource(model, effort))]
    taken = set(offered(name, source)) if efforts else ()
    levels = [effort for effort in efforts if effort in taken]
    if not levels:
        return [(name, source)]
    return [(join_effort(name, effort), EffortSource(source, effort)) for effort in levels]
