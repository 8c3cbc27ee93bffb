"""Model names: which expert, of a library or of a user, "openai:gpt-4o-mini" means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.chat.efforts import split_effort
from tryage.core.cache import get_or_compute
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.validation import did_you_mean
from tryage.errors import InputError, LibraryError
from tryage.models.lookup import identify
from tryage.models.names import MAX_LENGTH, parse_model_name
from tryage.perception.pretrained import BUNDLED_FOLDER, ROUTER_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from tryage.models.names import ModelName

    # Takes an expert, the name of a model, and the names that the model goes by.
    SameModelTest: TypeAlias = Callable[[Expert, str, Sequence[str]], bool]

# Attributes in which clients keep the name of their model.
_NAME_ATTRIBUTES = (
    "model_name",
    "model",
    "model_id",
    "deployment_name",
    "azure_deployment",
    "repo_id",
)

_MAX_SHOWN_NAMES = 10


def resolve_model_name(library: Library, spec: str) -> Expert | None:
    """Return the expert that a model name means; None if the library does not know it.

    The name may be in any spelling that `tryage.models` reads: "openai:gpt-4o-mini",
    "openrouter/qwen/qwen-2.5-7b-instruct:free", "us.anthropic.claude-3-5-sonnet-20241022-v2:0".
    A name without a date, or with a date that the library lacks, means the newest expert of that
    version. "gpt-5@low" means an expert with this effort alone.
    """
    names = list(dict.fromkeys(candidate_spellings(spec)))
    for name in names:
        if name in library:
            return library[name]
    index = get_or_compute(library, "identities", lambda: _IdentityIndex(library))
    is_effort_exact = split_effort(spec)[1] is not None
    for name in names:
        if (i := index.find(name, is_effort_exact=is_effort_exact)) is not None:
            return library[i]
    return None


class _IdentityIndex:
    """Finds the expert of a library with the same model, effort and date as a name."""

    def __init__(self, library: Library) -> None:
        self._exact: dict[tuple[str, str | None, str | None], int] = {}
        self._served: dict[tuple[str, str | None], int] = {}
        self._newest: dict[tuple[str, str | None], int] = {}
        newest_first = np.argsort(-library.column("released"), kind="stable").tolist()
        identities = {i: list(_identities(library[i])) for i in newest_first}
        for i in newest_first:
            for name, is_preview in identities[i]:
                if not is_preview:  # gpt-4-1106-preview is not gpt-4
                    self._newest.setdefault((name.undated_key, name.effort), i)
        # Of weights with and without instructions, those with them are served.
        for i in sorted(newest_first, key=lambda i: _IS_TUNED.search(library.names[i]) is None):
            for name, _ in identities[i]:
                self._exact.setdefault((name.key, name.effort, name.date), i)
                self._served.setdefault((name.key, name.effort), i)

    def find(self, name: str, *, is_effort_exact: bool) -> int | None:
        """Return the index of the expert that a name means; None if there is none."""
        wanted = identify(name)
        if wanted is None:
            return None
        for effort in (wanted.effort,) if is_effort_exact else (wanted.effort, None):
            found = [
                self._exact.get((wanted.key, effort, wanted.date)),
                self._served.get((wanted.key, effort)),
                self._newest.get((wanted.key, effort)),
                # Another date of a version, such as gpt-4-0613, but not of mistral-large-2411.
                self._newest.get((wanted.undated_key, effort)) if wanted.generation else None,
            ]
            if (i := next((i for i in found if i is not None), None)) is not None:
                return i
        return None


_IS_TUNED = re.compile(r"instruct|chat|-it\b", re.IGNORECASE)


def _identities(expert: Expert) -> Iterator[tuple[ModelName, bool]]:
    """Yield what each name of an expert says, and whether it is that of a preview."""
    for text in (expert.name, *expert.aliases):
        if (name := identify(text)) is not None:
            yield replace(name, effort=expert.effort or name.effort), "preview" in text


def find_model(library: Library, name: str) -> str:
    """Return the expert that a user means by a name: its own, an alias, or one without a provider.

    "gpt-4o-mini" means the expert "openai:gpt-4o-mini", and the other way round.

    Raises:
        LibraryError: there is none, or there are several.
    """
    if name in library:
        return library.names[library.index(name)]
    names_by_spelling = get_or_compute(library, "spellings", lambda: _names_by_spelling(library))
    found = names_by_spelling.get(str(name).strip().casefold(), [])
    if len(found) > 1:
        raise LibraryError(
            f"{name!r:.80} may mean {' or '.join(map(repr, found))}. Name one of them."
        )
    if found:
        return found[0]
    spellings = candidate_spellings(str(name))
    nearest = next((spelling for spelling in spellings if spelling in library), name)
    return library.names[library.index(nearest)]


def _names_by_spelling(library: Library) -> dict[str, list[str]]:
    """Map what is left of each name without provider and effort, in lower case, to such names."""
    names_by_spelling: dict[str, list[str]] = {}
    for name in library.names:
        plain_name = split_effort(name)[0]
        spellings = (*candidate_spellings(name), *candidate_spellings(plain_name))
        for spelling in {spelling.casefold() for spelling in spellings}:
            names_by_spelling.setdefault(spelling, []).append(name)
    return names_by_spelling


@lru_cache(maxsize=1)
def bundled_library() -> Library:
    """Return the experts of the bundled router, without its perception."""
    return Library.from_dicts(
        json.loads((BUNDLED_FOLDER / ROUTER_FILE).read_text("utf-8"))["library"]
    )


def model_name_of(*clients: object) -> str | None:
    """Return the model name that the first of these clients holds; None if none of them does."""
    for client in clients:
        for attribute in _NAME_ATTRIBUTES:
            name = getattr(client, attribute, None)
            if isinstance(name, str) and name.strip():
                return name
    return None


def name_models(models: object, name_of: Callable[[Any], str | None]) -> dict[str, Any]:
    """Return the models by name: the keys of a dict, or the name that each model has.

    Raises:
        InputError: neither a dict nor a list, a model without a name, or two of the same name.
    """
    if isinstance(models, Mapping):
        if odd := [name for name in models if not isinstance(name, str)]:
            raise InputError(f"The name of a model is a string, got {odd[0]!r:.80}.")
        return dict(models)
    if isinstance(models, (str, bytes)) or not isinstance(models, Sequence):
        raise InputError(
            f"The models are a {type(models).__name__}. Expected a list of chat models, or a dict "
            "with a name for each."
        )
    models_by_name: dict[str, Any] = {}
    for model in models:
        name = name_of(model)
        if name is None:
            raise InputError(_no_name(model))
        if name in models_by_name:
            raise InputError(f"Two models are called {name!r}. Use a dict: {{name: model}}.")
        models_by_name[name] = model
    return models_by_name


def list_names(names: Iterable[str]) -> str:
    """Return names for a message, of many only the first."""
    names = list(names)
    more = f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return ", ".join(f"{name!r:.80}" for name in names[:_MAX_SHOWN_NAMES]) + more


def group_identical_experts(experts: Iterable[Expert]) -> tuple[list[Expert], dict[str, str]]:
    """Return the experts with each alias once, and the duplicates: one model at two providers.

    The duplicates map a name to the name of the first expert with the same alias.
    """
    experts = list(experts)
    owners = {expert.name.casefold(): expert.name for expert in experts}
    duplicates: dict[str, str] = {}
    unique_experts: list[Expert] = []
    for expert in experts:
        alias = expert.aliases[0] if expert.aliases else expert.name
        owner = owners.setdefault(alias.casefold(), expert.name)
        if owner == expert.name:
            unique_experts.append(expert)
        else:
            duplicates[expert.name] = owner
            unique_experts.append(replace(expert, aliases=()))
    return unique_experts, duplicates


def candidate_spellings(spec: str) -> Iterator[str]:
    """Yield the name as given, then with more and more of what stands before it removed.

    A text that is too long for a name has one spelling: of some thousand parts, all spellings
    together would fill the memory.
    """
    spec = spec.strip()
    if len(spec) > MAX_LENGTH:
        yield spec
        return
    for spelling in (spec, spec.replace(":", "/", 1), spec.partition(":")[2]):
        parts = spelling.split("/")
        for i in range(len(parts)):
            if name := "/".join(parts[i:]):
                yield name


# The experts that a user describes -------------------------------------------------------------


def match_user_experts(
    models: Mapping[str, Sequence[str]], experts: Iterable[Expert], library: Library
) -> dict[str, Expert]:
    """Return the expert that describes each model, by the name of the model.

    An expert describes the model of its name. If there is none, it is the model that calls itself
    by the name, the one of that name at some provider, or the one that means the same expert of the
    library. A model that has an expert already is not considered again.

    Args:
        models: The names that each model goes by, under its own name.
        experts: What the user says about the models.
        library: Knows the names and aliases of models.

    Raises:
        InputError: an expert describes no model or may be one of several, or two experts describe
            one model.
    """
    matches: dict[str, Expert] = {}
    remaining = list(experts)
    tests: tuple[SameModelTest, ...] = (
        _has_name,
        _calls_itself,
        _has_name_at_provider,
        partial(_means_the_same, library),
    )
    for is_same_model in tests:
        free_models = {name: names for name, names in models.items() if name not in matches}
        candidates = [
            [name for name, names in free_models.items() if is_same_model(expert, name, names)]
            for expert in remaining
        ]
        for expert, names in zip(remaining, candidates, strict=True):
            _add_match(matches, expert, names)
        remaining = [one for one, names in zip(remaining, candidates, strict=True) if not names]
    if remaining:
        name = remaining[0].name
        raise InputError(
            f"The expert {name!r:.80} is none of the models {list_names(models)}."
            f"{did_you_mean(name, _spellings(models))} Use the name of one of them."
        )
    return matches


def _add_match(matches: dict[str, Expert], expert: Expert, names: Sequence[str]) -> None:
    """Add an expert under the name of the model that it describes, if there is one.

    Raises:
        InputError: there are several, or the model has an expert already.
    """
    if len(names) > 1:
        raise InputError(
            f"The expert {expert.name!r:.80} may be {list_names(names)}. Use one of these names."
        )
    for name in names:
        if name in matches:
            raise InputError(
                f"The experts {matches[name].name!r:.80} and {expert.name!r:.80} both describe the "
                f"model {name!r:.80}. Give one of them."
            )
        matches[name] = expert


def _has_name(expert: Expert, name: str, _: Sequence[str]) -> bool:
    return name.casefold() == expert.name.casefold()


def _calls_itself(expert: Expert, _: str, names: Sequence[str]) -> bool:
    return not _folded(names).isdisjoint(_folded((expert.name, *expert.aliases)))


def _has_name_at_provider(expert: Expert, _: str, names: Sequence[str]) -> bool:
    """Tell whether one of the names is the other one with a provider around it."""
    given = (expert.name, *expert.aliases)
    return not (
        _folded(_spellings(names)).isdisjoint(_folded(given))
        and _folded(_spellings(given)).isdisjoint(_folded(names))
    )


def _means_the_same(library: Library, expert: Expert, _: str, names: Sequence[str]) -> bool:
    """Tell whether two names mean one expert of the library, in one version, at one provider."""
    known = resolve_model_name(library, expert.name)
    return known is not None and any(
        (other := resolve_model_name(library, name)) is not None
        and other.name == known.name
        and not _are_two_versions(expert.name, name)
        and not _are_two_providers(expert.name, name)
        for name in names
    )


def _are_two_versions(one: str, other: str) -> bool:
    dates = [parsed.date for name in (one, other) if (parsed := parse_model_name(name)) is not None]
    return len(dates) == 2 and None not in dates and dates[0] != dates[1]


def _are_two_providers(one: str, other: str) -> bool:
    providers = [name.casefold().partition(":")[0] for name in (one, other) if ":" in name]
    return len(providers) == 2 and providers[0] != providers[1]


def _folded(names: Iterable[str]) -> set[str]:
    return {name.strip().casefold() for name in names}


def _spellings(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from candidate_spellings(name)


def _no_name(model: object) -> str:
    """Say why a model of a list has no name, and what to do."""
    if isinstance(model, str):  # no string is a model in LlamaIndex
        return f"{model!r:.80} is a string. Expected the model itself, or a function that makes it."
    if isinstance(model, Expert):
        return f"An Expert is no model. Give {model.name!r:.80}, and the facts in experts=[...]."
    return f"A model of the type {type(model).__name__} has no name. Use a dict: {{name: model}}."
