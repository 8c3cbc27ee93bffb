"""Makes `experts.json`: every model of the permissive outcome sets, with the facts known of it.

    python benchmarks/bundle/experts.py

The experts of `described_experts.json` keep the facts that were written there by hand. The others
get theirs from the snapshot of `tryage.models`, and their release date, where it has none, from
the table of aliases beside the outcome sets. A reasoning effort makes another expert.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets import ABSENT, DATA, PERMISSIVE, SETS, available

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.models.lookup import look_up, to_expert
from tryage.models.names import name_key, parse_model_name
from tryage.models.results import prior_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = Path(__file__).parent
DESCRIBED, EXPERTS = FOLDER / "described_experts.json", FOLDER / "experts.json"

# Spellings that name a version in words of their own.
VERSIONS = {
    "claude-3.5-sonnet-new": "claude-3-5-sonnet-20241022",
    "deepseek-r1_1.5b": "deepseek-r1-distill-qwen-1.5b",
    "deepseek-r1_8b": "deepseek-r1-distill-llama-8b",
    "deepseek-r1_14b": "deepseek-r1-distill-qwen-14b",
}

# Where the sources state the day on which a catalogue first listed a model, or that of another one.
RELEASED = {
    "mistral-large-2512": "2025-12-02",
    "mistral-medium-3": "2025-05-07",
    "mistral-small": "2024-09-17",
    "phi-4-mini": "2025-02-26",
    "phi-4-reasoning-plus": "2025-04-30",
    "qwen3-235b-a22b-2507": "2025-07-21",
    "qwq-32b": "2025-03-05",
}

# All and active parameters, where a name states only how many experts there are of which size.
PARAMETERS = {"mixtral-8x22b": (140.6e9, 39.1e9)}

# Preview models whose maker and version nobody has stated.
ANONYMOUS = frozenset({"optimus-alpha", "quasar-alpha", "horizon-alpha"})

_FULL_DATE = re.compile(r"20\d\d-[01]\d-[0-3]\d")
_SIZE = re.compile(r"(?<![\d.x])(\d+(?:\.\d+)?)b(?![a-z0-9])")
_ACTIVE_SIZE = re.compile(r"(?<![a-z0-9])a(\d+(?:\.\d+)?)b(?![a-z0-9])")
_TUNED = re.compile(r"instruct|chat|-it\b", re.IGNORECASE)


class Spelling(NamedTuple):
    """How a set calls a model, and what the table of aliases says of it."""

    data_set: str
    text: str
    canonical: str | None = None
    released: str | None = None
    catalog_id: str | None = None


class Identity(NamedTuple):
    """Which expert a spelling means: `name` without its `effort`."""

    name: str
    effort: str | None

    @property
    def expert(self) -> str:
        """The name of the expert."""
        return self.name if self.effort is None else f"{self.name}@{self.effort}"


def described() -> list[Expert]:
    """Return the experts whose facts were written by hand."""
    return [Expert.from_dict(row) for row in json.loads(DESCRIBED.read_text("utf-8"))]


@cache
def _described_by_model() -> dict[str, list[Expert]]:
    """Map the snapshot's name of a model to the described experts that are versions of it."""
    found: dict[str, list[Expert]] = {}
    for expert in described():
        model = look_up(expert.name)
        found.setdefault(expert.name if model is None else model.name, []).append(expert)
    return found


@cache
def _described_library() -> Library:
    return Library(described())


def identify(spelling: Spelling) -> Identity:
    """Return which expert a spelling means."""
    text = VERSIONS.get(spelling.text, spelling.text)
    parsed = parse_model_name(text)
    effort = parsed.effort if parsed else None
    if spelling.text in ANONYMOUS:
        return Identity(spelling.text, None)
    if effort is None and (known := _described_expert(text)):
        return Identity(known, None)
    model = model_name(text, spelling.canonical if text == spelling.text else None)
    date = parsed.date if parsed else None
    return Identity(_version(model, date), effort)


def _described_expert(text: str) -> str | None:
    """Return the described expert with exactly this name or alias, with or without a provider."""
    library = _described_library()
    for name in (text, text.rpartition("/")[2]):
        if name in library and name not in {"gpt-4o", "gemini-1.5-pro", "gemini-1.5-flash"}:
            return library[name].name
    return None


