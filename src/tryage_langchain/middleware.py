"""Tryage in LangChain's agents: every turn of a conversation goes to the right model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

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
from tryage.chat.router import Sticky
from tryage.core.cache import LRUCache
from tryage.errors import InputError
from tryage.router import Router
from tryage_langchain._agent_calls import (
    Record,
    ServedModelCallback,
    Turns,
    adapt_request,
    conversation_from_request,
    current_config,
    model_of_response,
    remove_flags,
    turn_key,
    with_trace_metadata,
)
from tryage_langchain._call import preferences_from_config
from tryage_langchain._clients import ChatModelPool, candidate_pool, chat_model_name
from tryage_langchain._fallback import aemit_event, annotate, emit_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from tryage.core.expert import Expert
    from tryage_langchain._clients import ChatModelSource

_log = logging.getLogger(__name__)


class TryageState(AgentState[Any]):
    """The state of an agent, with the decision about its last model call."""

    tryage: NotRequired[Annotated[dict[str, Any], OmitFromInput]]


@dataclass(frozen=True)
class _ModelCall:
    """One model call on its way: what is asked of which model, and what is recorded of it."""

    request: ModelRequest[Any]
    record: Record
    served_callback: ServedModelCallback | None = None


@dataclass(frozen=True)
class _FailedAttempt:
    """A pass through the middleware that failed: an outer middleware may send the call again."""

    state: Mapping[str, Any]
    model: BaseChatModel
    record: Record


class TryageMiddleware(AgentMiddleware[TryageState, Any, Any]):
    """Choose the model of an agent for every turn of the conversation.

    Args:
        models: As for `ChatTryage`: chat models, strings for `init_chat_model` or functions that
            make one, by name or as a list. What is no model yet is made when it is first chosen.
        router: Predicts and weighs; the models are recognised among its experts. None is the
            bundled one.
        experts: What you know of a model and nobody else does, under the model's name.
        sticky: For how long the conversation stays with a model: "turn" through a tool loop,
            "thread" for good while it can answer, "call" not at all.
        default: The name of the model that steps in when the routing fails; None is the agent's
            own. The failure is logged.

    Models that are known not to take the tools, pictures or length of a conversation are left out.
    What one provider wrote for itself, reasoning and cache markers, does not reach another one.

    The state key `tryage` holds the last decision and, as `served_by`, who really answered; the
    same record is streamed as `{"tryage_route": ...}` in the mode "custom" and sent as the custom
    event `tryage_route` before the call. The model's run carries it as tag and metadata.

    Per run, `config["configurable"]` may hold `tryage_preferences` and `tryage_model`.

    List it before `ModelFallbackMiddleware`, which then catches what the chosen model fails on.
    In the other order it steps aside when a fallback has replaced the model.

    Raises:
        InputError: a wrong model or `sticky`, or the config of a run asks for what is not there.
        LibraryError: the default is none of the models.
        PerceptionError: a model is new to the router, which has no guess at it.
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
        if sticky not in get_args(Sticky):
            raise InputError(f"sticky is {sticky!r:.80}; expected one of {get_args(Sticky)}.")
        self._models = ChatModelPool(name_models(models, chat_model_name), {})
        for name, model in self._models.items():
            if isinstance(model, Runnable) and not isinstance(model, BaseChatModel):
                raise InputError(
                    f"The model of {name!r} is a {type(model).__name__}. Expected a chat model as "
                    "it is; an agent binds its tools and settings itself."
                )
        found = candidate_pool(self._models, router, experts)
        self._default = None if default is None else found.library[default].name
        base = router or Router.from_pretrained()
        self._chat_router = Turns(found.build_router(base, None, self._default), sticky)
        self._executor = AdaptiveExecutor()
        self._failed_attempts: LRUCache[_FailedAttempt | None] = LRUCache(64)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Let the chosen model answer the call, and record who did."""
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
        """Do what `wrap_model_call` does; a routing that takes long is done beside the loop."""
        call = await self._executor.run(partial(self._prepare_call, request))
        await aemit_event(call.record, _config_with_stream_writer(request))
        try:
            response = await handler(call.request)
        except Exception:
            self._remember_failure(request, call.record)
            raise
        return self._record_served(request, call, response)

    def _prepare_call(self, request: ModelRequest[Any]) -> _ModelCall:
        """Choose, unless this is the same call once more."""
        before = self._failed_attempts.get(id(request.state))
        if before is None or before.state is not request.state:
            record = self._decision_record(request)
        elif before.model is request.model:  # sent again as it was: one decision, no second
            record = before.record
        else:
            record = {**before.record, "how": "replaced by another middleware"}
            return _ModelCall(adapt_request(request, request.model), record)
        if self._chat_router.router.prompt_flags:
            request = remove_flags(request)
        if record["model"] is None:  # the agent's own steps in, as if there were no router
            return _ModelCall(request, record)
        model = cast("BaseChatModel", self._models.get_client(record["model"]))
        witness = ServedModelCallback()
        ready = adapt_request(request, model)
        return _ModelCall(
            ready.override(model=witness.attach(with_trace_metadata(model, record))),
            record,
            witness,
        )

    def _decision_record(self, request: ModelRequest[Any]) -> Record:
        """Return the decision about a call; where there can be none, that about the default."""
        preferences, model = preferences_from_config(current_config())
        if model is not None:
            model = self._chat_router.router.library[model].name
        before: Any = request.state.get("tryage") or {}
        turn = turn_key(request.messages, before)
        try:
            return self._chat_router.choose(
                conversation_from_request(request), turn, before, preferences, model
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

    def _remember_failure(self, request: ModelRequest[Any], record: Record) -> None:
        """Remember a call that failed, by the state that all passes of one call have in common."""
        before = self._failed_attempts.get(id(request.state))
        again = before is not None and before.state is request.state
        first = before.model if again and before else request.model
        self._failed_attempts.put(id(request.state), _FailedAttempt(request.state, first, record))

    def _record_served(
        self, request: ModelRequest[Any], call: _ModelCall, response: ModelResponse[Any]
    ) -> ExtendedModelResponse[Any]:
        """Put the record, with who answered, into the state and onto the answer."""
        self._failed_attempts.put(id(request.state), None)
        if (
            call.served_callback is not None
            and call.served_callback.answered
            and call.record["model"]
        ):
            served_by = call.record["model"]
        else:
            served_by = model_of_response(response.result, self._models)
        record = {**call.record, "served_by": served_by}
        if served_by is not None:
            messages = [
                annotate(m, record) if isinstance(m, AIMessage) else m for m in response.result
            ]
            response = replace(response, result=messages)
        return ExtendedModelResponse(response, Command(update={"tryage": record}))


def _config_with_stream_writer(request: ModelRequest[Any]) -> RunnableConfig:
    """Return the config of the run, with the writer of the stream that an agent hands to hooks."""
    config = current_config()
    own = {**config.get("configurable", {}), "__pregel_runtime": request.runtime}
    return {**config, "configurable": own}
