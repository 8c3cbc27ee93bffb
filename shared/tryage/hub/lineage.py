"""What a model has from its bases: licence, parameters, age, context, and measured quality."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from tryage.hub.evaluations import quality_fact
from tryage.hub.licenses import stricter
from tryage.hub.model import Base, Fact, Model
from tryage.hub.record import items, mapping, text, texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tryage.hub.record import Clues

# A declared base, and what is known of it.
Parent: TypeAlias = tuple[Base, Model]

# How much of what was measured on a base still says something about the derivative.
SHRINKAGE: Mapping[str, float] = {"quantized": 0.9, "finetune": 0.5, "adapter": 0.5, "merge": 0.3}

_SAME_SIZE = frozenset(("quantized", "adapter"))

_KEPT = 0.95  # confidence kept per step of the chain

_GUESSED = 0.8  # kept where the derivative may have been changed in just this

RELATIONS = ("adapter", "finetune", "merge", "quantized")

_PREFIX = "base_model:"

_MOST = 32

# owner/name, or the bare name of a model older than owners; a path on somebody's disk is neither.
_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*(?:/[\w.\-]+)?", re.ASCII)

_QUANTIZED = frozenset(
    ("gguf", "gptq", "awq", "exl2", "exl3", "mlx", "compressed-tensors", "bitsandbytes")
)


def inherit(model: Model, bases: Sequence[Model]) -> Model:
    """Return the model with what its bases tell; every fact from a base names it.

    `bases` are those of `model.bases` that are known, each with what it inherits itself; others
    are ignored, and a base that is missing is one of which nothing is known. `model` has its own
    facts only, as `read_model` returned it.

    - Licence: the strictest along the chain; unknown where that of one base is.
    - Parameters of a quantised model or an adapter: the base's. Of another, except of a merge,
      only where its own are unknown.
    - Released: a quantised model is as old as the weights it rounds. Another is as old as itself,
      or where the Hub does not know (before March 2022) as its base.
    - Context, capabilities, languages: the base's where its own are unknown.
    - Quality: the base's rows beside its own, each with a lower weight.
    """
    if not model.bases:
        return model
    parents = _parents(model, bases)
    facts = dict(model.facts)
    own = facts.get("license")
    if own is not None:
        facts["license"] = _license(model, own, dict(parents))
    _sizes(parents, facts)
    _age(parents, facts)
    for name in ("context_length", "capabilities", "languages"):
        if name not in facts:
            _take(parents, name, facts)
    facts.update(_quality(model, parents))
    return replace(model, facts=facts)


def _parents(model: Model, bases: Sequence[Model]) -> list[Parent]:
    """Pair each declared base with what is known of it, in the order of declaration."""
    by_key = {base.key: base for base in bases}
    by_name = {base.name: base for base in bases}
    found = []
    for base in model.bases:
        parent = by_key.get(base.key or "") or by_name.get(base.name)
        if parent is not None and parent.key != model.key:
            found.append((base, parent))
    return found


def _from(parent: Model, fact: Fact, kept: float = _KEPT) -> Fact:
    """Return a base's fact as the derivative's: the base is named before the first source."""
    source = f"base {parent.name}: {fact.source}"
    return Fact(fact.value, source[:500], fact.seen, round(fact.confidence * kept, 3))


def _take(parents: Sequence[Parent], name: str, facts: dict[str, Fact]) -> None:
    """Take a fact from the first base that has it."""
    for _, parent in parents:
        fact = parent.facts.get(name)
        if fact is not None and fact.value is not None:
            facts[name] = _from(parent, fact)
            return


def _license(model: Model, own: Fact, parents: Mapping[Base, Model]) -> Fact:
    """Return the strictest licence of the chain; the source says which base decided."""
    held = own
    for base in model.bases:
        if held.value is None:
            break
        parent = parents.get(base)
        if parent is None:
            return _unknown(own, f"base {base.name} is not known here")
        fact = parent.facts.get("license")
        if fact is None or fact.value is None:
            return _unknown(own, f"base {base.name} has no known licence")
        value = stricter(held.value, fact.value)
        if value is None:
            return _unknown(held, f"it does not contain {fact.value!r} of base {base.name}")
        if value != held.value:
            held = _from(parent, fact)
    return held


def _unknown(fact: Fact, why: str) -> Fact:
    return Fact(None, f"{fact.source}, but {why}"[:500], fact.seen, 0.0)


def _sizes(parents: Sequence[Parent], facts: dict[str, Fact]) -> None:
    """Take the parameters of the first base that can tell them."""
    own = facts.get("parameters")
    for base, parent in parents:
        theirs = parent.facts.get("parameters")
        if theirs is None or base.relation == "merge":
            continue
        kept = _KEPT if base.relation in _SAME_SIZE else _GUESSED
        sure = base.relation in _SAME_SIZE and own and theirs.confidence * kept >= own.confidence
        if own is None or sure or base.relation == "adapter":
            facts["parameters"] = _from(parent, theirs, kept)
            facts.pop("active_parameters", None)
        active = parent.facts.get("active_parameters")
        same = 0.9 < facts["parameters"].value / theirs.value < 1.1
        if active is not None and same and "active_parameters" not in facts:
            facts["active_parameters"] = _from(parent, active, kept)
        return


def _age(parents: Sequence[Parent], facts: dict[str, Fact]) -> None:
    """Take the age of the weights where they are the base's, or of unknown age."""
    same = [(base, parent) for base, parent in parents if base.relation == "quantized"]
    _take(same or ([] if "released" in facts else parents), "released", facts)


def _quality(model: Model, parents: Sequence[Parent]) -> dict[str, Fact]:
    """Return the results with the bases' added, shrunk by the relation; each names its model."""
    own = model.facts.get("quality")
    rows = list(own.value) if own is not None else []
    for base, parent in parents:
        theirs = parent.facts.get("quality")
        for row in theirs.value if theirs is not None else ():
            weight = round(row["weight"] * SHRINKAGE.get(base.relation, 0.3), 4)
            if weight >= 0.05:
                rows.append({"base": parent.name, **row, "weight": weight})
    return quality_fact(rows, model.seen)


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


def bases_first(
    models: Collection[int], parents: Mapping[int, Sequence[int]]
) -> Iterator[list[int]]:
    """Yield the models and all their ancestors in groups, every group after those it inherits from.

    A group is one model, or all models of one circle: nothing can be older than itself, so nobody
    inherits within it. Source: Tarjan, Depth-first search and linear graph algorithms (SIAM
    Journal on Computing, 1972), with a stack of its own, because a chain may be longer than
    Python's.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    for start in models:
        work = [] if start in index else [(start, iter(parents.get(start, ())))]
        while work:
            model, rest = work[-1]
            if model not in index:
                index[model] = low[model] = len(index)
                path.append(model)
                on_path.add(model)
            ancestor = next((p for p in rest if p not in index or p in on_path), None)
            if ancestor is not None and ancestor not in index:
                work.append((ancestor, iter(parents.get(ancestor, ()))))
            elif ancestor is not None:
                low[model] = min(low[model], index[ancestor])
            else:
                work.pop()
                if work:
                    child = work[-1][0]
                    low[child] = min(low[child], low[model])
                if low[model] == index[model]:
                    group = _cut(path, model)
                    on_path.difference_update(group)
                    yield group


def _cut(path: list[int], first: int) -> list[int]:
    """Take the end of the path off, from this model on."""
    at = len(path) - 1
    while path[at] != first:
        at -= 1
    group = path[at:]
    del path[at:]
    return group
