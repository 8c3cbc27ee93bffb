"""TryageMiddleware chooses the model of a LangChain agent for every turn of the conversation."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
from langchain_core.runnables.config import run_in_executor
from langgraph.types import Command
from typing_extensions import NotRequired

from tryage.chat.batching import BatchingExecutor
from tryage.chat.candidates import RouterSettings
from tryage.chat.efforts import check_efforts
from tryage.chat.fallback import (
    FallbackSession,
    arun_steps,
    fallback_steps,
    run_steps,
)
from tryage.chat.hooks import FallbackHooks, call_key
from tryage.chat.judging import AnswerJudge, check_judge_has_log
from tryage.chat.like import read_experts
from tryage.chat.model_names import find_model, name_models
from tryage.chat.outcomes import check_signals
from tryage.chat.plan import COST_KEY
from tryage.chat.time_limits import TimeLimits
from tryage.core.cache import LRUCache
from tryage.core.redaction import redacted_error
from tryage.core.request import read_preferences
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import InputError, NoExpertError
from tryage.telemetry.observer import tracing_failures
from tryage_langchain._agent_answers import (
    AGENT_CACHE,
    AgentAnswer,
    answer_problems_of_response,
    evidence_of_response,
    size_of_response,
    text_of_response,
)
from tryage_langchain._agent_calls import (
    AgentUsageMeter,
    adapt_request,
    conversation_from_request,
    current_config,
    invalid_structures,
    model_of_response,
    remove_flags,
    traced_model,
    turn_key,
)
from tryage_langchain._call import NO_STREAM_TAG, is_checked
from tryage_langchain._call_settings import read_call_settings, with_runtime
from tryage_langchain._clients import (
    ChatModelPool,
    candidate_name,
    candidate_pool,
    with_efforts,
)
from tryage_langchain._evidence import log_probability_arguments
from tryage_langchain._fallback import aemit_event, annotate, emit_event
from tryage_langchain._judges import read_judge
from tryage_langchain._messages import input_size

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from typing_extensions import Self

    from tryage.chat.fallback import FallbackSteps
    from tryage.chat.outcomes import Signal
    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.chat.router import Sticky
    from tryage.chat.savings import Savings
    from tryage.chat.settings import RefusedAnswer
    from tryage.core.expert import Expert
    from tryage.core.exploration import Exploration
    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.router import Router
    from tryage.traffic.traffic import Traffic
    from tryage_langchain._call_settings import CallSettings
    from tryage_langchain._clients import ChatModelSource
    from tryage_langchain._usage import UsageCallback

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
        experts: Facts that only you know, under the names of the models: a list, or a dict.
        efforts: Reasoning efforts such as ["low", "high"]: each model that takes them is one model
            for each. True is low, medium and high.
        preferences: What counts in every call, or the name of a preset; what a run says of the
            same replaces it. By default those of the router.
        sticky: For how long the conversation stays with a model: "turn" through a tool loop,
            "thread" as long as the model can answer, "call" not at all.
        default: The name of the model that answers when the routing fails; None is the agent's
            own. The failure is logged.
        max_attempts: How many models may fail before a call fails; None is all.
        deadline: Seconds for a whole call, over all models that are asked; None is no limit.
        attempt_timeout: Seconds for one model's answer; None is no limit.
        retry_on: Which answers are refused, so that the next model is asked: "empty", "length".
        traffic: The log of decisions, outcomes and feedback, or its URL; by default the router's.
        exploration: How often another good model answers; by default the router's.
        policy: Changes which model is chosen, such as `tryage.policies.Budget`; by default the
            router's.
        signals: As for `ChatTryage`: "error", "parse" and "retry"; True is all.
        judge: As for `ChatTryage`: rates a share of the answers in the background.
        judge_share: The share of the answers that are rated.
        judge_budget: USD for all judgments; None is no limit.
        judge_cost: USD of one judgment, where the judge does not say it.

    If a model fails, the next in the ranking answers, as in `ChatTryage`.

    Models that are known not to support the tools, images or length of a conversation are left out.
    A provider's own reasoning and cache markers do not reach another provider.

    The state key `tryage` holds the last decision and, as `served_by`, the model that answered.
    The same record is streamed as `{"tryage_route": ...}` in the mode "custom", and sent as the
    custom event `tryage_route` before the call. The model's run has it as tag and metadata.

    Per run, `config["configurable"]` or the `context` may hold the settings of `TryageContext`.

    A `ModelFallbackMiddleware` after it handles the failures of each model that is asked. In the
    other order it does not choose again after the fallback has replaced the model.

    Raises:
        InputError: a wrong model, limit or `sticky`; in a run, a wrong setting.
        LibraryError: the default, or in a run `tryage_model`, is not one of the models.
        PerceptionError: a model is new to the router, which cannot estimate it.
    """

    state_schema = TryageState
    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(  # noqa: PLR0913 - independent settings with defaults
        self,
        models: Mapping[str, ChatModelSource] | Sequence[ChatModelSource],
        router: Router | None = None,
        *,
        experts: Sequence[Expert] | Mapping[str, Expert] = (),
        efforts: bool | Sequence[str] = False,
        preferences: Preferences | str | None = None,
        sticky: Sticky = "turn",
        default: str | None = None,
        max_attempts: int | None = None,
        deadline: float | None = None,
        attempt_timeout: float | None = None,
        retry_on: Collection[RefusedAnswer] = (),
        traffic: Traffic | str | None = None,
        exploration: Exploration | None = None,
        policy: Policy | None = None,
        signals: bool | Collection[Signal] = True,
        judge: Any = None,
        judge_share: float = 0.02,
        judge_budget: float | None = None,
        judge_cost: float | None = None,
    ) -> None:
        super().__init__()
        named_models = name_models(models, candidate_name)
        clients = ChatModelPool(with_efforts(named_models, check_efforts(efforts)), {})
        _check_models(clients)
        pool = candidate_pool(clients, router, read_experts(experts))
        self._default = None if default is None else find_model(pool.library, default)
        said = None if preferences is None else read_preferences(preferences)
        if judge is not None:
            check_judge_has_log(traffic, router)
        settings = RouterSettings(
            *(router, said, self._default, False, sticky),
            traffic=traffic,
            exploration=exploration,
            policy=policy,
        )
        self._session: FallbackSession[Any] = FallbackSession(
            settings.build(pool, estimate_tokens),
            clients,
            max_attempts,
            limits=TimeLimits(deadline, attempt_timeout),
            retry_on=frozenset(retry_on),
            signals=check_signals(signals),
            judge=None
            if judge is None
            else AnswerJudge(
                read_judge(judge), share=judge_share, budget=judge_budget, cost=judge_cost
            ),
        )
        self._executor: BatchingExecutor[_CallInput, _PlannedCall] = BatchingExecutor(_plan_calls)
        self._failed_attempts: LRUCache[_FailedAttempt | None] = LRUCache(64)

    @classmethod
    def from_config(cls, path: str | Path | None = None, **settings: Any) -> Self:
        """Return the middleware of a file of settings: `tryage.toml`, or `[tool.tryage]`.

        `settings` replace those of the file. The default of the file is the model that answers when
        the routing fails.

        Raises:
            ConfigError: there is no file, or it is wrong; the error has all problems, with their
                lines.
            MissingExtraError: the extra `config` is not installed, or one that the settings need.
        """
        from tryage.chat.configured_model import middleware_arguments
        from tryage_langchain._configured import make_client

        return cls(**(middleware_arguments(make_client, path) | settings))

    def feedback(self, id: str, score: float, **details: Any) -> bool:  # noqa: A002 - as `Router.feedback`
        """Report how good an answer was; `id` is in the state and in the record of the answer.

        The other arguments are those of `Router.feedback`: `kind`, `comment`, `feedback_id` and
        `expert`.

        Raises:
            InputError: there is no log, or a value is out of range.
            LibraryError: no such model.
            TrafficError: the store fails; nothing is written.
        """
        return self._session.chat_router.router.feedback(id, score, **details)

    def health(self) -> dict[str, dict[str, Any]]:
        """Return by name which models fail now, since when, and their last error."""
        return self._session.health()

    def savings(self, *, reset: bool = False) -> Savings:
        """Return what the answers so far cost, and what one model for all would have cost.

        With `reset`, the next totals start from zero.
        """
        return self._session.savings(reset=reset)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Let the chosen model answer the call, or the next one, and record which model did."""
        with tracing_failures():
            call = self._plan_call(_read_call(self, request))
        meter = AgentUsageMeter()
        emit = partial(_emit, emit_event, call, with_runtime(current_config(), request.runtime))
        ask = partial(_ask, call, handler, meter)
        hooks = _hooks(self._session.clients.get_client, emit, ask, meter)
        try:
            if call.plan is None:
                emit(call.record)
                name = call.default
                client = None if name is None else self._session.clients.get_client(name)
                answer = hooks.call(client, call.record)
                record = self._settle(call, hooks, answer)
            else:
                answer, record = run_steps(self._steps(call, call.plan, hooks))
        except Exception:
            self._remember_failure(call)
            raise
        return self._record_served(call, answer, record)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """Do what `wrap_model_call` does; routing that takes long does not block the event loop."""
        with tracing_failures():
            call = await self._executor.run(_read_call(self, request), input_size(request.messages))
        meter = AgentUsageMeter()
        emit = partial(_emit, aemit_event, call, with_runtime(current_config(), request.runtime))
        ask = partial(_aask, call, handler, meter)
        hooks = _hooks(self._aget_client, emit, ask, meter)
        try:
            if call.plan is None:
                await emit(call.record)
                client = None if call.default is None else await self._aget_client(call.default)
                answer = await hooks.call(client, call.record)
                record = self._settle(call, hooks, answer)
            else:
                answer, record = await arun_steps(self._steps(call, call.plan, hooks))
        except Exception:
            self._remember_failure(call)
            raise
        return self._record_served(call, answer, record)

    def _steps(self, call: _PlannedCall, plan: RoutingPlan, hooks: FallbackHooks) -> FallbackSteps:
        return fallback_steps(self._session, plan, hooks, call.settings.deadline)

    def _settle(
        self, call: _PlannedCall, hooks: FallbackHooks, answer: AgentAnswer
    ) -> RoutingRecord:
        """Return the record of an answer that was not routed, with its costs."""
        record = {**call.record, COST_KEY: {"expected": None}}
        self._session.costs(hooks).settle(record, answer)
        return record

    async def _aget_client(self, name: str) -> Any:
        """Return a model; one that is not made yet is made in an executor."""
        clients = self._session.clients
        if clients.is_built(name):
            return clients.get_client(name)
        return await run_in_executor(None, clients.get_client, name)

    # What is asked -------------------------------------------------------------------------

    def _plan_call(self, call_input: _CallInput) -> _PlannedCall:
        """Choose a model, unless another middleware sends the same call again."""
        request = call_input.request
        failed_attempt = self._failed_attempt(request)
        if failed_attempt is None:
            call = self._decide(call_input)
        else:
            call = replace(failed_attempt.call, original=request, request=request)
            if failed_attempt.model is not request.model:
                record = {**call.record, "how": "replaced by another middleware"}
                return replace(call, plan=None, default=None, record=record)
        if self._session.chat_router.router.prompt_flags:
            call = replace(call, request=remove_flags(request))
        return call

    def _decide(self, call_input: _CallInput) -> _PlannedCall:
        """Return the decision about a call; if the routing fails, that of the default.

        Raises:
            LibraryError: the run names an unknown model.
            NoExpertError: no model meets what is required.
        """
        _, request, settings, config = call_input
        previous: Any = request.state.get("tryage") or {}
        turn = turn_key(request.messages, previous)
        chat_router = self._session.chat_router
        model = settings.model and find_model(chat_router.router.library, settings.model)
        try:
            plan = chat_router.plan_from_record(
                conversation_from_request(request, config, settings.query),
                previous,
                turn,
                settings.preferences,
                model=model,
                sticky=settings.sticky,
                is_available=self._session.is_available,
            )
        except NoExpertError:
            raise  # a default or the agent's own model must not break a limit
        except Exception as error:  # noqa: BLE001 - no failure of the routing may end the run
            return self._default_call(request, settings, turn, error)
        asks = partial(self._session.asks_log_probabilities, plan)
        return _PlannedCall(request, request, settings, turn, plan, plan.record(), None, asks)

    def _default_call(
        self, request: ModelRequest[Any], settings: CallSettings, turn: str, error: Exception
    ) -> _PlannedCall:
        """Return the call of the default, or of the agent's own model."""
        _log.warning("Tryage could not route a model call: %s", type(error).__name__)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("The failure of the routing", exc_info=redacted_error(error))
        record: RoutingRecord = {
            "model": self._default,
            "reason": f"the routing failed: {type(error).__name__}",
            "how": "default",
            "scores": {},
        }
        return _PlannedCall(request, request, settings, turn, None, record, self._default)

    def _failed_attempt(self, request: ModelRequest[Any]) -> _FailedAttempt | None:
        """Return the earlier attempt at the same call that failed, if there is one.

        All attempts at one call have the same state object.
        """
        attempt = self._failed_attempts.get(id(request.state))
        return None if attempt is None or attempt.state is not request.state else attempt

    def _remember_failure(self, call: _PlannedCall) -> None:
        """Remember that a call failed, with the model of its first attempt."""
        request = call.original
        failed_attempt = self._failed_attempt(request)
        first_model = request.model if failed_attempt is None else failed_attempt.model
        self._failed_attempts.put(
            id(request.state), _FailedAttempt(request.state, first_model, call)
        )

    def _record_served(
        self, call: _PlannedCall, answer: AgentAnswer, record: RoutingRecord
    ) -> ExtendedModelResponse[Any]:
        """Write the record, with the model that answered, into the state and the answer."""
        self._failed_attempts.put(id(call.original.state), None)
        response = answer.response
        served_by = (
            record["model"]
            if answer.is_of_asked_model
            else model_of_response(response.result, self._session.clients)
        )
        record = {**record, "turn": call.turn, "served_by": served_by}
        if served_by is not None:
            messages = [
                annotate(message, record) if isinstance(message, AIMessage) else message
                for message in response.result
            ]
            response = replace(response, result=messages)
        return ExtendedModelResponse(response, Command(update={"tryage": record}))


