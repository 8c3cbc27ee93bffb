"""TryageCallback: LiteLLM asks it which deployments of a model group may answer a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import litellm
from litellm.integrations.custom_logger import CustomLogger

from tryage.chat.candidates import RouterSettings
from tryage.chat.like import read_experts
from tryage.chat.plan import TurnMemory
from tryage.chat.savings import SavingsCounter
from tryage.core.decision import new_id
from tryage.core.preferences import Preferences
from tryage.core.validation import check_strings
from tryage.errors import BudgetExceededError, FlagError, InputError, NoExpertError
from tryage.traffic.traffic import Traffic
from tryage_litellm.conversations import read_conversation
from tryage_litellm.deployments import group_deployments
from tryage_litellm.model_groups import GroupCall, ModelGroups

if TYPE_CHECKING:
    from tryage.chat.router import Sticky
    from tryage.chat.savings import Savings
    from tryage.core.policy import Policy
    from tryage.router import Router

RECORD_KEY = "tryage"
"""Where the metadata of a request hold the record of its decision."""

PREFERENCES_KEY = "tryage_preferences"
"""Where the metadata of a request may hold its preferences, or the name of a preset."""

_METADATA_KEYS = ("litellm_metadata", "metadata")  # the first one that a request has is LiteLLM's

# Seconds after a failure in which LiteLLM asks again, if it does: it obeys a provider up to 60.
_MAX_WAIT = 120.0

_MAX_CALLS = 10_000  # requests at the same time, whose answers are still to come


class TryageCallback(CustomLogger):  # type: ignore[misc]  # litellm is installed in a lane only
    """Sends each request to a group of several models to the right one of them.

    Example, beside the `config.yaml` of a LiteLLM proxy, in `routing.py`:
        `tryage = TryageCallback(preferences="thrifty")`
        and in the file itself `litellm_settings: {callbacks: [routing.tryage]}`

    LiteLLM lists the deployments that are healthy, and this keeps those of the best model. Among
    several of them LiteLLM's own strategy chooses. Retries, cool-downs and fallbacks are LiteLLM's:
    after a failure the next best model is asked, as often as `num_retries` allows. A group of one
    model is left alone.

    Only LiteLLM's asynchronous methods ask callbacks, the proxy among them; `Router.completion`
    does not.

    Args:
        groups: The model groups to route; by default all that hold several models.
        router: Predicts and decides; by default the bundled one.
        preferences: Weights and requirements, or the name of a preset.
        default: The model that answers if no choice is possible, such as "openai/gpt-5.6-luna".
        experts: What you say about the models, under the names in `litellm_params`.
        sticky: How long a conversation stays with its model: "turn", "thread" or "call".
        traffic: The log of decisions and answers, or its URL.
        policy: Changes decisions, such as a budget.
        litellm_prices: Whether LiteLLM's list of prices counts before Tryage's. Prices in the
            settings of a deployment always do.

    Raises:
        InputError: a setting is malformed.
    """

    def __init__(  # noqa: PLR0913 - independent settings with defaults
        self,
        *,
        groups: Sequence[str] | None = None,
        router: Router | None = None,
        preferences: Preferences | str | None = None,
        default: str | None = None,
        experts: object = (),
        sticky: Sticky = "turn",
        traffic: Traffic | str | None = None,
        policy: Policy | None = None,
        litellm_prices: bool = False,
    ) -> None:
        super().__init__()
        # LiteLLM takes two callbacks of one class for one, unless a public value tells them apart.
        self.callback_id = new_id()
        self._groups = None if groups is None else frozenset(check_strings("groups", groups))
        settings = RouterSettings(
            router=router,
            preferences=read_preferences(preferences),
            default=default,
            sticky=sticky,
            traffic=Traffic(traffic) if isinstance(traffic, str) else traffic,
            policy=policy,
        )
        self._counter = SavingsCounter()
        price_list = _litellm_facts if litellm_prices else None
        self._routers = ModelGroups(settings, read_experts(experts), self._counter, price_list)
        self._calls: TurnMemory[GroupCall] = TurnMemory(_MAX_CALLS)

    def savings(self, *, reset: bool = False) -> Savings:
        """Return what the answers have cost, beside what other models would have.

        With `reset` it counts from zero afterwards.
        """
        return self._counter.read(None, reset=reset)

    # What LiteLLM calls -----------------------------------------------------------------------

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,  # noqa: ARG002 - as above
    ) -> list[Any]:
        """Return the deployments of the best model that may be asked now.

        Raises:
            litellm.BadRequestError: the preferences are malformed, or no model meets them.
            litellm.RateLimitError: a hard budget is spent.
        """
        request = {} if request_kwargs is None else request_kwargs
        metadata = metadata_of(request)
        call = self._current_call(metadata)
        earlier: set[str | None] = set()
        if call is not None and (call.is_over or call.group != model):
            # LiteLLM falls back to another group, or asks again later than was to be expected.
            earlier = call.failed
            self._end(metadata, LookupError(f"LiteLLM has gone on to {model}"))
            call = None
        models = group_deployments(healthy_deployments)
        if not messages or not self._is_routed(model, models):
            return healthy_deployments
        if call is None:
            begin = asyncio.to_thread(self._begin, model, models, messages, request)
            call = await _in_words_of_litellm(begin, model)
            call.failed |= earlier
        chosen = call.choose(models)
        metadata[RECORD_KEY] = call.record
        return chosen

    async def async_post_call_failure_deployment_hook(
        self,
        request_data: Mapping[str, Any],
        exception: Exception,
        call_type: Any = None,  # noqa: ARG002 - the signature is LiteLLM's
        fallback_depth: int | None = None,  # noqa: ARG002 - as above
    ) -> None:
        """Note that a deployment has failed: the next attempt asks another one, if one follows.

        Outside of the proxy LiteLLM does not say that none follows.
        """
        metadata = metadata_of(request_data)
        call = self._current_call(metadata)
        if call is None:
            return
        call.add_failure((request_data.get("model_info") or {}).get("id"), exception)
        if _is_last_attempt(metadata):
            call.fail(exception)
        else:
            loop, n_asked = asyncio.get_running_loop(), call.n_asked
            loop.call_later(_MAX_WAIT, self._end_if_idle, call, n_asked, exception)

    async def async_log_success_event(
        self,
        kwargs: Mapping[str, Any],
        response_obj: Any,
        start_time: Any,  # noqa: ARG002 - the signature is LiteLLM's
        end_time: Any,  # noqa: ARG002 - as above
    ) -> None:
        """Note what an answer cost, when it is complete."""
        metadata = metadata_of(kwargs.get("litellm_params") or {})
        call = self._current_call(metadata)
        if call is not None and not call.is_over:
            call.settle(getattr(response_obj, "usage", None))
            self._calls.discard(call.plan.id)

    async def async_post_call_failure_hook(
        self, request_data: Mapping[str, Any], original_exception: Exception, *_: Any, **__: Any
    ) -> None:
        """Note that no model has answered a request of the proxy."""
        self._end(metadata_of(request_data), original_exception)

    async def async_post_call_response_headers_hook(
        self, data: Mapping[str, Any], *_: Any, **__: Any
    ) -> dict[str, str] | None:
        """Return the headers that tell which model was chosen and why, and the decision's id."""
        record = metadata_of(data).get(RECORD_KEY)
        return headers_of(record) if isinstance(record, Mapping) else None

    # Calls ------------------------------------------------------------------------------------

    def _is_routed(self, group: str, models: Mapping[str, Any]) -> bool:
        is_named = self._groups is None or group in self._groups
        return is_named and self._routers.is_choice(group, models)

    def _begin(
        self, group: str, models: Mapping[str, Any], messages: Sequence[Any], request: Any
    ) -> GroupCall:
        preferences = read_preferences(_given_preferences(metadata_of(request)))
        conversation = read_conversation(messages, request)
        call = self._routers.begin(group, models, conversation, preferences)
        self._calls.put(call.plan.id, call)
        return call

    def _current_call(self, metadata: Mapping[str, Any]) -> GroupCall | None:
        """Return the call whose record the metadata hold; None without one that is still asked."""
        record = metadata.get(RECORD_KEY)
        decision_id = record.get("id") if isinstance(record, Mapping) else None
        return self._calls.get(decision_id) if isinstance(decision_id, str) else None

    def _end_if_idle(self, call: GroupCall, n_asked: int, error: Exception) -> None:
        """Note that no model has answered a call of which none was asked since."""
        is_answered = self._calls.get(call.plan.id) is not call
        if not is_answered and call.n_asked == n_asked:
            call.fail(error)

    def _end(self, metadata: dict[str, Any], error: Exception) -> None:
        """Note that no model of a group has answered."""
        call = self._current_call(metadata)
        if call is not None:
            call.fail(error)
            self._calls.discard(call.plan.id)
            metadata.pop(RECORD_KEY, None)


