"""Deployments of a LiteLLM router by the model that they serve, and what they tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tryage.chat.candidates import ClientFacts
from tryage.chat.efforts import join_effort

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    # Returns LiteLLM's facts about a model by its name, {} if it does not know it.
    PriceList: TypeAlias = Callable[[str], Mapping[str, Any]]

_TOKENS_PER_PRICE = 1_000_000  # LiteLLM tells USD per token

# What LiteLLM calls the price of a token -> the field of an expert.
_PRICES = {
    "input_cost_per_token": "input_price",
    "output_cost_per_token": "output_price",
    "cache_read_input_token_cost": "cached_input_price",
}

_SOURCE = "LiteLLM's settings of the deployment"


def group_deployments(
    deployments: Sequence[Mapping[str, Any]],
) -> dict[str, list[Mapping[str, Any]]]:
    """Return the deployments of each model, by its name: "openai/gpt-5.6", "openai/gpt-5.6@low".

    Deployments with another reasoning effort are another model. One that names no model is left
    out.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for deployment in deployments:
        if (name := _name_of(deployment)) is not None:
            found.setdefault(name, []).append(deployment)
    return found


def deployment_id(deployment: Mapping[str, Any]) -> str | None:
    """Return the id that LiteLLM has given a deployment."""
    found = _part(deployment, "model_info").get("id")
    return found if isinstance(found, str) else None


def describe_model(
    deployments: Sequence[Mapping[str, Any]], price_list: PriceList | None = None
) -> ClientFacts:
    """Return what the deployments of a model tell of it: its name, effort, prices and context.

    The prices are those of the dearest deployment, because any of them may answer. With a
    `price_list` they are LiteLLM's where no deployment tells one.
    """
    first = deployments[0]
    name = _part(first, "model_info").get("base_model") or _part(first, "litellm_params")["model"]
    listed = {} if price_list is None else _facts(price_list(str(name)))
    told = [_told_facts(deployment) for deployment in deployments]
    prices = {
        field: max(facts[field] for facts in told if field in facts)
        for field in _PRICES.values()
        if any(field in facts for facts in told)
    }
    lengths = [facts["context_length"] for facts in told if "context_length" in facts]
    context = {"context_length": min(lengths)} if lengths else {}
    return ClientFacts(str(name), {**listed, **prices, **context}, _SOURCE, effort=_effort(first))


def _told_facts(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of one deployment; LiteLLM reads prices from two places."""
    return _facts({**_part(deployment, "model_info"), **_part(deployment, "litellm_params")})


def _facts(values: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        field: float(price) * _TOKENS_PER_PRICE
        for key, field in _PRICES.items()
        if isinstance(price := values.get(key), (int, float))
    }
    length = values.get("max_input_tokens")
    return {**facts, "context_length": length} if isinstance(length, int) and length else facts


def _name_of(deployment: Mapping[str, Any]) -> str | None:
    model = _part(deployment, "litellm_params").get("model")
    if not isinstance(model, str) or not model.strip():
        return None
    effort = _effort(deployment)
    return model if effort is None else join_effort(model, effort)


def _effort(deployment: Mapping[str, Any]) -> str | None:
    effort = _part(deployment, "litellm_params").get("reasoning_effort")
    return effort if isinstance(effort, str) else None


def _part(deployment: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = deployment.get(key)
    return part if isinstance(part, Mapping) else {}