def model_name(text: str, canonical: str | None) -> str:
    """Return the snapshot's name of a model, or else the one of the table of aliases.

    An Ollama tag such as "deepseek-r1" names less than it says: there the table is right.
    """
    found, stated = look_up(text), look_up(canonical) if canonical else None
    if stated is not None and (found is None or found.name != stated.name):
        return stated.name
    if found is not None:
        return found.name
    parsed = parse_model_name(text)
    return canonical or (parsed.model if parsed else text)


def _version(model: str, date: str | None) -> str:
    """Return the described expert that is this version of a model, or the name of a new one."""
    versions = _described_by_model().get(model, [])
    is_full = date is not None and _FULL_DATE.fullmatch(date) is not None
    if versions and is_full:
        days = {str(expert.released): expert.name for expert in versions}
        return days.get(str(date), f"{model}-{date}")
    tuned = [expert for expert in versions if _TUNED.search(expert.name)] or versions
    if len(tuned) == 1 and not re.search(r"(20\d\d-?[01]\d-?[0-3]\d)$", tuned[0].name):
        return tuned[0].name
    if len(versions) > 1:  # the newest version is what the name means now
        return max(versions, key=lambda expert: expert.released or datetime.date.min).name
    return versions[0].name if versions else model


def read_spellings() -> list[Spelling]:
    """Return the spellings of every permissive set."""
    from pyarrow import parquet

    table = parquet.read_table(DATA / "model_level" / "aliases.parquet").to_pylist()
    rows = {(row["set"], row["model"]): row for row in table}
    found = []
    for name in PERMISSIVE:
        models = parquet.read_table(DATA / name / "outcomes.parquet", columns=["model"])["model"]
        for text in sorted(set(models.to_pylist())):
            row = rows.get((name, text), {})
            stated = (row.get(key) for key in ("canonical", "release_date", "models_dev_id"))
            found.append(Spelling(name, text, *stated))
    return found


def make(spellings: Iterable[Spelling]) -> list[Expert]:
    """Return the experts that the spellings mean, the described ones first."""
    measured: dict[str, list[Spelling]] = {}
    identities: dict[str, Identity] = {}
    kept = {
        (name, text): expert.name
        for expert in described()
        for name, texts in expert.metadata["measured_as"].items()
        for text in texts
    }
    for spelling in spellings:
        if (known := kept.get((spelling.data_set, spelling.text))) is not None:
            identity = Identity(known, None)
        else:
            identity = identify(spelling)
        identities[identity.expert] = identity
        measured.setdefault(identity.expert, []).append(spelling)
    names = {expert.name for expert in described()}
    experts = [_with_spellings(expert, measured[expert.name]) for expert in described()]
    new = [_describe(identities[name], measured[name]) for name in measured if name not in names]
    ordered = [*experts, *sorted(new, key=lambda one: one.name.casefold())]
    return [_with_results(expert) for expert in _with_unique_aliases(ordered)]


def _with_results(expert: Expert) -> Expert:
    """Add what leaderboards publish about an expert: it tells how able the expert is."""
    results = prior_results(expert.name)
    if not results:
        return expert
    return replace(expert, metadata={**expert.metadata, "results": results})


def _with_spellings(expert: Expert, spellings: list[Spelling]) -> Expert:
    """Add the sets in which a described expert was measured since it was described."""
    known = expert.metadata["measured_as"]
    texts = [
        one.text for one in spellings if one.data_set not in known and _means(one.text, expert)
    ]
    aliases = tuple(dict.fromkeys([*expert.aliases, *texts]))
    metadata = {**expert.metadata, "measured_as": _by_set(spellings)}
    return replace(expert, aliases=aliases, metadata=metadata)


def _describe(identity: Identity, spellings: list[Spelling]) -> Expert:
    """Return a new expert with the facts of the snapshot, each with its source."""
    known = None if identity.name in ANONYMOUS else look_up(identity.name)
    expert = Expert(identity.expert) if known is None else to_expert(known, identity.expert)
    expert = replace(expert, effort=identity.effort)
    sources = dict(expert.metadata.get("sources", {}))
    released, sources["released"] = _release(identity.name, expert, spellings)
    sizes = {k: v for k, v in sizes_in(identity.name).items() if getattr(expert, k) is None}
    expert = replace(expert, released=released, **sizes)
    sources |= dict.fromkeys(sizes, "the size in its name")
    facts = set(expert.to_dict()) - {"name", "aliases", "metadata", "effort"}
    sources = {field: sources.get(field, "models.dev") for field in sorted(facts)}
    metadata = {"measured_as": _by_set(spellings), "sources": sources}
    return replace(expert, aliases=_aliases(identity, spellings), metadata=metadata)


