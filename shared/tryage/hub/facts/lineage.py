"""What a model has from its bases: licence, parameters, age, context, and measured quality."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from tryage.hub.facts.fact import Fact
from tryage.hub.facts.licenses import stricter
from tryage.hub.facts.model import Base, Model
from tryage.hub.facts.quality import quality_fact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A declared base, and what is known of it.
Parent: TypeAlias = tuple[Base, Model]

# How much of what was measured on a base still says something about the derivative.
SHRINKAGE: Mapping[str, float] = {"quantized": 0.9, "finetune": 0.5, "adapter": 0.5, "merge": 0.3}

_SAME_SIZE = frozenset(("quantized", "adapter"))
_KEPT = 0.95  # confidence kept per step of the chain
_GUESSED = 0.8  # kept where the derivative may have been changed in just this


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
