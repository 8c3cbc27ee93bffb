"""TryageLLM is an LLM of LlamaIndex that gives each query to the right one of several LLMs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLMMetadata  # noqa: TC002 - pydantic reads annotations
from pydantic import BaseModel, Field, PrivateAttr, field_serializer, field_validator

from tryage.chat.candidates import RouterCache
from tryage.chat.model_names import name_models
from tryage.chat.settings import RoutingFields, find_hub_models
from tryage.core.preferences import Preferences
from tryage.core.request import merge_preferences
from tryage.errors import InputError
from tryage_llamaindex._clients import (
    LLMPool,
    candidate_pool,
    common_metadata,
    hub_models,
    llm_name,
    metadata_of,
)
from tryage_llamaindex._fallback import LLMSession
from tryage_llamaindex._llm_invoke import LLMChatMixin, StructuredPredictMixin, ToolChatMixin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.llms import LLM
    from typing_extensions import Self

    from tryage_llamaindex._clients import LLMSource

# Settings of TryageLLM for children that report to callbacks themselves.
_FORWARDED_FIELDS = ("system_prompt", "pydantic_program_mode", "output_parser")


class TryageLLM(LLMChatMixin, ToolChatMixin, StructuredPredictMixin, RoutingFields):
    """An LLM that gives every query to the right one of several.

    The chosen LLM does whatever an LLM can do: tools in its own format, structured output, streams,
    its usage. The answer says which LLM gave it and why, in `response.additional_kwargs["tryage"]`;
    a `RoutingDecisionEvent` says it before. If the chosen LLM fails before its first content, the
    next in the ranking answers.

    The user's query is routed. The template of a query engine and the text that it retrieved do not
    influence the choice. Each call takes the keyword arguments `tryage_preferences` and
    `tryage_model`.

    Example:
        `Settings.llm = TryageLLM.from_llms([OpenAI("gpt-4o-mini"), Anthropic("claude-sonnet-4")])`

    Raises:
        ValidationError: there are no LLMs, two have one name, or a given name is not one of them.
            pydantic raises it, around the `InputError` that says which.
    """

    llms: dict[str, Any] = Field(repr=False)
    """LLMs, or functions that make one, by name or as a list."""

    context_window: int | None = Field(default=None, ge=1)
    """The window in `metadata`; None is the smallest among the children that may be chosen."""

    _clients: LLMPool = PrivateAttr()
    _metadata: LLMMetadata = PrivateAttr()
    _copies: dict[tuple[str, bool], tuple[object, LLM]] = PrivateAttr(default_factory=dict)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "TryageLLM"

    @classmethod
    def from_llms(
        cls, llms: Mapping[str, LLMSource] | Sequence[LLMSource], **settings: Any
    ) -> Self:
        """Return TryageLLM over your LLMs, or functions that make one when it is needed.

        LLMs in a list get the name of the model that they call. This name finds them among the
        known experts; it also finds those in a dict. `settings` are fields of TryageLLM.
        """
        return cls(llms=name_models(llms, llm_name), **settings)

    @classmethod
    def from_hub(
        cls,
        task: str | None = "text-generation",
        *,
        local: bool = False,
        model_settings: Mapping[str, Any] | None = None,
        llm: Mapping[str, Any] | None = None,
        **query: Any,
    ) -> Self:
        """Return TryageLLM over models of the Hugging Face Hub; each is made when first chosen.

        Args:
            task: The Hub's pipeline tag.
            local: Run the weights here, instead of asking inference providers.
            model_settings: For `HuggingFaceInferenceAPI`, or for `HuggingFaceLLM`.
            llm: For TryageLLM itself: `sticky`, `preferences` ...
            query: Arguments of `Router.from_hub`: `limit`, `license`, `max_parameters`, `base` ...
                Without `local`, only models that a provider serves are found, unless `served`
                has another value.

        Raises:
            MissingExtraError: the package of these LLMs is not installed.
            LibraryError, HubError, CatalogueError: as in `Router.from_hub`.
        """
        make_llms = partial(hub_models, local=local, **(model_settings or {}))
        llms, router = find_hub_models(make_llms, task, query, local=local)
        return cls(llms=llms, router=router, **(llm or {}))

    @field_validator("llms", mode="before")
    @classmethod
    def _name_llms(cls, llms: Any) -> Any:
        return name_models(llms, llm_name)

    def model_post_init(self, context: Any, /) -> None:
        """Find out what the LLMs are: LlamaIndex asks for metadata before there is any query."""
        super().model_post_init(context)
        self._clients = LLMPool(self.llms)
        self._set_pool(candidate_pool(self._clients, self.router, self.experts), self.default)
        base = Preferences() if self.router is None else self.router.preferences
        preferences = merge_preferences(base, self.preferences or Preferences())
        self._metadata = common_metadata(
            self._clients, self._pool.library, preferences, self.context_window
        )

    @property
    def metadata(self) -> LLMMetadata:
        """Metadata for every choice; it never changes, because LlamaIndex stores its sizes."""
        return self._metadata

    @property
    def _session(self) -> LLMSession:
        settings = {
            name: getattr(self, name) for name in _FORWARDED_FIELDS if name in self.model_fields_set
        }
        return LLMSession(
            self._chat_router,
            self._clients,
            self.max_attempts,
            self.callback_manager.handlers,
            {name: value for name, value in settings.items() if value is not None},
            self._copies,
        )

    # Serialization, copies and pickles ------------------------------------------------------

    @field_serializer("llms")
    def _write_llms(self, _: Any) -> dict[str, Any]:
        """Write the class and model of each LLM, but none of its fields, which may hold keys."""
        return {name: _describe_llm(llm) for name, llm in self._clients.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Return the TryageLLM that `to_dict` wrote, with its LLMs given again as `llms`.

        Raises:
            InputError: `llms` is missing.
        """
        if "llms" not in kwargs:
            raise InputError(
                f"The LLMs {sorted(data.get('llms', {}))} were not written down: they hold keys. "
                "Give them again: TryageLLM.from_dict(data, llms={...})."
            )
        return super().from_dict(data, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Share the clients and the router; remembered conversations are not copied."""
        clone = self.model_copy()
        clone._router_cache, clone._copies = RouterCache(), {}  # noqa: SLF001 - our own class
        return clone

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out secrets, clients, callbacks and remembered conversations."""
        state = BaseModel.__getstate__(self)
        replacements = {"llms": self._clients, "callback_manager": None, "rate_limiter": None}
        fields = {**state["__dict__"], **replacements}
        private_fields = {**(state["__pydantic_private__"] or {}), "_copies": {}}
        return {**state, "__dict__": fields, "__pydantic_private__": private_fields}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore the state as it is: validation would lose what is known about the LLMs."""
        BaseModel.__setstate__(self, state)
        self.callback_manager = CallbackManager([])
        self.llms = dict(self._clients)


def _describe_llm(llm: object) -> dict[str, Any]:
    class_name = getattr(type(llm), "class_name", lambda: type(llm).__name__)()
    metadata = metadata_of(llm)
    if metadata is None:
        return {"class_name": class_name}
    return {"class_name": class_name, "model_name": metadata.model_name}
