"""Tryage as an LLM of LlamaIndex: in place of any other, each query goes to the right one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLMMetadata  # noqa: TC002 - pydantic reads the annotations
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
from tryage_llamaindex._llm_invoke import StructuredPredictMixin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.llms import LLM
    from typing_extensions import Self

    from tryage_llamaindex._clients import LLMSource

_FORWARDED_FIELDS = ("system_prompt", "pydantic_program_mode", "output_parser")


class TryageLLMFields(StructuredPredictMixin, RoutingFields):
    """An LLM made of others, and how it chooses among them."""

    llms: dict[str, Any] = Field(repr=False)
    """LLMs, or functions that make one, by name or as a list."""

    context_window: int | None = Field(default=None, ge=1)
    """What `metadata` tells; None is that of the smallest child that may be chosen."""

    _clients: LLMPool = PrivateAttr()
    _metadata: LLMMetadata = PrivateAttr()
    _copies: dict[tuple[str, bool], tuple[object, LLM]] = PrivateAttr(default_factory=dict)

    # Reading the arguments -----------------------------------------------------------------

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
        wanted = merge_preferences(base, self.preferences or Preferences())
        self._metadata = common_metadata(
            self._clients, self._pool.library, wanted, self.context_window
        )

    @property
    def metadata(self) -> LLMMetadata:
        """What holds whoever is chosen. It never changes: LlamaIndex keeps sizes made of it."""
        return self._metadata

    @property
    def _session(self) -> LLMSession:
        given = {
            name: getattr(self, name) for name in _FORWARDED_FIELDS if name in self.model_fields_set
        }
        return LLMSession(
            self._chat_router,
            self._clients,
            self.max_attempts,
            self.callback_manager.handlers,
            {name: value for name, value in given.items() if value is not None},
            self._copies,
        )

    # Writing down --------------------------------------------------------------------------

    @field_serializer("llms")
    def _write_llms(self, _: Any) -> dict[str, Any]:
        """Write what each is, not how it is reached: its fields hold keys."""
        return {name: _describe_llm(model) for name, model in self._clients.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Return what `to_dict` wrote; the LLMs, which hold keys, are given again as `llms`.

        Raises:
            InputError: they are not given.
        """
        if "llms" not in kwargs:
            raise InputError(
                f"The LLMs {sorted(data.get('llms', {}))} were not written down: they hold keys. "
                "Give them again: TryageLLM.from_dict(data, llms={...})."
            )
        return super().from_dict(data, **kwargs)

    # Copies --------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Share the clients and the router; what is remembered of conversations is not copied."""
        clone = self.model_copy()
        clone._router_cache, clone._copies = RouterCache(), {}  # noqa: SLF001 - our own class
        return clone

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out secrets, clients, callbacks and what is remembered."""
        state = BaseModel.__getstate__(self)
        own = {"llms": self._clients, "callback_manager": None, "rate_limiter": None}
        fields = {**state["__dict__"], **own}
        private = {**(state["__pydantic_private__"] or {}), "_copies": {}}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take the state as it is: made anew, it would lose what is known of the LLMs."""
        BaseModel.__setstate__(self, state)
        self.callback_manager = CallbackManager([])
        self.llms = dict(self._clients)


class TryageLLM(TryageLLMFields):
    """An LLM that gives every query to the right one of several.

    Whatever an LLM can do, the chosen one does: tools in its own format, structured output,
    streams, its usage. The answer tells who gave it and why, in
    `response.additional_kwargs["tryage"]`, and `RoutingDecisionEvent` tells it before. If the
    chosen one fails before it says anything, the next in the ranking answers.

    A query engine's template and the text it retrieved do not sway the choice: the user's query
    does. Per call, the keyword arguments `tryage_preferences` and `tryage_model` may be given.

    Example:
        `Settings.llm = TryageLLM.from_llms([OpenAI("gpt-4o-mini"), Anthropic("claude-sonnet-4")])`

    Raises:
        ValidationError: no LLMs, two with one name, or a name that is none of them. pydantic
            raises it, around the `InputError` that says which.
    """

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "TryageLLM"

    @classmethod
    def from_llms(
        cls, llms: Mapping[str, LLMSource] | Sequence[LLMSource], **settings: Any
    ) -> Self:
        """Return TryageLLM over LLMs that you have, or functions that make one when needed.

        Those in a list go by the name of the model that they call; by it they are recognised, and
        so are those in a dict. `settings` are fields of TryageLLM.
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
            query: What `Router.from_hub` takes: `limit`, `license`, `max_parameters`, `base` ...
                Without `local`, only models that a provider serves are found unless
                `served` says otherwise.

        Raises:
            MissingExtraError: the package of these LLMs is not installed.
            LibraryError, HubError, CatalogueError: as in `Router.from_hub`.
        """
        make_clients = partial(hub_models, local=local, **(model_settings or {}))
        llms, router = find_hub_models(make_clients, task, query, local=local)
        return cls(llms=llms, router=router, **(llm or {}))


def _describe_llm(model: object) -> dict[str, Any]:
    metadata = metadata_of(model)
    told = {"class_name": getattr(type(model), "class_name", lambda: type(model).__name__)()}
    return told if metadata is None else {**told, "model_name": metadata.model_name}
