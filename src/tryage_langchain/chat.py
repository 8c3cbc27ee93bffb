"""Tryage as a chat model: in place of any other, each conversation goes to the right one."""

# ruff: noqa: ANN401 - LangChain's keyword arguments are of any type.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

import tryage
from tryage.chat import Sticky  # noqa: TC001 - pydantic reads the annotations at run time
from tryage.experts import Expert  # noqa: TC001 - as above
from tryage.preferences import Preferences
from tryage.router import Router
from tryage_langchain._assembling import Pool, chat_router, pool
from tryage_langchain._binding import BOUND, Bound, bound_tools
from tryage_langchain._chatting import ChatDesk
from tryage_langchain._children import Children
from tryage_langchain._facts import named
from tryage_langchain._generating import Generating
from tryage_langchain._routing import MODEL, PREFERENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool
    from typing_extensions import Self

    from tryage.chat import ChatRouter
    from tryage_langchain._children import Source

AUTO = "tryage-auto"
# Of BaseChatModel: what ChatTryage was given reaches every child that has none of its own.
_OUTER = ("cache", "rate_limiter", "disable_streaming", "output_version", "streaming", "verbose")
_BUILDING = threading.Lock()


class ChatTryage(Generating):
    """A chat model that gives every conversation to the right one of several.

    Whatever a chat model can do, the chosen one does: tools in its own format, structured output,
    streams, its cache, its usage. The answer tells who gave it and why, in
    `response_metadata["tryage"]`. If the chosen one fails, the next in the ranking answers.

    Per call, `config["configurable"]` may hold `tryage_preferences` and `tryage_model`, as for
    `TryageRouter`; so may the keyword argument `model`.

    Example:
        `ChatTryage.from_models(["openai:gpt-4o-mini", "anthropic:claude-3-5-sonnet-latest"])`

    Raises:
        ValidationError: no models, two with one name, or a name that is none of them. pydantic
            raises it, around the `InputError` that says which.
    """

    models: dict[str, Any] = Field(exclude=True, repr=False)
    """Chat models, `init_chat_model` strings or functions that make one, by name or as a list."""

    router: Router | None = Field(default=None, exclude=True, repr=False)
    """Predicts and weighs; the models are recognised among its experts. None is the bundled one."""

    experts: tuple[Expert, ...] = Field(default=(), exclude=True, repr=False)
    """What you know of a model and nobody else does, such as a price, under the model's name."""

    preferences: Preferences | None = None
    """In force for every call."""

    sticky: Sticky = "turn"
    """For how long a conversation stays with its model: "turn", "thread" or "call"."""

    default: str | None = None
    """The model that answers if no choice is possible; None raises instead."""

    max_attempts: int | None = Field(default=None, ge=1)
    """How many models may be asked for one answer; None is all."""

    model: str = AUTO
    """The name of the one model to ask, whoever is better; "tryage-auto" leaves the choice."""

    streaming: bool = False
    """Whether `invoke` streams, for whoever is chosen; without it, each model's own setting."""

    settings: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """For `init_chat_model`, beside a string: every argument that ChatTryage itself has not."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _children: Children = PrivateAttr()
    _pool: Pool = PrivateAttr()
    _chat: tuple[tuple[Any, ...], ChatRouter] | None = PrivateAttr(default=None)

    @classmethod
    def from_models(cls, models: Mapping[str, Source] | Sequence[Source], **settings: Any) -> Self:
        """Return ChatTryage over models that you have: objects, strings or functions.

        `settings` are fields of ChatTryage; others, such as `api_key` or `timeout`, go to
        `init_chat_model` when a string is first chosen.
        """
        return cls(models=named(models), **settings)

    @classmethod
    def from_hub(
        cls, *, local: bool = False, settings: Mapping[str, Any] | None = None, **search: Any
    ) -> Self:
        """Return ChatTryage over candidates of the Hugging Face Hub.

        Args:
            local: Run the weights here instead of asking inference providers.
            settings: For `HuggingFaceEndpoint`, or for `HuggingFacePipeline.from_model_id`.
            search: What `Router.from_hub` takes: task, license, limit ...

        Raises:
            MissingExtraError: `langchain-huggingface` is not installed.
        """
        from tryage_langchain._hub import hub_models

        router: Router = Router.from_hub(**search)  # type: ignore[attr-defined]  # not there yet
        names = router.library.names
        return cls(models=hub_models(names, local=local, **(settings or {})), router=router)

    # Reading the arguments -----------------------------------------------------------------

    @model_validator(mode="before")
    @classmethod
    def _sort_out_settings(cls, given: Any) -> Any:
        """Move what only `init_chat_model` understands to `settings`."""
        if not isinstance(given, dict):
            return given
        fields = {name: field.alias or name for name, field in cls.model_fields.items()}
        own = {*fields, *fields.values()}
        others = {key: value for key, value in given.items() if key not in own}
        kept = {key: value for key, value in given.items() if key in own}
        return {**kept, "settings": {**others, **given.get("settings", {})}}

    @field_validator("models", mode="before")
    @classmethod
    def _name_models(cls, models: Any) -> Any:
        return named(models)

    @field_validator("preferences", mode="before")
    @classmethod
    def _read_preferences(cls, preferences: Any) -> Any:
        return Preferences.from_dict(preferences) if isinstance(preferences, dict) else preferences

    @field_validator("experts", mode="before")
    @classmethod
    def _read_experts(cls, experts: Any) -> Any:
        return tuple(experts)

    def model_post_init(self, context: Any, /) -> None:
        """Find out what the models are, before LangChain asks for their profile."""
        super().model_post_init(context)
        self._children = Children(self.models, self.settings)
        self._pool = pool(self._children, self.router, self.experts)
        for name in (self.default, self._always()):
            if name is not None:
                self._pool.library.index(name)

    @model_validator(mode="after")
    def _set_tryage_version(self) -> Self:
        self._add_version("tryage", tryage.__version__)
        return self

    # What LangChain asks of a chat model ---------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "tryage"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What makes two of them different: the models, and how they are chosen."""
        return {
            "model": self.model,
            "models": {name: _identity(model) for name, model in self._children.items()},
            "preferences": (self.preferences or Preferences()).to_dict(),
            "sticky": self.sticky,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "tryage"
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        """Return what can be relied on whoever is chosen."""
        return self._pool.profile

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The per-call settings."""
        return [
            ConfigurableFieldSpec(id=PREFERENCES, annotation=Any, name="Tryage preferences"),
            ConfigurableFieldSpec(id=MODEL, annotation=str | None, name="Tryage model"),
        ]

    # What is declared now and done by whoever is chosen ------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        """Bind tools: each model gets them in its own format when it is chosen."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(**{BOUND: bound_tools(tools, {**choice, **kwargs})})

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[Any, Any]:
        """Return answers of a schema: each model in its own way when it is chosen."""
        declared = {"include_raw": include_raw, **kwargs}
        return self.bind(**{BOUND: Bound("with_structured_output", schema, declared)})

    # What chooses and who answers ----------------------------------------------------------

    @property
    def _desk(self) -> ChatDesk:
        return ChatDesk(self._chatting(), self._children, self._handed_down(), self.max_attempts)

    def _chatting(self) -> ChatRouter:
        """Return what chooses: made when first used, anew if a copy was given something else."""
        parts = (self._pool, self.router, self.preferences, self.default, self.sticky)
        if self._chat is None or any(a is not b for a, b in zip(self._chat[0], parts, strict=True)):
            with _BUILDING:
                if self._chat is None or self._chat[0] != parts:
                    self._chat = parts, chat_router(*parts)
        return self._chat[1]

    def _handed_down(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in _OUTER if name in self.model_fields_set}
        return {name: value for name, value in given.items() if value is not None}

    def _always(self) -> str | None:
        return None if self.model == AUTO else self.model


def _identity(model: Any) -> Any:
    """Return what tells one model from another, without secrets."""
    if isinstance(model, BaseChatModel):
        return dict(model._identifying_params)  # noqa: SLF001 - a chat model asks its like
    return model if isinstance(model, str) else type(model).__name__
