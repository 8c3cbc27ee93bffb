"""How good an answer is: exact match, multiple choice, numbers; any function may stand in."""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from tryage.errors import InputError
from tryage.scoring.measurement import Prompt

_NUMBER = re.compile(
    r"(?<![\w.])[-+\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?%?"
)
_FINAL = re.compile(r"(?i)####|\\boxed\{|\banswer\s*(?:is|=|:)")
_LETTER = r"[\(\[\*\s$]*([A-Z])(?![A-Za-z'\u2019])"
_SAID = re.compile(rf"(?:(?i:answer|choice|option)\s*(?i:is|=|:)?\s*:?|\\boxed\{{){_LETTER}")
_ALONE = re.compile(r"(?m)^[\(\[\*\s]*([A-Z])(?:[\)\].:*]|\s*$)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score in [0, 1], 1 best, and the USD that finding it has cost; None is unknown."""

    score: float
    cost: float | None = 0.0

    @staticmethod
    def of(given: object) -> Verdict:
        """Read what a scorer returned: a verdict, a number or a bool.

        Raises:
            InputError: it is none of these, or not in [0, 1].
        """
        verdict = given if isinstance(given, Verdict) else Verdict(given)  # type: ignore[arg-type]  # checked below
        if not isinstance(verdict.score, (int, float)) or not 0.0 <= verdict.score <= 1.0:
            raise InputError(
                f"A scorer returned {given!r:.80}; expected a score from 0 to 1, 1 best."
            )
        return Verdict(float(verdict.score), verdict.cost)


Scorer: TypeAlias = Callable[[Prompt, str], "Verdict | float"]
"""From a prompt and an answer to a score in [0, 1], 1 best. Threads call it at the same time."""

S = TypeVar("S", bound=Callable[..., object])


def needs(*fields: str) -> Callable[[S], S]:
    """Say which fields of a prompt a scorer cannot do without: checked before anybody is asked."""

    def mark(scorer: S) -> S:
        scorer.needs = fields  # type: ignore[attr-defined]  # a note on the function
        return scorer

    return mark


def needed(scorer: Scorer, prompt: Prompt) -> None:
    """Check that a prompt has what a scorer needs.

    Raises:
        InputError: names the first field that is missing.
    """
    for name in getattr(scorer, "needs", ()):
        if not getattr(prompt, name):
            raise InputError(
                f"The scorer needs the {name} of every prompt; {prompt.text!r:.80} has none."
            )


@needs("references")
def exact_match(prompt: Prompt, answer: str) -> float:
    """Score 1 if the answer is one of the references, but for case, spaces and signs around it."""
    return float(_plain(answer) in {_plain(reference) for reference in prompt.references})


@needs("references", "choices")
def multiple_choice(prompt: Prompt, answer: str) -> float:
    """Score 1 if the answer names the right choice, by its letter (A, B ...) or by its text.

    The reference is the letter or the text of the right choice. The last letter that the answer
    calls its answer counts, then the last that stands for itself; then the one choice whose text
    the answer holds.
    """
    chosen = _chosen(prompt.choices, answer)
    right = {_place(prompt.choices, reference) for reference in prompt.references}
    return float(chosen is not None and chosen in right)


@needs("references")
def numeric(prompt: Prompt, answer: str, tolerance: float = 1e-6) -> float:
    r"""Score 1 if the answer's number is a reference, within a relative tolerance.

    It is the first number after what announces it (`####`, `\\boxed{`, "answer is"), else the last.
    """
    given = _final_number(answer)
    wanted = [_final_number(reference) for reference in prompt.references]
    if None in wanted:
        raise InputError(f"{prompt.references} hold no number; expected one in each reference.")
    close = [
        given is not None and math.isclose(given, number, rel_tol=tolerance, abs_tol=tolerance**2)
        for number in wanted
        if number is not None
    ]
    return float(any(close))


def with_choices(prompt: Prompt) -> str:
    """Return the text to ask for a prompt with choices: each on a line, with its letter."""
    lines = [
        f"{letter}. {choice}" for letter, choice in zip(_letters(), prompt.choices, strict=False)
    ]
    return "\n".join([prompt.text, *lines, "Answer with the letter of the right choice."])


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(string.punctuation + string.whitespace)


def _letters() -> str:
    return string.ascii_uppercase


def _place(choices: tuple[str, ...], reference: str) -> int:
    """Return which choice a reference means."""
    texts = [_plain(choice) for choice in choices]
    if _plain(reference) in texts:
        return texts.index(_plain(reference))
    place = _letters().find(reference.strip().upper()) if len(reference.strip()) == 1 else -1
    if not 0 <= place < len(choices):
        raise InputError(f"The reference {reference!r:.80} is none of the choices {choices}.")
    return place


def _chosen(choices: tuple[str, ...], answer: str) -> int | None:
    for pattern in (_SAID, _ALONE):
        letters = [
            found for found in pattern.findall(answer) if found in _letters()[: len(choices)]
        ]
        if letters:
            return _letters().index(letters[-1])
    said = _plain(answer)
    held = [place for place, choice in enumerate(choices) if _plain(choice) in said]
    exact = [place for place in held if _plain(choices[place]) == said]
    if exact or len(held) == 1:
        return (exact or held)[0]
    return None


def _final_number(text: str) -> float | None:
    announced = [found.end() for found in _FINAL.finditer(text)]
    if announced and (found := _NUMBER.search(text, announced[-1])):
        return _value(found.group())
    numbers = _NUMBER.findall(text)
    return _value(numbers[-1]) if numbers else None


def _value(written: str) -> float | None:
    """Return the number that is written: 1,234.5, 3/4, 12%, with a hyphen or a minus sign."""
    plain = written.replace(",", "").replace("\u2212", "-").replace(" ", "")
    percent = plain.endswith("%")
    top, _, bottom = plain.rstrip("%").partition("/")
    if bottom and float(bottom) == 0.0:
        return None
    return float(top) / float(bottom or 1) / (100.0 if percent else 1.0)
