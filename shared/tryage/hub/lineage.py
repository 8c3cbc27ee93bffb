"""Base models: how they are declared, and what a model inherits from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from tryage.hub.evaluations import quality_fact
from tryage.hub.licenses import stricter
from tryage.hub.model import BaseModelRef, Fact, Model
from tryage.hub.record import as_list, as_mapping, as_model_name, as_str, as_strings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tryage.hub.record import ParsedRecord

# A declared base and its model.
Parent: TypeAlias = tuple[BaseModelRef, Model]

# The weight that a result of the base keeps for the derived model.
SHRINKAGE: Mapping[str, float] = {"quantized": 0.9, "finetune": 0.5, "adapter": 0.5, "merge": 0.3}

_SAME_SIZE_RELATIONS = frozenset(("quantized", "adapter"))

_CONFIDENCE_DECAY = 0.95  # the confidence that a fact keeps per step of the chain

_GUESS_DECAY = 0.8  # kept where the derived model may differ in this fact

RELATIONS = ("adapter", "finetune", "merge", "quantized")

_TAG_PREFIX = "base_model:"

_MAX_BASES = 32

_QUANTIZED_TAGS = frozenset(
    ("gguf", "gptq", "awq", "exl2", "exl3", "mlx", "compressed-tensors", "bitsandbytes")
)


def inherit(model: Model, bases: Sequence[Model]) -> Model:
    """Return the model with facts of its bases; the source of each such fact names the base.

    `model` has its own facts only, as `parse_model` returns them. `bases` are the known models
    among `model.bases`, each with what it inherits itself. A missing base counts as unknown, and
    models that are not bases are ignored.

    - Licence: the strictest along the chain; unknown if that of one base is unknown.
    - Parameters of a quantized model or an adapter: the base's. Of other models, except merges,
      only where their own are unknown.
    - Release date of a quantized model: that of the weights it rounds. Of other models: their own,
      or, where the Hub does not know it (before March 2022), the base's.
    - Context, capabilities, languages: the base's where its own are unknown.
    - Quality: its own results and the base's, which get a lower weight.
    """
    if not model.bases:
        return model
    parents = _match_bases(model, bases)
    facts = dict(model.facts)
    own_license = facts.get("license")
    if own_license is not None:
        facts["license"] = _inherit_license(model, own_license, dict(parents))
    _inherit_parameters(parents, facts)
    _inherit_release_date(parents, facts)
    for name in ("context_length", "capabilities", "languages"):
        if name not in facts:
            _inherit_first(parents, name, facts)
    facts.update(_inherit_quality(model, parents))
    return replace(model, facts=facts)


def _match_bases(model: Model, bases: Sequence[Model]) -> list[Parent]:
    """Pair each declared base with its model, in the order of declaration."""
    by_key = {base.key: base for base in bases}
    by_name = {base.name: base for base in bases}
    pairs = []
    for base in model.bases:
        parent = by_key.get(base.key or "") or by_name.get(base.name)
        if parent is not None and parent.key != model.key:
            pairs.append((base, parent))
    return pairs


def _inherit_license(
    model: Model, own_license: Fact, parents: Mapping[BaseModelRef, Model]
) -> Fact:
    """Return the strictest licence of the chain; its source names the base that it comes from."""
    strictest_fact = own_license
    for base in model.bases:
        if strictest_fact.value is None:
            break
        parent = parents.get(base)
        if parent is None:
            return _unknown_fact(own_license, f"base {base.name} is not known here")
        fact = parent.facts.get("license")
        if fact is None or fact.value is None:
            return _unknown_fact(own_license, f"base {base.name} has no known licence")
        value = stricter(strictest_fact.value, fact.value)
        if value is None:
            return _unknown_fact(
                strictest_fact, f"it does not contain {fact.value!r} of base {base.name}"
            )
        if value != strictest_fact.value:
            strictest_fact = _inherit_fact(parent, fact)
    return strictest_fact


def _unknown_fact(fact: Fact, reason: str) -> Fact:
    return Fact(None, f"{fact.source}, but {reason}"[:500], fact.fetched_at, 0.0)


def _inherit_parameters(parents: Sequence[Parent], facts: dict[str, Fact]) -> None:
    """Add the parameters of the first base that has them."""
    own_fact = facts.get("parameters")
    for base, parent in parents:
        base_fact = parent.facts.get("parameters")
        if base_fact is None or base.relation == "merge":
            continue
        same_size = base.relation in _SAME_SIZE_RELATIONS
        decay = _CONFIDENCE_DECAY if same_size else _GUESS_DECAY
        is_more_certain = (
            same_size and own_fact and base_fact.confidence * decay >= own_fact.confidence
        )
        if own_fact is None or is_more_certain or base.relation == "adapter":
            facts["parameters"] = _inherit_fact(parent, base_fact, decay)
            facts.pop("active_parameters", None)
        active_fact = parent.facts.get("active_parameters")
        is_similar = 0.9 < facts["parameters"].value / base_fact.value < 1.1
        if active_fact is not None and is_similar and "active_parameters" not in facts:
            facts["active_parameters"] = _inherit_fact(parent, active_fact, decay)
        return


def _inherit_release_date(parents: Sequence[Parent], facts: dict[str, Fact]) -> None:
    """Add the base's release date where the weights are the base's, or their age is unknown."""
    same_weights = [(base, parent) for base, parent in parents if base.relation == "quantized"]
    _inherit_first(same_weights or ([] if "released" in facts else parents), "released", facts)


def _inherit_quality(model: Model, parents: Sequence[Parent]) -> dict[str, Fact]:
    """Return the results with those of the bases, shrunk by relation; each of these has `base`."""
    own_fact = model.facts.get("quality")
    rows = list(own_fact.value) if own_fact is not None else []
    for base, parent in parents:
        base_fact = parent.facts.get("quality")
        for row in base_fact.value if base_fact is not None else ():
            weight = round(row["weight"] * SHRINKAGE.get(base.relation, 0.3), 4)
            if weight >= 0.05:
                rows.append({"base": parent.name, **row, "weight": weight})
    return quality_fact(rows, model.fetched_at)


def _inherit_first(parents: Sequence[Parent], name: str, facts: dict[str, Fact]) -> None:
    """Add the fact of the first base that has it."""
    for _, parent in parents:
        fact = parent.facts.get(name)
        if fact is not None and fact.value is not None:
            facts[name] = _inherit_fact(parent, fact)
            return


def _inherit_fact(parent: Model, fact: Fact, decay: float = _CONFIDENCE_DECAY) -> Fact:
    """Return a base's fact for the derived model: the name of the base precedes the source."""
    source = f"base {parent.name}: {fact.source}"
    return Fact(fact.value, source[:500], fact.fetched_at, round(fact.confidence * decay, 3))


