"""Requests of easy, middle and hard kinds, with and without texts around them, for training.

Outcome sets are mostly exams: none of them holds a greeting, a title or a proof. These requests say
how hard such kinds are. No model answered them, so their difficulty is set, in logits of a loss: an
easy one is one that nearly every model of today meets, a hard one is one that few do. A text from
another prompt, or none, stands beside each, so that neither length nor topic gives it away. Short
ones from templates stand alone; every model of today meets the trivial ones.

Everything that is trained on them is to be judged on real outcomes and on `prompts.jsonl`, never on
these.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from templates import filled_templates, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REQUESTS_FILE = Path(__file__).parent / "requests.txt"
TRANSLATIONS_FOLDER = Path(__file__).parent / "translations"

DIFFICULTY = {"trivial": -5.5, "easy": -3.5, "middle": -1.5, "hard": 0.7}
"""The logit of the loss of a model of average ability."""

LENGTHS = {"easy": (60, 200, 500, 900, 900, 900, 900), "middle": (200, 900), "hard": (40, 150)}
"""Characters of the texts beside a request, at most: together, no level has the longer prompts."""

MORE_VARIANTS = {"easy": 2, "middle": 0, "hard": 3}
"""Further variants of a request that stands alone, so that short ones count as long ones."""

FRAMES = (
    *("{}", "{}", "{}", "{}"),
    "Hello! {}\n\nThank you in advance.",
    "could you help me with this? {}",
    "hey, {} thx",
    "# Task\n\n{}",
    "- **{}**",
    "Q: {}\nA:",
    "User: {}\nAssistant:",
    "<task>\n{}\n</task>",
    "Guten Tag, {} Vielen Dank!",
    "Bonjour, {} Merci !",
    "Hola, {} \u00a1Gracias!",
    "Oi, {} Obrigado!",
    "\u4f60\u597d\uff0c{} \u8c22\u8c22\uff01",
)
"""What people and programs write around a request; it must not count."""

SLOT = "{x}"
_END_MARKS = ".?!\u3002\uff1f\uff01"  # and those of Chinese and Japanese


@dataclass(frozen=True, slots=True)
class Anchor:
    """A prompt whose difficulty is set by its kind; `level` is one of `DIFFICULTY`."""

    prompt: str
    language: str
    level: str

    @property
    def difficulty(self) -> float:
        """The logit of the loss of a model of average ability."""
        return DIFFICULTY[self.level]


def read_requests() -> list[Anchor]:
    """Read all requests, with `{x}` where a text belongs."""
    return [*_read(REQUESTS_FILE), *chain.from_iterable(read_translated_requests().values())]


def read_translated_requests() -> dict[str, list[Anchor]]:
    """Read the requests that are the same in every language, in the same order, by language."""
    files = sorted(TRANSLATIONS_FOLDER.glob("*.txt"))
    return {file.stem: _read(file) for file in files}


def _read(file: Path) -> list[Anchor]:
    lines = read_lines(file)
    return [Anchor(line.replace("\\n", "\n"), language, level) for language, level, line in lines]


def make_anchors(texts: Sequence[str], seed: int = 0) -> list[Anchor]:
    """Return each request alone or with parts of `texts`, in several variants, and short ones."""
    generator = random.Random(seed)  # noqa: S311 - not for security
    found = [
        Anchor(prompt, request.language, request.level)
        for request in read_requests()
        for prompt in _variants(request, texts, generator)
    ]
    short = (
        Anchor(prompt, language, level) for language, level, prompt in filled_templates(generator)
    )
    return [*found, *short]


def _variants(request: Anchor, texts: Sequence[str], generator: random.Random) -> Iterator[str]:
    """Yield the prompts of a request; an easy one that is complete stands alone.

    Beside the text of an exam it would be as hard as the exam.
    """
    is_complete = SLOT not in request.prompt
    if is_complete:
        yield request.prompt
        for _ in range(1 + MORE_VARIANTS[request.level]):
            yield _as_people_type(request.prompt, generator)
    if is_complete and request.level == "easy":
        return
    for length in LENGTHS[request.level]:
        text = _part_of(generator.choice(texts), length)
        yield _as_people_type(_with_text(request.prompt, text, generator), generator)


def _part_of(text: str, length: int) -> str:
    """Return the end of a text from the beginning of a word: instructions stand before it."""
    part = text[-length:].strip()
    return part.split(" ", 1)[-1] if len(text) > length else part


def _with_text(request: str, text: str, generator: random.Random) -> str:
    if SLOT in request:
        return request.replace(SLOT, text)
    parts = [request, text]
    generator.shuffle(parts)
    return "\n\n".join(parts)


def _as_people_type(prompt: str, generator: random.Random) -> str:
    """Return the prompt in a frame, a third of them in small letters or without an end mark."""
    framed = generator.choice(FRAMES).replace("{}", prompt)
    form = generator.randrange(6)
    if form == 0:
        return framed.lower()
    return framed.rstrip(_END_MARKS) if form == 1 else framed
