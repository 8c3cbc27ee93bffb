"""The 200 prompts of plainly easy and plainly hard kinds, on which no router is trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PROMPTS_FILE = Path(__file__).parent / "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class DifficultyPrompt:
    """A prompt of a kind that is plainly easy, or plainly hard; `length` is "short" or "long"."""

    kind: str
    hard: bool
    length: str
    language: str
    prompt: str


def read_prompts() -> list[DifficultyPrompt]:
    """Read the 200 prompts, which no router is trained on."""
    lines = PROMPTS_FILE.read_text("utf-8").splitlines()
    return [DifficultyPrompt(**json.loads(line)) for line in lines]
