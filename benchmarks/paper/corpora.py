"""Real texts of several domains, cut into passages and split by document, for experts and routers.

    python benchmarks/paper/corpora.py

`corpora()` collects the texts that this machine can get and keeps them in `.paper/corpora/`; delete
a file there to collect it again. `corpus.texts["experts"]` trains experts, `["router"]` the router,
and `["test"]` neither of them.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from sources import SOURCES, Source, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

WORK = Path(__file__).resolve().parents[2] / ".paper"
PARTS = {"experts": 3000, "router": 600, "test": 300}  # the most passages of each domain
SHARES = ("experts",) * 7 + ("router",) * 2 + ("test",)  # of ten documents
SHORTEST, ENOUGH, LONGEST = 300, 450, 700  # characters of a passage
SHORTEST_WHOLE, LONGEST_WHOLE = 20, 1500  # of a document that is one passage
PER_DOCUMENT = 30  # passages, so that no long document dominates a domain
SHINGLE, ALIKE = 6, 0.3  # a passage is a near-duplicate if this share of its runs of words is known


@dataclass(frozen=True)
class Corpus:
    """A domain: passages by part (`experts`, `router`, `test`), their licence and origin."""

    name: str
    texts: Mapping[str, Sequence[str]]
    licence: str
    source: str

    @property
    def bytes(self) -> int:
        """The size of all passages in UTF-8."""
        return sum(len(text.encode()) for texts in self.texts.values() for text in texts)


def corpora(work: Path = WORK) -> list[Corpus]:
    """Return every domain that this machine can get; print the missing ones."""
    found = []
    for source in SOURCES:
        path = work / "corpora" / f"{source.name}.jsonl"
        if not path.exists():
            try:
                _write(path, split(source, source.documents(work / "packages")))
            except UnavailableError as missing:
                print(f"{source.name} is left out: {missing}", file=sys.stderr)
                continue
        found.append(_corpus(source, path))
    return found


def split(source: Source, documents: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Cut documents into passages, and assign them to parts by a hash of the document's name.

    A passage that repeats an earlier one is left out. `experts` come first and then `router`, so
    that no other part repeats what experts were trained on.
    """
    assigned: dict[str, list[str]] = defaultdict(list)
    for name, text in documents:
        part = SHARES[_digest(f"{source.name}/{name}") % len(SHARES)]
        assigned[part] += passages(text, whole=source.whole)
    known: set[int] = set()
    parts = {}
    for part, limit in PARTS.items():
        parts[part] = []
        for text in sorted(assigned[part], key=_digest):
            if len(parts[part]) < limit and not repeats(text, known):
                parts[part].append(text)
    return parts


def passages(text: str, *, whole: bool = False) -> list[str]:
    """Cut a text at line ends into passages; passages that are too short or long are left out."""
    if whole:
        text = text.strip()
        return [text] if SHORTEST_WHOLE <= len(text) <= LONGEST_WHOLE else []
    found, lines, size = [], [], 0
    for line in text.splitlines():
        lines.append(line.rstrip())
        size += len(lines[-1]) + 1
        if size >= ENOUGH:
            passage = "\n".join(lines).strip("\n")
            if SHORTEST <= len(passage.strip()) <= LONGEST and "\ufffd" not in passage:
                found.append(passage)
            lines, size = [], 0
    return sorted(found, key=_digest)[:PER_DOCUMENT]


def repeats(text: str, known: set[int]) -> bool:
    """Return whether a passage is a near-duplicate of the known ones; if not, add it to them.

    It compares runs of six words, or the whole of a shorter passage, regardless of case, digits and
    line ends. It finds licence headers and repeated questions.
    """
    words = "".join("0" if c.isdigit() else c for c in text.casefold()).split()
    starts = range(max(1, len(words) - SHINGLE + 1))
    runs = {_digest(" ".join(words[i : i + SHINGLE])) for i in starts}
    if len(runs & known) > ALIKE * len(runs):
        return True
    known |= runs
    return False


def _corpus(source: Source, path: Path) -> Corpus:
    texts: dict[str, list[str]] = {part: [] for part in PARTS}
    for part, text in _read(path):
        texts[part].append(text)
    return Corpus(source.name, texts, source.licence, source.origin)


def _write(path: Path, parts: Mapping[str, Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"part": part, "text": text} for part, texts in parts.items() for text in texts)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    partial.replace(path)


def _read(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["part"], row["text"]


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def main() -> None:
    """Print the number of passages of each domain."""
    print("| domain | experts | router | test | kB | licence | from |")
    print("|---|---|---|---|---|---|---|")
    for corpus in corpora():
        counts = " | ".join(str(len(corpus.texts[part])) for part in PARTS)
        size = f"{corpus.bytes / 1000:.0f}"
        print(f"| {corpus.name} | {counts} | {size} | {corpus.licence} | {corpus.source} |")


if __name__ == "__main__":
    main()
