"""What is not known of experts, what is assumed meanwhile, and the line that tells it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tryage.core.cache import get_or_compute
from tryage.core.costs import UNKNOWN_PRICES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from tryage.core.arrays import IndexArray
    from tryage.core.expert import Expert
    from tryage.core.library import Library

_LOGGER = logging.getLogger(__name__)

_MAX_SHOWN = 6  # names in a sentence

_MAX_LINES = 2  # experts in the line to paste

_EXAMPLES = ("claude-haiku-4-5", "gpt-5-mini")  # models that most people know


def example_reference(expert: Expert) -> str:
    """Return a well-known model for the line to paste, never the expert itself."""
    names = " ".join((expert.name, *expert.aliases)).casefold()
    first, second = _EXAMPLES
    return second if first in names else first


def announce_once(library: Library, announce: Callable[[], None]) -> None:
    """Call a function that announces what is not known of a library, once for each library."""

    def announced() -> bool:
        announce()
        return True

    get_or_compute(library, "unknown experts are announced", announced)


def warn_of_unknown(library: Library, unseen_indices: IndexArray) -> None:
    """Log once which experts are neither measured nor described, unless they come from the Hub."""
    if library.origin is not None or not unseen_indices.size:
        return
    described = ("about_as_good_as", "parameters", "released", "output_price")
    unknown = [
        expert
        for expert in map(library.__getitem__, unseen_indices.tolist())
        if all(getattr(expert, field) is None for field in described)
    ]
    if message := describe_unknown(unknown, [expert.name for expert in unknown]):
        _LOGGER.warning("%s", message)


def describe_unknown(
    experts: Iterable[Expert],
    unmeasured: Collection[str],
    example: Callable[[Expert], str] = example_reference,
) -> str | None:
    """Return one message about all that is not known of some experts; None if all is known.

    It lists the names, what is missing, what is assumed, and a line to paste that tells it.

    Args:
        experts: The experts that may be chosen.
        unmeasured: The names of those whose quality is a guess.
        example: Returns a model that an expert may be about as good as, for the line to paste.
    """
    experts, unmeasured = list(experts), frozenset(unmeasured)  # there may be many
    missing = {expert: _missing_fields(expert, unmeasured) for expert in experts}
    sentences = [
        _sentence(experts, missing, "about_as_good_as", _QUALITY),
        _sentence(experts, missing, "input_price", _PRICE),
        _sentence(experts, missing, "context_length", _CONTEXT),
    ]
    if not any(sentences):
        return None
    told = f"Tell it: {_line(missing, example)}. {_ALIASES}"
    return " ".join([*filter(None, sentences), told])


_QUALITY = "Nothing is known of {names}: how well they answer is guessed from the name and price."

_PRICE = (
    f"The prices of {{names}} are unknown: they count as {UNKNOWN_PRICES}, with a weight on cost "
    "as the dearest, and max_cost leaves them out."
)

_ALIASES = "A known model under a name of your own needs its known name alone: aliases=['gpt-5']."

_CONTEXT = "The context of {names} is unknown: no prompt counts as too long."


def _missing_fields(expert: Expert, unmeasured: Collection[str]) -> list[str]:
    """Return the fields that would tell what is not known, in the order of the line to paste."""
    fields = ["about_as_good_as"] if expert.name in unmeasured else []
    fields += [name for name in ("input_price", "output_price") if getattr(expert, name) is None]
    # An unknown context alone is no reason for a warning: it matters to long prompts only.
    return [*fields, "context_length"] if fields and expert.context_length is None else fields


def _sentence(
    experts: Sequence[Expert], missing: dict[Expert, list[str]], field: str, template: str
) -> str | None:
    also = "output_price" if field == "input_price" else field
    names = [
        _plain_name(expert)
        for expert in experts
        if field in missing[expert] or also in missing[expert]
    ]
    return template.format(names=_list_names(names)) if names else None


def _plain_name(expert: Expert) -> str:
    """Return the name of a model, the same for all efforts with which it is asked."""
    return expert.name if expert.effort is None else expert.name.removesuffix(f"@{expert.effort}")


def _list_names(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(f"{name!r:.80}" for name in names[:_MAX_SHOWN]) + more


def _line(missing: dict[Expert, list[str]], example: Callable[[Expert], str]) -> str:
    """Return the code that tells what is missing of the first experts."""
    by_name = {_plain_name(expert): expert for expert in reversed(missing) if missing[expert]}
    shown = list(reversed(by_name.items()))[:_MAX_LINES]
    lines = [
        f"Expert({name!r:.80}, {_arguments(missing[expert], example(expert))})"
        for name, expert in shown
    ]
    rest = ["..."] if len(by_name) > _MAX_LINES else []
    return f"experts=[{', '.join([*lines, *rest])}]"


def _arguments(fields: Iterable[str], example: str) -> str:
    values = {"about_as_good_as": repr(example)}
    return ", ".join(f"{field}={values.get(field, '...')}" for field in fields)
