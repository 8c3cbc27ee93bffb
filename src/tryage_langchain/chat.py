"""ChatTryage is a chat model that sends each conversation to the right one of several models."""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from collections.abc import (
    Callable,  # noqa: TC003 - with_fallbacks() reads the annotations of methods
    Sequence,  # noqa: TC003 - with_fallbacks() reads the annotations of methods
)
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models import (
    BaseChatModel,
    ModelProfile,
)
from langchain_core.runnables import Runnable  # noqa: TC002 - with_fallbacks() reads annotations
from langchain_core.runnables.config import (
    RunnableConfig,  # noqa: TC002 - with_fallbacks() reads annotations
)
from langchain_core.tools import BaseTool  # noqa: TC002 - with_fallbacks() reads annotations
from pydantic import Field, PrivateAttr, SkipValidation, field_validator, model_validator

import tryage
from tryage.chat.candidates import CandidatePool, RouterCache
from tryage.chat.efforts import check_efforts
from tryage.chat.model_names import name_models
from tryage.chat.plan import RoutingPlan  # noqa: TC001 - with_fallbacks() reads annotations
from tryage.chat.savings import Savings, SavingsCounter
from tryage.chat.settings import RoutingFields, find_hub_models
from tryage.chat.time_limits import TimeLimits
from tryage.core.preferences import Preferences
from tryage.core.redaction import without_secrets
from tryage.core.request import estimate_tokens
from tryage.telemetry.observer import trace
from tryage_langchain._arguments import BoundArguments, bound_tools
from tryage_langchain._call import BOUND_KEY, ChatSession
from tryage_langchain._call_settings import CALL_SETTINGS
from tryage_langchain._chat_generate import ChatGenerateMixin
from tryage_langchain._chat_invoke import ChatInvokeMixin
from tryage_langchain._clients import (
    ChatModelPool,
    candidate_name,
    candidate_pool,
    hub_models,
    with_efforts,
)
from tryage_langchain._judges import read_judge
from tryage_langchain._profiles import common_profile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.runnables.utils import ConfigurableFieldSpec
    from typing_extensions import Self

    from tryage.config.document import Overrides
    from tryage_langchain._clients import ChatModelSource

AUTO = "tryage-auto"

# Fields of BaseChatModel that ChatTryage passes to every model which has no value of its own.
_FORWARDED_FIELDS = (
    "cache",
    "rate_limiter",
    "disable_streaming",
    "output_version",
    "streaming",
    "verbose",
)


