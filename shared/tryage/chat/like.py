"""`like` describes a model that nobody knows by one that is known: its quality and its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.chat.model_names import bundled_library, resolve_model_name
from tryage.core.expert import FIELDS, Expert
from tryage.core.validation import (
    check_bools,
    check_field,
    check_keywords,
    did_you_mean,
    preview,
)
from tryage.errors import InputError
from tryage.models.lookup import look_up, to_expert
from tryage.models.refresh import current_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

CHEAPER = 0.5
"""What a cheaper model costs, as a share of the price of the model that it is like."""

PRICE_FIELDS = ("input_price", "output_price", "cached_input_price")


def like(
    reference: str,
    *,
    name: str | None = None,
    cheaper: bool = False,
    **facts: Any,  # noqa: ANN401 - the fields of `Expert`, which checks them
) -> Expert:
    """Return an expert that is expected to answer as well as a known model, at the same price.

    Nothing else is taken over: what it can do and how much it reads may differ.

    Example:
        `ChatTryage.from_models(models, experts={"my-model": like("gpt-5-mini", cheaper=True)})`

    Args:
        reference: A model that was measured or that public tables know, in any spelling.
        name: The name of your model. It may be left out where the expert gets a name, as above.
        cheaper: Whether it costs half as much per token. Give `input_price` and `output_price`
            (USD per million tokens) if you know them.
        facts: Other fields of `Expert`; they replace what is taken over.

    Raises:
        InputError: an unknown reference, a wrong fact, or `cheaper` where no price is known.
    """
    check_bools(cheaper=cheaper)
    check_keywords("like", facts, FIELDS)
    prices = {field: getattr(_known_model(reference), field) for field in PRICE_FIELDS}
    known = {field: price for field, price in prices.items() if price is not None}
    if cheaper and not known and "output_price" not in facts:
        raise InputError(
            f"The price of {reference!r:.80} is unknown, so half of it is, too. Give input_price "
            "and output_price instead of cheaper."
        )
    share = CHEAPER if cheaper else 1.0
    taken = {field: price * share for field, price in known.items() if field not in facts}
    source = f"{'half of that' if cheaper else 'as'} of {reference}, said by you"
    metadata = dict(check_field("metadata", facts.pop("metadata", None)) or {})
    if taken:
        metadata["sources"] = {**dict.fromkeys(taken, source), **metadata.get("sources", {})}
    return Expert(
        name or f"like {reference}",
        **{"about_as_good_as": reference, **taken, **facts, "metadata": metadata},
    )


def _known_model(reference: object) -> Expert:
    """Return what is known of a reference.

    Raises:
        InputError: nothing is.
    """
    if not isinstance(reference, str) or not reference.strip():
        raise InputError(f"like needs the name of a known model, got {preview(reference)}.")
    if (model := look_up(reference)) is not None:
        return to_expert(model)
    if (expert := resolve_model_name(bundled_library(), reference)) is not None:
        return expert
    suggestions = current_snapshot().suggest(reference)
    near = did_you_mean(reference, [*suggestions, *bundled_library().names])
    raise InputError(f"{reference!r:.80} is no known model.{near} See `tryage models show NAME`.")


def read_experts(experts: object) -> tuple[Any, ...]:
    """Return the experts that a user gives: a list, or a dict from names to experts.

    A dict from JSON may stand for an expert.

    Raises:
        InputError: it is neither, or an expert is malformed.
    """
    if isinstance(experts, Mapping):
        pairs: Iterable[tuple[Any, Any]] = experts.items()
        return tuple(_named_expert(name, _read_expert(expert)) for name, expert in pairs)
    if isinstance(experts, (str, bytes, Expert)) or not hasattr(experts, "__iter__"):
        raise InputError(
            f"experts is a {type(experts).__name__}. Expected a list of Expert, or a dict from "
            "names to experts."
        )
    return tuple(map(_read_expert, experts))


def _read_expert(expert: object) -> Any:  # noqa: ANN401 - pydantic checks other values
    return Expert.from_dict(expert) if isinstance(expert, dict) else expert


def _named_expert(name: object, expert: object) -> Expert:
    if not isinstance(expert, Expert):
        raise InputError(
            f"experts[{preview(name)}] is a {type(expert).__name__}. Expected an Expert, such as "
            "like('gpt-5-mini')."
        )
    return replace(expert, name=name)  # type: ignore[arg-type]  # Expert checks its name
