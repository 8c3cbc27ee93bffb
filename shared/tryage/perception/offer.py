"""How a request fits the functions offered with it, for prompts that carry some as JSON.

Whether an expert should call a function, several or none shows in the words that request and
functions share, and in the values that the request brings; no embedding of the whole tells it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.surface import ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.base import Floats

WIDTH = 12

_START = re.compile(r"\n\s{0,8}[\[{]")
_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")
_NAME = re.compile(r'"name":\s*"([^"]*)"')
_KEYWORD = re.compile(r'"(?:type|properties|required|description|parameters|default|name)"')
_REQUIRED = re.compile(r'"required":\s*\[([^\]]*)\]')
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LINK = re.compile(r"\b(?:and|also|both|respectively|then|each|followed)\b|[,;]")
_STOP = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "that",
        "this",
        "what",
        "can",
        "you",
        "are",
        "how",
        "into",
        "out",
        "using",
        "use",
        "given",
        "has",
        "have",
        "was",
        "will",
        "would",
        "should",
        "could",
        "please",
        "find",
        "calculate",
        "get",
    ]
)
_STEM = 5  # "calculates" and "calculating" are one word


def offer(prompts: Sequence[str]) -> Floats:
    """Describe the fit, `(batch, WIDTH)`; zeros where nothing is offered."""
    return np.array([_describe(ends(prompt)) for prompt in prompts], np.float32).reshape(-1, WIDTH)


def _describe(text: str) -> list[float]:
    start = _START.search(text)
    if start is None:
        return [0.0] * WIDTH
    request, offered = text[: start.start()], text[start.start() :]
    asked, named = _stems(request), _stems(" ".join(_NAME.findall(offered)))
    told = _stems(_KEYWORD.sub("", offered))
    required = sum(names.count('"') // 2 for names in _REQUIRED.findall(offered))
    counts = np.log1p(
        [
            len(request),
            len(offered),
            offered.count('"parameters"'),
            offered.count('"type"'),
            len(_LINK.findall(request)),
            required,
            len(_NUMBER.findall(request)),
        ]
    )
    return [
        1.0,
        len(asked & named) / (len(named) + 1),
        len(asked & named) / (len(asked) + 1),
        len(asked & told) / (len(asked) + 1),
        len(asked & told) / (len(told) + 1),
        *counts[:6].tolist(),
        float(counts[6] - counts[5]),
    ]


def _stems(text: str) -> set[str]:
    return {word[:_STEM] for word in map(str.lower, _WORD.findall(text)) if word not in _STOP}
