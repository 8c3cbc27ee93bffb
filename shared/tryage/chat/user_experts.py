"""Which of the experts that a user describes is which of the models that are asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tryage.chat.model_names import (
    candidate_spellings,
    list_names,
    resolve_model_name,
    version_of,
)
from tryage.core.validation import did_you_mean
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from tryage.core.expert import Expert
    from tryage.core.library import Library

    # Takes an expert, the name of a model, and the names that the model goes by.
    SameModelTest: TypeAlias = Callable[[Expert, str, Sequence[str]], bool]


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
    versions = [version for name in (one, other) if (version := version_of(name)) is not None]
    return len(versions) == 2 and versions[0] != versions[1]


def _are_two_providers(one: str, other: str) -> bool:
    providers = [name.casefold().partition(":")[0] for name in (one, other) if ":" in name]
    return len(providers) == 2 and providers[0] != providers[1]


def _folded(names: Iterable[str]) -> set[str]:
    return {name.strip().casefold() for name in names}


def _spellings(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from candidate_spellings(name)