@dataclass(frozen=True)
class _PlannedCall:
    """A model call with the decision about it.

    `original` is the call as the agent makes it, and `request` what is asked, without flags. If
    there is no `plan`, the model `default` answers, or else the model of the request.
    `asks_log_probabilities` tells by the name of a model whether it is asked for those.
    """

    original: ModelRequest[Any]
    request: ModelRequest[Any]
    settings: CallSettings
    turn: str
    plan: RoutingPlan | None
    record: RoutingRecord
    default: str | None = None
    asks_log_probabilities: Callable[[str], bool] = field(default=lambda _: False, repr=False)


class _CallInput(NamedTuple):
    """What an agent calls its model with, the settings of its run, and the config of the run."""

    middleware: TryageMiddleware
    request: ModelRequest[Any]
    settings: CallSettings
    config: RunnableConfig


@dataclass(frozen=True)
class _FailedAttempt:
    """A call that failed. An outer middleware may send it again."""

    state: Mapping[str, Any]
    model: BaseChatModel
    call: _PlannedCall


def _check_models(clients: ChatModelPool) -> None:
    """Raise unless all models are chat models, or make one.

    Raises:
        InputError: one is a chain, or has bound arguments.
    """
    for name, model in clients.items():
        if isinstance(model, Runnable) and not isinstance(model, BaseChatModel):
            raise InputError(
                f"The model of {name!r} is a {type(model).__name__}. Expected a chat model as it "
                "is; an agent binds its tools and settings itself."
            )


