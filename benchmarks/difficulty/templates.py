"""Short requests of known kinds: those of a list, and templates whose blanks are filled with words.

A prompt of three words shares few words with any training prompt, and a word alone tells little of
how hard the prompt is. The same template with many fillers shows that the filler does not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

_FOLDER = Path(__file__).parent
TEMPLATES_FILES = (_FOLDER / "templates.txt", _FOLDER / "short_requests.txt")

VARIANTS = {"trivial": 6, "easy": 6, "middle": 6, "hard": 14}
"""How often a template is filled, at most: so many that no level has most of the prompts."""

_BLANK = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class Templates:
    """Templates as `(language, level, template)`, and what fills a blank, by its name.

    A request without a blank is a template that has one prompt.
    """

    templates: list[tuple[str, str, str]] = field(default_factory=list)
    fillers: dict[str, list[str]] = field(default_factory=dict)


def read_lines(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each line of a file with the two words of its heading, such as `# LANGUAGE LEVEL`."""
    first, second = "", ""
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("# "):
            first, second = line[2:].split()
        else:
            yield first, second, line


def read_templates(files: Sequence[Path] = TEMPLATES_FILES) -> Templates:
    """Read templates and fillers; a heading is `# filler NAME` or `# LANGUAGE LEVEL`."""
    found = Templates()
    for kind, name, line in chain.from_iterable(map(read_lines, files)):
        if kind == "filler":
            found.fillers.setdefault(name, []).append(line)
        else:
            found.templates.append((kind, name, line))
    return found


def filled_templates(generator: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield different prompts of every template as `(language, level, prompt)`."""
    read = read_templates()
    for language, level, template in read.templates:
        prompts = [_fill(template, read.fillers, generator) for _ in range(VARIANTS[level])]
        for prompt in dict.fromkeys(prompts):
            yield language, level, prompt


def _fill(template: str, fillers: dict[str, list[str]], generator: random.Random) -> str:
    return _BLANK.sub(lambda blank: generator.choice(fillers[blank[1]]), template)
