"""TokenUsage: the tokens that a provider has counted for an answer, read from its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# The names under which providers report tokens: both formats of OpenAI, which most others follow,
# Anthropic, Google, Bedrock and Ollama; and LangChain's own.
_INPUTS = (
    "prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens", "prompt_eval_count",
)  # fmt: skip
_OUTPUTS = (
    "completion_tokens", "output_tokens", "candidates_token_count", "outputTokens", "eval_count",
)  # fmt: skip
_TOTALS = ("total_tokens", "total_token_count", "totalTokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")

# Anthropic and Bedrock count these beside the tokens of the input, all others among them.
_SEPARATE_READS = ("cache_read_input_tokens", "cacheReadInputTokens")
_SEPARATE_WRITES = ("cache_creation_input_tokens", "cacheWriteInputTokens")

_READS = ("cached_tokens", "cache_read")
_UNDIVIDED_READS = ("cached_content_token_count", "prompt_cache_hit_tokens")
_WRITES = ("cache_write_tokens", "cache_creation")
_SHORT_WRITES, _LONG_WRITES = ("ephemeral_5m_input_tokens",), ("ephemeral_1h_input_tokens",)

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
    values = fields_of(report)
    inputs, outputs, total = (_count(values, names) for names in (_INPUTS, _OUTPUTS, _TOTALS))
    if inputs is None or (outputs is None and total is None):
        return None
    details = _details(values, _INPUT_DETAILS)
    separate_reads = _count(values, _SEPARATE_READS) or 0.0
    separate_writes = _count(values, _SEPARATE_WRITES) or 0.0
    separate_long_writes = _count(fields_of(values.get("cache_creation")), _LONG_WRITES) or 0.0
    all_inputs = inputs + separate_reads + separate_writes + _tool_inputs(values)
    if not all_inputs:
        return None
    return TokenUsage(
        all_inputs,
        _all_outputs(values, all_inputs, outputs or 0.0, total or 0.0),
        separate_reads + (_count(details, _READS) or _count(values, _UNDIVIDED_READS) or 0.0),
        max(0.0, separate_writes - separate_long_writes)
        + (_count(details, _WRITES) or 0.0)
        + (_count(details, _SHORT_WRITES) or 0.0),
        separate_long_writes + (_count(details, _LONG_WRITES) or 0.0),
        _has_other_rates(details, _details(values, _OUTPUT_DETAILS), values),
    )


def fields_of(value: object) -> Mapping[str, Any]:
    """Return a mapping itself, or the attributes of a client's object; empty without any."""
    if isinstance(value, Mapping):
        return value
    return {} if isinstance(value, type) else getattr(value, "__dict__", {})


def _tool_inputs(values: Mapping[str, Any]) -> float:
    """Return the input that Google counts apart: what its own tools have read."""
    return _count(values, ("tool_use_prompt_token_count",)) or 0.0


def _all_outputs(values: Mapping[str, Any], inputs: float, outputs: float, total: float) -> float:
    """Return all tokens that were written.

    Google counts its thoughts apart; where others count reasoning apart, the total shows it.
    """
    thoughts = _count(values, ("thoughts_token_count",)) or 0.0
    return max(outputs + thoughts, total - inputs)


def _has_other_rates(
    input_details: Mapping[str, Any], output_details: Mapping[str, Any], values: Mapping[str, Any]
) -> bool:
    """Tell whether some of the tokens are billed at rates of their own."""
    counts = [*input_details.items(), *output_details.items()]
    return values.get("service_tier") in _OTHER_RATES or any(
        name.startswith(_OTHER_RATES) and _number(value) for name, value in counts
    )


def _number(value: object) -> float | None:
    """Return a count of tokens, None if the value is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        return None
    return float(value)


def _count(values: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    """Return the first count that the values have under one of the names."""
    for name in names:
        if (count := _number(values.get(name))) is not None:
            return count
    return None


def _details(values: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the details of a count, which not all providers report; empty without any."""
    found = (fields_of(values.get(name)) for name in names)
    return next((details for details in found if details), {})