class ChatTryage(ChatInvokeMixin, ChatGenerateMixin, RoutingFields):
    """A chat model that gives every conversation to the right one of several.

    The chosen model does whatever a chat model can do: tools in its own format, structured output,
    streams, its cache, its usage. The answer tells which model gave it and why, in
    `response_metadata["tryage"]`. If the chosen model fails, the next in the ranking answers.

    Per call, `config["configurable"]`, or the context of a LangGraph graph, may hold the settings
    of `TryageContext`. The keyword argument `model` also names the one model to ask.

    Example:
        `ChatTryage.from_models(["openai:gpt-4o-mini", "anthropic:claude-3-5-sonnet-latest"])`

    Raises:
        ValidationError: there are no models, two have one name, or a given name is not one of
            them. pydantic raises it, around the `InputError` that says which.
    """

    models: SkipValidation[dict[str, Any]] = Field(exclude=True, repr=False)
    """Chat models, `init_chat_model` strings or functions that make one, by name or as a list."""

    model: str = AUTO
    """The name of the one model to ask, however it ranks; "tryage-auto" leaves the choice."""

    streaming: bool = False
    """Whether `invoke` streams, for any chosen model; without it, each model's own setting."""

    settings: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """Arguments for `init_chat_model`: everything that is not a field of ChatTryage."""

    _clients: ChatModelPool = PrivateAttr()
    _common_profile: ModelProfile = PrivateAttr()

    @classmethod
    def from_models(
        cls, models: Mapping[str, ChatModelSource] | Sequence[ChatModelSource], **settings: Any
    ) -> Self:
        """Return ChatTryage over models that you have: objects, strings or functions.

        `settings` are fields of ChatTryage. Others, such as `api_key` or `timeout`, go to
        `init_chat_model` when a string is first chosen.

        A string or name may end with a reasoning effort: "openai:gpt-5.6@low". With `efforts=True`,
        or a list of efforts, each model that is known to take them is one model for each.
        """
        return cls(models=name_models(models, candidate_name), **settings)

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        watch: bool = False,
        overrides: Overrides | None = None,
    ) -> Self:
        """Return ChatTryage of a file of settings: `tryage.toml`, or `[tool.tryage]` of a project.

        Args:
            path: The file; where it is looked for without one, `Router.from_config` says.
            watch: Read the file again when it changes, as for `Router.from_config`. Conversations,
                savings, what budgets have spent and clients stay. `close()` ends that.
            overrides: As for `Router.from_config`.

        Raises:
            ConfigError: there is no file, or it is wrong; the error has all problems, with their
                lines.
            MissingExtraError: the extra `config` is not installed, or one that the settings need.
        """
        from tryage.chat.configured_model import model_of_config
        from tryage_langchain._configured import make_client

        return model_of_config(cls, "models", make_client, path, watch=watch, overrides=overrides)

    @classmethod
    def from_hub(
        cls,
        task: str | None = "text-generation",
        *,
        local: bool = False,
        model_settings: Mapping[str, Any] | None = None,
        chat: Mapping[str, Any] | None = None,
        **query: Any,
    ) -> Self:
        """Return ChatTryage over models of the Hugging Face Hub.

        Args:
            task: The Hub's pipeline tag.
            local: Run the weights here, instead of asking inference providers.
            model_settings: For `HuggingFaceEndpoint`, or for `HuggingFacePipeline.from_model_id`.
            chat: For ChatTryage itself: `sticky`, `preferences` ...
            query: Arguments of `Router.from_hub`: `limit`, `license`, `max_parameters`, `base` ...
                Without `local`, only models that a provider serves are found, unless
                `served` has another value.

        Raises:
            MissingExtraError: `langchain-huggingface` is not installed.
            LibraryError, HubError, CatalogueError: as in `Router.from_hub`.
        """
        make_clients = partial(hub_models, local=local, **(model_settings or {}))
        models, router = find_hub_models(make_clients, task, query, local=local)
        return cls(models=models, router=router, **(chat or {}))

    # How the arguments are read ------------------------------------------------------------

    @model_validator(mode="before")
    @classmethod
    def _split_settings(cls, values: Any) -> Any:
        """Move the arguments that only `init_chat_model` understands to `settings`."""
        if not isinstance(values, dict):
            return values
        fields = {name: field.alias or name for name, field in cls.model_fields.items()}
        field_names = {*fields, *fields.values()}
        other_values = {key: value for key, value in values.items() if key not in field_names}
        field_values = {key: value for key, value in values.items() if key in field_names}
        return {**field_values, "settings": {**other_values, **values.get("settings", {})}}

    @field_validator("models", mode="before")
    @classmethod
    def _name_models(cls, models: Any) -> Any:
        if isinstance(models, ModelMap):
            return models
        return ModelMap(name_models(models, candidate_name))

    def model_post_init(self, context: Any, /) -> None:
        """Find out what the models are, before LangChain asks for their profile."""
        super().model_post_init(context)
        state = self._shared_state()
        self._clients, self._common_profile = state.clients, state.profile
        self._router_cache, self._savings_counter = state.router_cache, state.savings_counter
        self._set_pool(state.pool, self.default, self._forced_model())
        self._set_judge(read_judge)

    def _shared_state(self) -> SharedState:
        """Return what is made of the models; an equal ChatTryage made before shares it."""
        time_limit = {} if self.timeout is None else {"timeout": self.timeout}
        settings = {**time_limit, **self.settings}
        efforts = check_efforts(self.efforts)
        models, inputs = self.models, (self.router, self.experts, settings, efforts)
        state = models.state if isinstance(models, ModelMap) else None
        if state is None or state.inputs[0] is not self.router or state.inputs[1:] != inputs[1:]:
            clients = ChatModelPool(with_efforts(models, efforts), settings)
            clients.check_settings(type(self))
            pool = candidate_pool(clients, self.router, self.experts)
            profile = common_profile(pool.library, clients.values())
            state = SharedState(inputs, clients, pool, profile, RouterCache(), SavingsCounter())
            if isinstance(models, ModelMap):
                models.state = state
        return state

    @model_validator(mode="after")
    def _set_tryage_version(self) -> Self:
        self._add_version("tryage", tryage.__version__)
        return self

    # What chooses and what answers ---------------------------------------------------------

    @property
    def _session(self) -> ChatSession:
        if self._watch is not None:
            return self._live._session  # noqa: SLF001 - of its own class
        return ChatSession(
            self._chat_router,
            self._clients,
            self.max_attempts,
            limits=TimeLimits(self.deadline, self.attempt_timeout),
            retry_on=self.retry_on,
            forwarded_settings=self._forwarded_settings(),
            forced_model=self._forced_model(),
            savings_counter=self._savings_counter,
            signals=self.signals,
            judge=self._answer_judge,
        )

    def savings(self, *, reset: bool = False) -> Savings:
        """Return what the answers so far cost, and what one model for all would have cost.

        Bindings and copies with other settings count together with this object. With `reset`, the
        next totals start from zero.
        """
        return self._session.savings(reset=reset)

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of each model by its name: its state, and when it is asked again."""
        return self._session.health()

    def route(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> RoutingPlan:
        """Return what would be asked about an input, and why; no model is asked.

        The arguments are those of `invoke`. The plan's `first` is the model that would answer,
        `order()` the others after it, and `decision` the router's whole decision.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
            LibraryError: the call names an unknown model.
        """
        run_config = self._run_config(config)
        plan = self._plan_call(input, run_config, self._child_kwargs(None, kwargs)).plan
        trace([] if plan.turn_choice is not None else [plan.decision])
        return plan

    def explain(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """Return in words what would be asked about an input, and why; no model is asked.

        Raises:
            TryageError: as in `route`.
        """
        plan = self.route(input, config, **kwargs)
        return f"{plan.first} would answer: {plan.reason}.\n{plan.decision.explain()}"

    def _forwarded_settings(self) -> dict[str, Any]:
        settings = {
            name: getattr(self, name) for name in _FORWARDED_FIELDS if name in self.model_fields_set
        }
        return {name: value for name, value in settings.items() if value is not None}

    def _forced_model(self) -> str | None:
        return None if self.model == AUTO else self.model

    # What LangChain asks of a chat model ---------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "tryage"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What distinguishes two of them: the models, and how they are chosen."""
        return {
            "model": self.model,
            "models": {name: _identity(model) for name, model in self._clients.items()},
            "preferences": (self.preferences or Preferences()).to_dict(),
            "sticky": self.sticky,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "tryage"
        return params

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has: the tokenizer depends on the chosen model."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        return int(estimate_tokens(text))

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Return what holds for every model that may be chosen."""
        return self._common_profile or None

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The settings of one call."""
        return list(CALL_SETTINGS)

    # Bound arguments, which the chosen model gets in its own format --------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        """Bind tools: each model gets them in its own format when it is chosen."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(**{BOUND_KEY: bound_tools(tools, {**choice, **kwargs})})

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[Any, Any]:
        """Return answers that follow a schema: each model makes them in its own way."""
        child_kwargs = {"include_raw": include_raw, **kwargs}
        return self.bind(
            **{BOUND_KEY: BoundArguments("with_structured_output", schema, child_kwargs)}
        )

    # Copies --------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Share the clients and the router; neither conversations nor savings are copied."""
        copies = {"tags": deepcopy(self.tags, memo), "metadata": deepcopy(self.metadata, memo)}
        clone = self.model_copy(update=copies)
        clone._router_cache = RouterCache()  # noqa: SLF001 - it is of the same class
        clone._savings_counter = SavingsCounter()  # noqa: SLF001 - it is of the same class
        return clone

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out secrets, clients made from strings, and what is remembered."""
        if self._watch is not None:
            return self._live.__getstate__()
        state = super().__getstate__()
        fields = {**state["__dict__"], "settings": self._clients.non_secret_settings}
        return {**state, "__dict__": fields}


class ModelMap(dict[str, Any]):
    """Chat models by name, with what was made of them.

    LangChain makes a new ChatTryage of the same models for each call of `configurable_fields()`.
    With this map the clients and the remembered conversations stay the same.
    """

    state: SharedState | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the models alone."""
        return type(self), (dict(self),)


class SharedState(NamedTuple):
    """What was made of chat models; `inputs` are the other arguments that it depends on."""

    inputs: tuple[Any, ...]
    clients: ChatModelPool
    pool: CandidatePool
    profile: ModelProfile
    router_cache: RouterCache
    savings_counter: SavingsCounter


def _identity(model: Any) -> Any:
    """Return what distinguishes one model from another, without secrets."""
    if isinstance(model, BaseChatModel):
        return without_secrets(model._identifying_params)  # noqa: SLF001 - LangChain has no public name for it
    return model if isinstance(model, str) else type(model).__name__
