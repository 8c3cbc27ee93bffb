"""What a prompt looks like on its surface: length, digits, code marks, scripts; no model needed.

Which expert answers well depends on form as much as on meaning: a long list of functions, a fill-in
blank and a line of Java read alike to a sentence encoder, and not at all alike here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.base import Floats

READ = 8_192  # characters at either end: enough for form, and a bound for endless prompts

_COUNTED = (
    "\n", "?", "$", "\\", "___", ":", ",", ".", "'", "`", "    ", '"name"', "def ", "assert",
    "import ", "->", "| ", "http",
)  # fmt: skip
_SHARES = (
    re.compile(r"[0-9]"),
    re.compile(r"[{}\[\]()<>;=]"),
    re.compile(r"[+\-*/^=]"),
    re.compile(r"[A-Z]"),
    re.compile(r"[^\x00-\x7f]"),
    re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"),
)
WIDTH = 6 + len(_COUNTED) + len(_SHARES)


def surface(prompts: Sequence[str]) -> Floats:
    """Describe the form of prompts, `(batch, WIDTH)`; counts are logarithmic, shares linear."""
    return np.array([_describe(prompt) for prompt in prompts], np.float32).reshape(-1, WIDTH)


def ends(prompt: str) -> str:
    """Keep the two ends of an endless prompt."""
    return prompt if len(prompt) <= 2 * READ else prompt[:READ] + prompt[-READ:]


def _describe(prompt: str) -> list[float]:
    text = ends(prompt)
    end = text.rstrip()[-1:]
    characters, words = len(text) + 1, text.count(" ") + 1
    row = [
        float(np.log(len(prompt) + 1)),
        float(np.log(words)),
        characters / words / 5,
        float(end == "?"),
        float(end == "."),
        float(text[:1].isupper()),
    ]
    row += np.log1p([text.count(mark) for mark in _COUNTED]).tolist()
    row += [len(pattern.findall(text)) / characters * 5 for pattern in _SHARES]
    return row