def metadata_of(request: Any) -> dict[str, Any]:
    """Return LiteLLM's own metadata of a request, which all its attempts share."""
    for key in _METADATA_KEYS:
        if isinstance(found := request.get(key), dict):
            return found
    found = {}
    if isinstance(request, dict):
        request["metadata"] = found
    return found


def _is_last_attempt(metadata: Mapping[str, Any]) -> bool:
    """Tell whether LiteLLM does not ask again in this group, False if it does not say so."""
    done, most = metadata.get("attempted_retries"), metadata.get("max_retries")
    return isinstance(done, int) and isinstance(most, int) and done >= most


def headers_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the record of a decision as HTTP headers, {} if none of its models has answered."""
    if record.get("model") is None:
        return {}
    expected = record.get("cost", {}).get("expected")
    values = {
        "x-tryage-id": record.get("id"),
        "x-tryage-model": record.get("model"),
        "x-tryage-reason": record.get("reason"),
        "x-tryage-expected-cost": None if expected is None else f"{expected:.8f}",
    }
    return {
        name: str(value).encode("ascii", "replace").decode("ascii")
        for name, value in values.items()
        if value is not None
    }


def read_preferences(given: object) -> Preferences | None:
    """Return preferences, from a dict or the name of a preset too; None for none.

    Raises:
        InputError: they are none of these.
    """
    if given is None or isinstance(given, Preferences):
        return given
    if isinstance(given, str):
        return Preferences.preset(given)
    if isinstance(given, Mapping):
        return Preferences.from_dict(given)
    raise InputError(
        f"preferences are a {type(given).__name__}; expected Preferences, a dict, or a preset."
    )


def _given_preferences(metadata: Mapping[str, Any]) -> object:
    """Return the preferences in the metadata of a request; the proxy keeps a client's apart."""
    client = metadata.get("requester_metadata")
    given = metadata.get(PREFERENCES_KEY)
    return client.get(PREFERENCES_KEY) if given is None and isinstance(client, Mapping) else given


def _litellm_facts(name: str) -> Mapping[str, Any]:
    """Return what LiteLLM's list of prices says of a model, {} if it does not have it."""
    return litellm.model_cost.get(name) or litellm.model_cost.get(name.rpartition("/")[2]) or {}


async def _in_words_of_litellm(work: Any, group: str) -> Any:
    """Return what `work` returns; raise its errors as LiteLLM's, which have an HTTP status."""
    try:
        return await work
    except BudgetExceededError as error:
        raise litellm.RateLimitError(str(error), "tryage", group) from error
    except (InputError, FlagError, NoExpertError) as error:
        raise litellm.BadRequestError(str(error), group, "tryage") from error
