"""Which models a model was made from, and how."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tryage.hub.facts.model import Base
from tryage.hub.facts.wire import items, mapping, text, texts

if TYPE_CHECKING:
    from tryage.hub.facts.clues import Clues

RELATIONS = ("adapter", "finetune", "merge", "quantized")

_PREFIX = "base_model:"
_MOST = 32
# owner/name, or the bare name of a model older than owners; a path on somebody's disk is neither.
_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*(?:/[\w.\-]+)?", re.ASCII)
_QUANTIZED = frozenset(
    ("gguf", "gptq", "awq", "exl2", "exl3", "mlx", "compressed-tensors", "bitsandbytes")
)


def read_bases(clues: Clues) -> tuple[Base, ...]:
    """Return the declared bases, the best described first: `baseModels`, then tags, then the card.

    Where nobody says how a model was made, a quantised format or an adapter library tells; several
    bases are a merge, and one is a finetune.
    """
    found: dict[str, Base] = {}
    for base in (*_listed(clues), *_tagged(clues)):
        known = found.get(base.name)
        if known is None or (known.relation == "" and base.relation):
            found[base.name] = base
    found.pop(clues.name, None)
    bases = list(found.values())[:_MOST]
    guess = _guess(clues, len(bases))
    return tuple(base if base.relation else Base(base.name, base.key, guess) for base in bases)


def _listed(clues: Clues) -> list[Base]:
    """Read `baseModels`: {"relation": ..., "models": [{"_id": ..., "id": ...}]}."""
    block = mapping(clues.record.get("baseModels"))
    relation = _relation(block.get("relation"))
    rows = [mapping(row) for row in items(block.get("models"))]
    return [
        Base(name, text(row.get("_id")), relation)
        for row in rows
        if (name := _name(row.get("id"))) is not None
    ]


def _tagged(clues: Clues) -> list[Base]:
    """Read the tags `base_model:relation:name` and `base_model:name`, and the card."""
    bases = []
    for tag in clues.tags:
        if tag.startswith(_PREFIX):
            relation, colon, rest = tag[len(_PREFIX) :].partition(":")
            name = _name(rest if colon else relation)
            if name is not None:
                bases.append(Base(name, None, _relation(relation) if colon else ""))
    relation = _relation(clues.card.get("base_model_relation"))
    named = filter(_name, texts(clues.card.get("base_model")))
    return [*bases, *(Base(name, None, relation) for name in named)]


def _name(value: object) -> str | None:
    name = text(value)
    return name if name is not None and _NAME.fullmatch(name) else None


def _relation(value: object) -> str:
    word = text(value)
    return word if word in RELATIONS else ""


def _guess(clues: Clues, count: int) -> str:
    if clues.is_adapter:
        return "adapter"
    if not clues.marks.isdisjoint(_QUANTIZED):
        return "quantized"
    return "merge" if count > 1 else "finetune"
