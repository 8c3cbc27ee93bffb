"""TokenUsage: the tokens that a provider has counted for an answer, read from its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# What each provider calls its numbers: both formats of OpenAI, which most others follow, Anthropic,
# Google, Bedrock, Ollama and DeepSeek; and LangChain's own.
_COUNTS = {
    "prompt_tokens": "input",
    "input_tokens": "input",
    "prompt_token_count": "input",
    "inputTokens": "input",
    "prompt_eval_count": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "candidates_token_count": "output",
    "outputTokens": "output",
    "eval_count": "output",
    "total_tokens": "total",
    "total_token_count": "total",
    "totalTokens": "total",
    "cached_content_token_count": "read",
    "prompt_cache_hit_tokens": "read",
    # Anthropic and Bedrock count these beside the tokens of the input, all others among them: also
    # LiteLLM, which adds Anthropic's names to a report in OpenAI's form.
    "cache_read_input_tokens": "separate read",
    "cacheReadInputTokens": "separate read",
    "cache_creation_input_tokens": "separate write",
    "cacheWriteInputTokens": "separate write",
    # Google counts these apart: what its own tools have read, and what it has thought.
    "tool_use_prompt_token_count": "tool input",
    "thoughts_token_count": "thoughts",
}
_DETAILS = {
    "cached_tokens": "read",
    "cache_read": "read",
    "cache_write_tokens": "write",
    "cache_creation": "write",
    "ephemeral_5m_input_tokens": "short write",
    "ephemeral_1h_input_tokens": "long write",
}
_WRITE_DETAILS = {"ephemeral_1h_input_tokens": "separate long write"}

# Where a report has numbers within numbers, and what they are called there.
_NESTED = {
    "prompt_tokens_details": _DETAILS,
    "input_tokens_details": _DETAILS,
    "input_token_details": _DETAILS,
    "completion_tokens_details": _DETAILS,
    "output_tokens_details": _DETAILS,
    "output_token_details": _DETAILS,
    "cache_creation": _WRITE_DETAILS,
}

# Beginnings of the names of tokens that are billed at rates which no table of prices has by model.
_OTHER_RATES = ("audio", "priority", "flex")


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens of one answer, or of several.

    `input_tokens` count all that was read: also the `cached_tokens`, read from the provider's
    cache, and those written to it, `cache_write_tokens` for minutes and `long_cache_write_tokens`
    for an hour. `output_tokens` count all that was written, reasoning too. `has_other_rates` says
    that some are billed at rates of their own, such as sound.
    """

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cached_tokens: float = 0.0
    cache_write_tokens: float = 0.0
    long_cache_write_tokens: float = 0.0
    has_other_rates: bool = False

    def __add__(self, other: TokenUsage) -> TokenUsage:
        """Return the tokens of both."""
        return TokenUsage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.long_cache_write_tokens + other.long_cache_write_tokens,
            self.has_other_rates or other.has_other_rates,
        )

    @property
    def by_rate(self) -> tuple[float, float, float, float, float]:
        """The tokens by their price: input, cached, written to the cache, for an hour, output."""
        special = self.cached_tokens + self.cache_write_tokens + self.long_cache_write_tokens
        return (
            max(0.0, self.input_tokens - special),
            self.cached_tokens,
            self.cache_write_tokens,
            self.long_cache_write_tokens,
            self.output_tokens,
        )


NO_TOKENS = TokenUsage()
"""The usage of an answer that no provider bills, such as one from the caller's own cache."""


def add_usages(usages: Sequence[TokenUsage | None]) -> TokenUsage | None:
    """Return the tokens of several answers; None if there are none, or those of one are unknown."""
    known = [usage for usage in usages if usage is not None]
    return reduce(add, known) if known and len(known) == len(usages) else None


def read_usage(report: object) -> TokenUsage | None:
    """Return what a report of tokens says, None if it does not count both input and output.

    A report without any input is not complete: some servers count it in another part of a stream.

    `report` is the mapping or the object that a provider sends, such as the `usage` of OpenAI and
    of Anthropic or the `usage_metadata` of Google, or what LangChain makes of it.
    """
    values, counts = fields_of(report), _Counts()
    has_openai_form = "prompt_tokens" in values
    for name, value in values.items():
        if name in _COUNTS:
            meaning = _COUNTS[name]
            counts.add(meaning.removeprefix("separate ") if has_openai_form else meaning, value)
        elif value and name in _NESTED:
            counts.add_details(fields_of(value), _NESTED[name])
    if "input" not in counts or not ("output" in counts or "total" in counts):
        return None
    has_other_rates = counts.has_other_rates or values.get("service_tier") in _OTHER_RATES
    return _usage_from_counts(counts, has_other_rates=has_other_rates)


class _Counts(dict[str, float]):
    """The numbers of a report by their meaning; of two with one meaning, the first."""

    has_other_rates = False

    def __missing__(self, _: str) -> float:
        """Return 0 for what the report does not say."""
        return 0.0

    def add(self, meaning: str, value: object) -> None:
        """Add a value, if it is a count of tokens."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and value >= 0:  # type: ignore[operator]  # a number, as just checked
            self.setdefault(meaning, float(value))  # type: ignore[arg-type]  # the same

    def add_details(self, details: Mapping[str, Any], meanings: Mapping[str, str]) -> None:
        """Add the numbers within a number."""
        for name, value in details.items():
            if name in meanings:
                self.add(meanings[name], value)
            elif value and name.startswith(_OTHER_RATES):
                self.has_other_rates = True


def _usage_from_counts(counts: _Counts, *, has_other_rates: bool) -> TokenUsage | None:
    """Return the tokens; None if there is no input."""
    separate_reads, separate_writes = counts["separate read"], counts["separate write"]
    inputs = counts["input"] + separate_reads + separate_writes + counts["tool input"]
    if not inputs:
        return None
    # Where others than Google count reasoning apart, the total shows it.
    outputs = max(counts["output"] + counts["thoughts"], counts["total"] - inputs)
    writes = max(0.0, separate_writes - counts["separate long write"])
    return TokenUsage(
        inputs,
        outputs,
        separate_reads + counts["read"],
        writes + counts["write"] + counts["short write"],
        counts["separate long write"] + counts["long write"],
        has_other_rates,
    )


def fields_of(value: object) -> Mapping[str, Any]:
    """Return a mapping itself, or the attributes of a client's object; empty without any."""
    if isinstance(value, Mapping):
        return value
    return {} if isinstance(value, type) else getattr(value, "__dict__", {})
