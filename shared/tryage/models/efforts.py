"""What a reasoning effort changes: how often a model fails, and how much it writes.

`python benchmarks/efforts.py` measures both. Quality: 47 benchmarks that Epoch AI collects
(CC BY 4.0), the same model with several efforts. Length: the costs of aider's polyglot leaderboard
(Apache-2.0), and the tokens of zoonk_tasks for models with and without reasoning. Neither has
enough models with "xhigh" and "max", so their length grows by the factor from medium to high.
"""

from __future__ import annotations

import re

from tryage.models.names import parse_model_name

# The loss with an effort, divided by the loss of the same model with medium effort.
_LOSS_RATIOS = {
    "none": 1.3,
    "minimal": 1.3,
    "low": 1.2,
    "medium": 1.0,
    "thinking": 1.0,
    "high": 0.89,
    "xhigh": 0.8,
    "max": 0.8,
}

# The tokens of an answer, hidden reasoning included, divided by those with medium effort.
_TOKEN_RATIOS = {
    "none": 0.18,
    "minimal": 0.2,
    "low": 0.55,
    "medium": 1.0,
    "thinking": 1.0,
    "high": 1.8,
    "xhigh": 3.2,
    "max": 5.8,
}

REASONING_TOKENS = 1_800.0
"""Tokens of an everyday answer with medium effort, reasoning included: the median of 11 models."""

# Models that do not reason unless they are told to; all others reason with medium effort.
_NO_REASONING_BY_DEFAULT = re.compile(
    r"claude-(?:3|\w+-[34]\b|[34])|gpt-5\.[1-4]|gpt-[34]|gemini-2\.5-flash-lite"
)


def default_effort(name: str) -> str:
    """Return the effort with which a model is asked if nobody names one: "none" or "medium"."""
    spelling = parse_model_name(name)
    if spelling is None:
        return "medium"
    if spelling.effort in _LOSS_RATIOS:
        return spelling.effort
    return "none" if _NO_REASONING_BY_DEFAULT.match(spelling.model) else "medium"


def loss_ratio(effort: str, reference: str) -> float:
    """Return the loss of a model with one effort, divided by that with another one."""
    return _LOSS_RATIOS.get(effort, 1.0) / _LOSS_RATIOS.get(reference, 1.0)


def token_ratio(effort: str, reference: str = "medium") -> float:
    """Return the tokens of an answer with one effort, divided by those with another one."""
    return _TOKEN_RATIOS.get(effort, 1.0) / _TOKEN_RATIOS.get(reference, 1.0)