def _release(
    name: str, expert: Expert, spellings: list[Spelling]
) -> tuple[datetime.date | None, str]:
    """Return the day of the release and its source, from the most reliable source that has it."""
    if name in RELEASED:
        return datetime.date.fromisoformat(RELEASED[name]), "public announcement, not re-checked"
    texts = [name, *(one.text for one in spellings)]
    dates = [found for text in texts if (found := _date_in(text)) is not None]
    if dates:
        return min(dates), "the date in its name"
    stated = [one.released for one in spellings if _FULL_DATE.fullmatch(one.released or "")]
    candidates = [datetime.date.fromisoformat(str(text)) for text in stated]
    if expert.released is None or (candidates and min(candidates) < expert.released):
        return min(candidates, default=None), "table of aliases"
    return expert.released, expert.metadata["sources"].get("released", "models.dev")


def _date_in(text: str) -> datetime.date | None:
    parsed = parse_model_name(text)
    date = parsed.date if parsed else None
    found = _FULL_DATE.fullmatch(date) if date else None
    return datetime.date.fromisoformat(found[0]) if found else None


def sizes_in(name: str) -> dict[str, float]:
    """Return the parameters that a name states, all of them and the active ones."""
    if name in PARAMETERS:
        return dict(zip(("parameters", "active_parameters"), PARAMETERS[name], strict=True))
    size, active = _SIZE.search(name.lower()), _ACTIVE_SIZE.search(name.lower())
    if size is None or re.search(r"\dx\d", name):
        return {}
    sizes = {"parameters": float(size[1]) * 1e9}
    return sizes | ({"active_parameters": float(active[1]) * 1e9} if active else {})


def _aliases(identity: Identity, spellings: list[Spelling]) -> tuple[str, ...]:
    """Return the other names of an expert: its spellings, and the ones of the catalogue."""
    found: list[str] = []
    for spelling in spellings:
        names = [spelling.text]
        if identity.effort is None:
            names += [spelling.text.rpartition("/")[2], spelling.catalog_id or ""]
        found += [name for name in names if name and _names_model(name, identity)]
    return tuple(dict.fromkeys(found))


def _names_model(name: str, identity: Identity) -> bool:
    """Tell whether a name means the model wherever it is used, not in its set alone."""
    known = look_up(name)
    return known is None or name_key(known.name) in name_key(identity.name)


def _means(text: str, expert: Expert) -> bool:
    model, other = look_up(text), look_up(expert.name)
    return model is not None and other is not None and model.name == other.name


def _by_set(spellings: list[Spelling]) -> dict[str, list[str]]:
    by_set: dict[str, list[str]] = {}
    for spelling in spellings:
        by_set.setdefault(spelling.data_set, []).append(spelling.text)
    return by_set


def _with_unique_aliases(experts: list[Expert]) -> Iterator[Expert]:
    """Leave an alias to the first expert that has it; names and described aliases come first."""
    taken = {expert.name.casefold() for expert in experts}
    owners = {alias.casefold(): one.name for one in described() for alias in one.aliases}
    for expert in experts:
        kept = []
        for alias in expert.aliases:
            key = alias.casefold()
            if key not in taken and owners.get(key, expert.name) == expert.name:
                taken.add(key)
                kept.append(alias)
        yield replace(expert, aliases=tuple(kept))


def main() -> None:
    """Write the file."""
    if not available():
        sys.exit(ABSENT)
    experts = make(read_spellings())
    Library(experts)  # refuses a name that is used twice
    rows = [expert.to_dict() for expert in experts]
    EXPERTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    by_set = Counter(name for expert in experts for name in expert.metadata["measured_as"])
    print(len(experts), "experts;", dict(by_set), "of", len(SETS), "sets")


if __name__ == "__main__":
    main()