def _read_call(middleware: TryageMiddleware, request: ModelRequest[Any]) -> _CallInput:
    """Return what is decided about.

    It is called in the task of the run: calls of other runs may be decided together with it.
    """
    config = current_config()
    settings = read_call_settings(config, getattr(request.runtime, "context", None))
    return _CallInput(middleware, request, settings, config)


def _plan_calls(inputs: Sequence[_CallInput]) -> list[Any]:
    """Return a planned call for each input, or its error."""
    return [_planned_or_error(call_input) for call_input in inputs]


def _planned_or_error(call_input: _CallInput) -> _PlannedCall | Exception:
    try:
        return call_input.middleware._plan_call(call_input)  # noqa: SLF001 - of the class above
    except Exception as error:  # noqa: BLE001 - it is raised where the call waits
        return error


def _emit(
    emit: Callable[[RoutingRecord, RunnableConfig], Any],
    call: _PlannedCall,
    config: RunnableConfig,
    record: RoutingRecord,
) -> Any:
    """Report which model is asked."""
    return emit({**record, "turn": call.turn}, config)


def _ask(
    call: _PlannedCall,
    handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    meter: AgentUsageMeter,
    client: Any,
    record: RoutingRecord,
) -> AgentAnswer:
    """Let a model answer; without a client, the model of the request."""
    callback = meter.start(call_key(record))
    with invalid_structures():
        response = handler(_request_for(call, client, record, callback))
    return AgentAnswer(response, callback.has_answered)


