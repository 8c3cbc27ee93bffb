"""TryageMiddleware chooses the model of a LangChain agent for every turn of the conversation."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
)
from langchain.agents.middleware.types import OmitFromInput, TracePolicy, omit_payload
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langgraph.types import Command
from typing_extensions import NotRequired

from tryage.chat.clients import AdaptiveExecutor
from tryage.chat.model_names import name_models
from tryage.chat.router import ChatRouter
from tryage.core.cache import LRUCache
from tryage.errors import InputError
from tryage.router import Router
from tryage_langchain._agent_calls import (
    ServedModelCallback,
    adapt_request,
    conversation_from_request,
    current_config,
    model_of_response,
    remove_flags,
    turn_key,
    with_trace_metadata,
)
from tryage_langchain._call_settings import read_call_settings
from tryage_langchain._clients import ChatModelPool, candidate_pool, chat_model_name
from tryage_langchain._fallback import aemit_event, annotate, emit_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from tryage.chat.plan import RoutingRecord
    from tryage.chat.router import Sticky
    from tryage.core.expert import Expert
    from tryage_langchain._clients import ChatModelSource

_log = logging.getLogger(__name__)


class TryageState(AgentState[Any]):
    """The state of an agent, with the decision about its last model call."""

    tryage: NotRequired[Annotated[dict[str, Any], OmitFromInput]]


class TryageMiddleware(AgentMiddleware[TryageState, Any, Any]):
    """Choose the model of an agent for every turn of the conversation.

    Args:
        models: As for `ChatTryage`: chat models, strings for `init_chat_model` or functions that
            make one, by name or as a list. A string or function makes its model when it is first
            chosen.
        router: Predicts and weighs; the models are recognised among its experts. None is the
            bundled one.
        experts: Facts that only you know, under the names of the models.
        sticky: For how long the conversation stays with a model: "turn" through a tool loop,
            "thread" as long as the model can answer, "call" not at all.
        default: The name of the model that answers when the routing fails; None is the agent's
            own. The failure is logged.

    Models that are known not to support the tools, images or length of a conversation are left out.
    A provider's own reasoning and cache markers do not reach another provider.

    The state key `tryage` holds the last decision and, as `served_by`, the model that answered.
    The same record is streamed as `{"tryage_route": ...}` in the mode "custom", and sent as the
    custom event `tryage_route` before the call. The model's run has it as tag and metadata.

    Per run, `config["configurable"]` may hold `tryage_preferences` and `tryage_model`.

    List it before `ModelFallbackMiddleware`, which then handles the failures of the chosen model.
    In the other order it does not choose again after a fallback has replaced the model.

    Raises:
        InputError: a wrong model or `sticky`; in a run, wrong preferences.
        LibraryError: the default, or in a run `tryage_model`, is not one of the models.
        PerceptionError: a model is new to the router, which cannot estimate it.
    """

    state_schema = TryageState
    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(
        self,
        models: Mapping[str, ChatModelSource] | Sequence[ChatModelSource],
        router: Router | None = None,
        *,
        experts: Sequence[Expert] = (),
        sticky: Sticky = "turn",
        default: str | None = None,
    ) -> None:
        super().__init__()
        self._models = ChatModelPool(name_models(models, chat_model_name), {})
        for name, model in self._models.items():
            if isinstance(model, Runnable) and not isinstance(model, BaseChatModel):
                raise InputError(
                    f"The model of {name!r} is a {type(model).__name__}. Expected a chat model as "
                    "it is; an agent binds its tools and settings itself."
                )
        pool = candidate_pool(self._models, router, experts)
        self._default = None if default is None else pool.library[default].name
        base = router or Router.from_pretrained()
        self._chat_router = ChatRouter(pool.build_router(base, None, self._default), sticky=sticky)
        self._executor = AdaptiveExecutor()
        self._failed_attempts: LRUCache[_FailedAttempt | None] = LRUCache(64)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Let the chosen model answer the call, and record which model did."""
        call = self._prepare_call(request)
        emit_event(call.record, _config_with_stream_writer(request))
        try:
            response = handler(call.request)
        except Exception:
            self._remember_failure(request, call.record)
            raise
        return self._record_served(request, call, response)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """Do what `wrap_model_call` does; routing that takes long does not block the event loop."""
        call = await self._executor.run(partial(self._prepare_call, request))
        await aemit_event(call.record, _config_with_stream_writer(request))
        try:
            response = await handler(call.request)
        except Exception:
            self._remember_failure(request, call.record)
            raise
        return self._record_served(request, call, response)

    def _prepare_call(self, request: ModelRequest[Any]) -> _ModelCall:
        """Choose a model, unless another middleware sends the same call again."""
        failed_attempt = self._failed_attempt(request)
        if failed_attempt is None:
            record = self._decision_record(request)
        elif failed_attempt.model is request.model:  # sent again unchanged: the decision stays
            record = failed_attempt.record
        else:
            record = {**failed_attempt.record, "how": "replaced by another middleware"}
            return _ModelCall(adapt_request(request, request.model), record)
        if self._chat_router.router.prompt_flags:
            request = remove_flags(request)
        if record["model"] is None:  # the agent's own model answers
            return _ModelCall(request, record)
        return self._call_model(request, record)

    def _call_model(self, request: ModelRequest[Any], record: RoutingRecord) -> _ModelCall:
        """Return the call of the chosen model."""
        model = cast("BaseChatModel", self._models.get_client(record["model"]))
        callback = ServedModelCallback()
        adapted_request = adapt_request(request, model).override(
            model=callback.attach(with_trace_metadata(model, record))
        )
        return _ModelCall(adapted_request, record, callback)

    def _decision_record(self, request: ModelRequest[Any]) -> RoutingRecord:
        """Return the record of a decision; if the routing fails, that of the default."""
        settings = read_call_settings(current_config())
        preferences, model = settings.preferences, settings.model
        if model is not None:
            model = self._chat_router.router.library[model].name
        previous: Any = request.state.get("tryage") or {}
        turn = turn_key(request.messages, previous)
        try:
            conversation = conversation_from_request(request)
            return self._chat_router.plan_record(
                conversation, previous, turn, preferences, model=model
            )
        except Exception as error:  # noqa: BLE001 - no failure of the routing may end the run
            _log.warning("Tryage could not route a model call: %s", type(error).__name__)
            _log.debug("The failure of the routing", exc_info=True)
            return {
                "model": self._default,
                "reason": f"the routing failed: {type(error).__name__}",
                "how": "default",
                "scores": {},
                "turn": turn,
            }

    def _failed_attempt(self, request: ModelRequest[Any]) -> _FailedAttempt | None:
        """Return the earlier attempt at the same call that failed, if there is one.

        All attempts at one call have the same state object.
        """
        attempt = self._failed_attempts.get(id(request.state))
        return None if attempt is None or attempt.state is not request.state else attempt

    def _remember_failure(self, request: ModelRequest[Any], record: RoutingRecord) -> None:
        """Remember that a call failed, with the model of its first attempt."""
        failed_attempt = self._failed_attempt(request)
        first_model = request.model if failed_attempt is None else failed_attempt.model
        self._failed_attempts.put(
            id(request.state), _FailedAttempt(request.state, first_model, record)
        )

    def _record_served(
        self, request: ModelRequest[Any], call: _ModelCall, response: ModelResponse[Any]
    ) -> ExtendedModelResponse[Any]:
        """Write the record, with the model that answered, into the state and the answer."""
        self._failed_attempts.put(id(request.state), None)
        if call.served_callback is not None and call.served_callback.has_answered:
            served_by = call.record["model"]
        else:
            served_by = model_of_response(response.result, self._models)
        record = {**call.record, "served_by": served_by}
        if served_by is not None:
            messages = [
                annotate(message, record) if isinstance(message, AIMessage) else message
                for message in response.result
            ]
            response = replace(response, result=messages)
        return ExtendedModelResponse(response, Command(update={"tryage": record}))


@dataclass(frozen=True)
class _ModelCall:
    """A model call that is ready to be made, and its record."""

    request: ModelRequest[Any]
    record: RoutingRecord
    served_callback: ServedModelCallback | None = None


@dataclass(frozen=True)
class _FailedAttempt:
    """A call that failed. An outer middleware may send it again."""

    state: Mapping[str, Any]
    model: BaseChatModel
    record: RoutingRecord


def _config_with_stream_writer(request: ModelRequest[Any]) -> RunnableConfig:
    """Return the config of the run, with the stream writer that an agent passes to its hooks."""
    config = current_config()
    configurable = {**config.get("configurable", {}), "__pregel_runtime": request.runtime}
    return {**config, "configurable": configurable}
