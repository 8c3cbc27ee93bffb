"""Which spellings of models' names resolve right, measured against a table of aliases.

A spelling is right if all spellings of its model get one name and no other model gets that name:
two spellings with one identifier in the table must meet, two with different ones must not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tryage.models.lookup import canonical_name
from tryage.models.names import name_key, parse_model_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tryage.models.snapshot import ModelSnapshot

# Where an identifier of the table is another than the model: it was made by simpler rules, which
# left efforts, budgets, agents, makers and revisions in it.
_LEFT_IN_THE_TABLE = (
    (re.compile(r"-codex-harness$|-unknown$|-nothinking$|-highthinking$|-(?:no|non)$"), ""),
    (re.compile(r"-(?:low|medium|high|xhigh|minimal|med)$"), ""),
    (re.compile(r"^((?:claude|gemini).*)-\d+k$"), r"\1"),
    (re.compile(r"^(nova-.*)-v1(?::0|-0)?$"), r"\1"),
    (re.compile(r"^(?:c4ai|xiaomi|arcee|bytedance|nvidia)-"), ""),
    (re.compile(r"-(?:bf16|fp8|nvfp4)$"), ""),
    (re.compile(r"(?<=\d)p(?=\d)"), "-"),
    (re.compile(r"^(glm)-v"), r"\1-"),
    (re.compile(r"^gpt35"), "gpt-3-5"),
    (re.compile(r"\+$"), "-plus"),
)

# Identifiers of one model under which the table divides its spellings: titles of the maker, and
# sizes that only some hosts write.
_SAME = {
    "devstral-2": "devstral-2512",
    "grok-2-2024-12-12": "grok-2-1212",
    "llama-4-maverick": "llama-4-maverick-17b-128e",
    "llama-4-scout": "llama-4-scout-17b-16e",
    "mistral-large-3": "mistral-large-2512",
    "mistral-medium-3": "mistral-medium-2505",
    "mistral-medium-3-1": "mistral-medium-2508",
    "mistral-small-3-2-24b": "mistral-small-2506",
    "nemotron-3-super": "nemotron-3-super-120b-a12b",
    "qwen-3-235b": "qwen-3-235b-a22b",
}


class Resolved(NamedTuple):
    """A spelling, the identifier of its model in the table, and the name that it resolves to."""

    spelling: str
    identifier: str
    name: str | None


def read_aliases(folder: Path) -> list[tuple[str, str]]:
    """Return the distinct spellings with the identifiers of their models."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "aliases.parquet", columns=["model", "canonical"])
    return sorted({(row["model"], row["canonical"]) for row in table.to_pylist()})


def corrected(aliases: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the aliases without what the table leaves in its identifiers.

    Links are left out: there the identifier is the address.
    """
    return [
        (spelling, _corrected(identifier))
        for spelling, identifier in aliases
        if "](" not in spelling
    ]


def _corrected(identifier: str) -> str:
    for pattern, replacement in _LEFT_IN_THE_TABLE:
        identifier = pattern.sub(replacement, identifier)
    parsed = parse_model_name(identifier) if "-" in identifier else None
    key = name_key(identifier) if parsed is None else parsed.key
    return _SAME.get(key, key)


def resolve(
    aliases: Iterable[tuple[str, str]], snapshot: ModelSnapshot | None = None
) -> list[Resolved]:
    """Return the name of each spelling; of the snapshot in the package by default."""
    return [
        Resolved(spelling, identifier, canonical_name(spelling, snapshot=snapshot))
        for spelling, identifier in aliases
    ]


def wrong(resolved: Iterable[Resolved]) -> Iterator[tuple[str, Resolved]]:
    """Yield the spellings that are not right, each with its kind.

    "unknown": no name. "split": other spellings of the model have another name. "joined": other
    models have the name.
    """
    resolved = list(resolved)
    names = _most_common((one.identifier, one.name) for one in resolved)
    owners = _most_common((one.name, one.identifier) for one in resolved)
    for one in resolved:
        if one.name is None:
            yield "unknown", one
        elif one.name != names[one.identifier]:
            yield "split", one
        elif owners[one.name] != one.identifier:
            yield "joined", one


def _most_common(pairs: Iterable[tuple[str | None, str | None]]) -> dict[str | None, str | None]:
    counts: dict[str | None, Counter[str | None]] = defaultdict(Counter)
    for first, second in pairs:
        counts[first][second] += 1
    return {
        first: max(found, key=lambda one: (found[one], -len(one or ""), one or ""))
        for first, found in counts.items()
    }


def other_generations(resolved: Iterable[Resolved], snapshot: ModelSnapshot) -> Iterator[Resolved]:
    """Yield the spellings that resolve to another generation than they state.

    A title of the maker states another number than the name: "Mistral Large 3" is
    "mistral-large-2512".
    """
    for one in resolved:
        own = parse_model_name(one.spelling)
        found = None if one.name is None else parse_model_name(one.name)
        if own is None or found is None or not own.generation:
            continue
        is_title = own.key in snapshot.other_keys and not found.generation
        if not is_title and (own.family, own.generation) != (found.family, found.generation):
            yield one