# --- declared bases -------------------------------------------------------------------------


def parse_base_models(record: ParsedRecord) -> tuple[BaseModelRef, ...]:
    """Return the declared bases, by the best description: `baseModels`, then tags, then the card.

    Without a declared relation, a quantized format or an adapter library decides; otherwise several
    bases are a merge, and one is a finetune.
    """
    bases_by_name: dict[str, BaseModelRef] = {}
    for base in (*_bases_from_field(record), *_bases_from_tags(record)):
        previous = bases_by_name.get(base.name)
        if previous is None or (previous.relation == "" and base.relation):
            bases_by_name[base.name] = base
    bases_by_name.pop(record.name, None)
    bases = list(bases_by_name.values())[:_MAX_BASES]
    guess = _guess_relation(record, len(bases))
    return tuple(
        base if base.relation else BaseModelRef(base.name, base.key, guess) for base in bases
    )


def _bases_from_field(record: ParsedRecord) -> list[BaseModelRef]:
    """Read `baseModels`: {"relation": ..., "models": [{"_id": ..., "id": ...}]}."""
    block = as_mapping(record.raw.get("baseModels"))
    relation = _parse_relation(block.get("relation"))
    rows = [as_mapping(row) for row in as_list(block.get("models"))]
    return [
        BaseModelRef(name, as_str(row.get("_id")), relation)
        for row in rows
        if (name := _parse_name(row.get("id"))) is not None
    ]


def _bases_from_tags(record: ParsedRecord) -> list[BaseModelRef]:
    """Read the tags `base_model:relation:name` and `base_model:name`, and the card."""
    bases = []
    for tag in record.tags:
        if tag.startswith(_TAG_PREFIX):
            relation, colon, base_name = tag[len(_TAG_PREFIX) :].partition(":")
            name = _parse_name(base_name if colon else relation)
            if name is not None:
                bases.append(BaseModelRef(name, None, _parse_relation(relation) if colon else ""))
    relation = _parse_relation(record.card.get("base_model_relation"))
    card_names = filter(_parse_name, as_strings(record.card.get("base_model")))
    return [*bases, *(BaseModelRef(name, None, relation) for name in card_names)]


def _parse_name(value: object) -> str | None:
    """Return the name of a base; cards also hold paths on the disk of their author."""
    name = as_model_name(value)
    return name if name is not None and name.isascii() else None


def _parse_relation(value: object) -> str:
    word = as_str(value)
    return word if word in RELATIONS else ""


def _guess_relation(record: ParsedRecord, count: int) -> str:
    if record.is_adapter:
        return "adapter"
    if not record.lowercase_tags.isdisjoint(_QUANTIZED_TAGS):
        return "quantized"
    return "merge" if count > 1 else "finetune"


# --- the order of inheritance ---------------------------------------------------------------


def topological_groups(
    models: Collection[int], parents: Mapping[int, Sequence[int]]
) -> Iterator[list[int]]:
    """Yield the models and all their ancestors in groups, every group after those it inherits from.

    A group is one model, or all models of a cycle, which cannot inherit from each other. Source:
    Tarjan, Depth-first search and linear graph algorithms (SIAM Journal on Computing, 1972), with
    an explicit stack, because a chain may be longer than Python's recursion limit.
    """
    index: dict[int, int] = {}
    lowlink: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for start in models:
        call_stack = [] if start in index else [(start, iter(parents.get(start, ())))]
        while call_stack:
            model, parent_iterator = call_stack[-1]
            if model not in index:
                index[model] = lowlink[model] = len(index)
                stack.append(model)
                on_stack.add(model)
            ancestor = next((p for p in parent_iterator if p not in index or p in on_stack), None)
            if ancestor is not None and ancestor not in index:
                call_stack.append((ancestor, iter(parents.get(ancestor, ()))))
            elif ancestor is not None:
                lowlink[model] = min(lowlink[model], index[ancestor])
            else:
                call_stack.pop()
                if call_stack:
                    child = call_stack[-1][0]
                    lowlink[child] = min(lowlink[child], lowlink[model])
                if lowlink[model] == index[model]:
                    group = _pop_component(stack, model)
                    on_stack.difference_update(group)
                    yield group


def _pop_component(stack: list[int], first: int) -> list[int]:
    """Remove and return the end of the stack, from this model on."""
    i = len(stack) - 1
    while stack[i] != first:
        i -= 1
    group = stack[i:]
    del stack[i:]
    return group