async def _aask(
    call: _PlannedCall,
    handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    meter: AgentUsageMeter,
    client: Any,
    record: RoutingRecord,
) -> AgentAnswer:
    """Do what `_ask` does, asynchronously."""
    callback = meter.start(call_key(record))
    with invalid_structures():
        response = await handler(_request_for(call, client, record, callback))
    return AgentAnswer(response, callback.has_answered)


def _hooks(
    get_client: Callable[[str], Any],
    emit: Callable[[RoutingRecord], Any],
    ask: Callable[[Any, RoutingRecord], Any],
    meter: AgentUsageMeter,
) -> FallbackHooks:
    """Return how an agent's call is answered; functions may return awaitables."""
    return FallbackHooks(
        *(get_client, emit, ask, answer_problems_of_response, meter.read, text_of_response),
        meter.select,
        evidence_of_response,
        *AGENT_CACHE,
        answer_size=size_of_response,
    )


def _request_for(
    call: _PlannedCall, client: Any, record: RoutingRecord, callback: UsageCallback
) -> ModelRequest[Any]:
    """Return the call of one model; the callback notes whether it answers."""
    if client is None:
        replaced = call.record["how"] == "replaced by another middleware"
        return adapt_request(call.request, call.request.model) if replaced else call.request
    tags = [NO_STREAM_TAG] if call.plan is not None and is_checked(call.plan, record) else []
    request = adapt_request(call.request, traced_model(client, record, callback, tags))
    if not call.asks_log_probabilities(record["model"]):
        return request
    settings = {**log_probability_arguments(client), **request.model_settings}
    return request.override(model_settings=settings)
