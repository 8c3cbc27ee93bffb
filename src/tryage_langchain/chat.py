"""Tryage as a chat model: in place of any other, each conversation goes to the right one."""

# ruff: noqa: ANN401 - LangChain's keyword arguments are of any type.

from __future__ import annotations

from collections.abc import Callable, Sequence  # noqa: TC003 - with_fallbacks() reads the hints
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable  # noqa: TC002 - as above
from langchain_core.runnables.utils import ConfigurableFieldSpec
from langchain_core.tools import BaseTool  # noqa: TC002 - as above
from pydantic import model_validator

import tryage
from tryage.chat.facts import named
from tryage.counting import estimate_tokens
from tryage.preferences import Preferences
from tryage.router import Router
from tryage_langchain._chat.binding import BOUND, Bound, bound_tools
from tryage_langchain._chat.facts import name_of
from tryage_langchain._chat.settings import Settings
from tryage_langchain._router.routing import MODEL, PREFERENCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models.base import LangSmithParams
    from typing_extensions import Self

    from tryage_langchain._chat.children import Source


class ChatTryage(Settings):
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

    @classmethod
    def from_models(cls, models: Mapping[str, Source] | Sequence[Source], **settings: Any) -> Self:
        """Return ChatTryage over models that you have: objects, strings or functions.

        `settings` are fields of ChatTryage; others, such as `api_key` or `timeout`, go to
        `init_chat_model` when a string is first chosen.
        """
        return cls(models=named(models, name_of), **settings)

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
            query: What `Router.from_hub` takes: `limit`, `license`, `max_parameters`, `base` ...
                Without `local`, only models that a provider serves are found unless
                `served` says otherwise.

        Raises:
            MissingExtraError: `langchain-huggingface` is not installed.
            LibraryError, HubError, CatalogueError: as in `Router.from_hub`.
        """
        from tryage_langchain._chat.hub import hub_models

        asked = query if local else {"served": True, **query}
        router = Router.from_hub(task, **asked)
        models = hub_models(router.library.names, local=local, **(model_settings or {}))
        return cls(models=models, router=router, **(chat or {}))

    # What LangChain asks of a chat model ---------------------------------------------------

    @model_validator(mode="after")
    def _set_tryage_version(self) -> Self:
        self._add_version("tryage", tryage.__version__)
        return self

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

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has: whose tokenizer counts is not known before."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        return int(estimate_tokens(text))

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Return what can be relied on whoever is chosen."""
        return self._shared or None

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


def _identity(model: Any) -> Any:
    """Return what tells one model from another, without secrets."""
    if isinstance(model, BaseChatModel):
        return dict(model._identifying_params)  # noqa: SLF001 - a chat model asks its like
    return model if isinstance(model, str) else type(model).__name__
