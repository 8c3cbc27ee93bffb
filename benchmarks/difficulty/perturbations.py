"""Changes of a prompt that change nothing of what it asks."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WORD = re.compile(r"[a-zA-Zäöüßáéíóúàèçñãõ]{5,}")
_TYPO_RATE = 0.08  # of words of five letters or more


def lower_case(prompt: str) -> str:
    """Return the prompt in small letters."""
    return prompt.lower()


def upper_case_start(prompt: str) -> str:
    """Return the prompt with a capital letter at the beginning of each line."""
    return "\n".join(line[:1].upper() + line[1:] for line in prompt.split("\n"))


def without_end_mark(prompt: str) -> str:
    """Return the prompt without the mark at its end."""
    return prompt.rstrip().rstrip(".?!:\u3002\uff1f\uff01")


def with_end_marks(prompt: str) -> str:
    """Return the prompt with marks of exclamation at its end."""
    return prompt.rstrip() + "!!!"


def with_please(prompt: str) -> str:
    """Return the prompt with a polite word before it."""
    return "Please: " + prompt


def with_thanks(prompt: str) -> str:
    """Return the prompt with greeting and thanks around it."""
    return f"Hi, {prompt}\n\nThanks a lot!"


def with_typos(prompt: str) -> str:
    """Return the prompt with two letters exchanged in a few of its words."""
    generator = random.Random(prompt)  # noqa: S311 - not for security

    def mistype(match: re.Match[str]) -> str:
        word = match[0]
        if generator.random() >= _TYPO_RATE:
            return word
        at = generator.randrange(1, len(word) - 2)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return _WORD.sub(mistype, prompt)


def as_markdown(prompt: str) -> str:
    """Return the prompt under a heading, its first line in bold letters."""
    first, *rest = prompt.split("\n")
    return "\n".join(["## Request", "", f"**{first}**", *rest])


def in_template(prompt: str) -> str:
    """Return the prompt in a template of questions and answers."""
    return f"### Instruction:\n{prompt}\n\n### Response:\n"


def with_blank_lines(prompt: str) -> str:
    """Return the prompt with blank lines and spaces around it."""
    return f"\n\n  {prompt}  \n\n\n"


PERTURBATIONS: Mapping[str, Callable[[str], str]] = {
    "lower case": lower_case,
    "capitals at the start of lines": upper_case_start,
    "no end mark": without_end_mark,
    "!!!": with_end_marks,
    "please": with_please,
    "greeting and thanks": with_thanks,
    "typos": with_typos,
    "Markdown": as_markdown,
    "template": in_template,
    "blank lines": with_blank_lines,
}
