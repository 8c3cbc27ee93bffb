"""Prompts of plainly easy and plainly hard kinds, on which no router is trained.

The 200 are of twenty kinds, half of them long. The 235 short ones are what people type into a chat:
they were written without a look at what routers are trained on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PROMPTS_FILE = Path(__file__).parent / "prompts.jsonl"
SHORT_PROMPTS_FILE = Path(__file__).parent / "short_prompts.jsonl"


@dataclass(frozen=True, slots=True)
class DifficultyPrompt:
    """A prompt of a kind that is plainly easy, or plainly hard; `length` is "short" or "long".

    `part` is "development" where prompts were looked at while requests for training were written.
    """

    kind: str
    hard: bool
    length: str
    language: str
    prompt: str
    part: str = "test"


def read_prompts(file: Path = PROMPTS_FILE) -> list[DifficultyPrompt]:
    """Read the prompts of a file, by default the 200."""
    lines = file.read_text("utf-8").splitlines()
    return [DifficultyPrompt(**json.loads(line)) for line in lines]
