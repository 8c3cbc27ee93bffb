"""TryageLLM is an LLM of LlamaIndex that gives each query to the right one of several LLMs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLMMetadata  # noqa: TC002 - pydantic reads annotations
from pydantic import BaseModel, Field, PrivateAttr, field_serializer, field_validator

from tryage.chat.candidates import RouterCache
from tryage.chat.efforts import check_efforts
from tryage.chat.model_names import name_models
from tryage.chat.savings import Savings, SavingsCounter
from tryage.chat.settings import RoutingFields, check_settings, find_hub_models
from tryage.chat.time_limits import TimeLimits
from tryage.core.preferences import Preferences
from tryage.core.request import ConversationContext, merge_preferences
from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage_llamaindex._call_routing import prepare_call, read_policies
from tryage_llamaindex._call_settings import current_settings, read_settings, use_settings
from tryage_llamaindex._clients import (
    LLMPool,
    candidate_name,
    candidate_pool,
    common_metadata,
    count_tokens,
    hub_models,
    metadata_of,
    with_efforts,
)
from tryage_llamaindex._components import StreamComponent, current_component, observe_components
from tryage_llamaindex._fallback import LLMSession
from tryage_llamaindex._judges import read_judge
from tryage_llamaindex._llm_invoke import LLMChatMixin, StructuredPredictMixin, ToolChatMixin
from tryage_llamaindex._usage import observe_usages

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from llama_index.core.llms import LLM
    from typing_extensions import Self

    from tryage.chat.conversation import TokenCounter
    from tryage.chat.router import Sticky
    from tryage.config.document import Overrides
    from tryage_llamaindex._call import LLMCall
    from tryage_llamaindex._call_routing import StepPolicy
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
    influence the choice. Each call takes the keyword arguments `tryage_preferences`,
    `tryage_model`, `tryage_query`, `tryage_sticky` and `tryage_deadline`; `using` sets them for all
    calls in a block.

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

    step_policies: dict[str, Any] = Field(default_factory=dict)
    """How steps that are not answers are routed: "condense", "transform", "generate_queries",
    "extract" and "evaluate", each "cheap", "fixed", "query", the name of a model or `Preferences`.
    """

    _clients: LLMPool = PrivateAttr()
    _metadata: tuple[object, LLMMetadata] | None = PrivateAttr(default=None)
    _policies: dict[str, StepPolicy] = PrivateAttr()
    _scope: str = PrivateAttr(default_factory=lambda: secrets.token_hex(8))
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
        known experts; it also finds those in a dict. `settings` are fields of TryageLLM. A name
        such as "gpt-5@low" is an LLM with its reasoning effort; with `efforts=True`, or a list of
        efforts, each LLM that is known to take them is one for each.

        Raises:
            InputError: a setting is no field.
        """
        check_settings(settings, cls)
        return cls(llms=name_models(llms, candidate_name), **settings)

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        watch: bool = False,
        overrides: Overrides | None = None,
    ) -> Self:
        """Return TryageLLM of a file of settings: `tryage.toml`, or `[tool.tryage]` of a project.

        A model is an LLM of your own, `client = "module:name"`, or "provider:model" of a package
        such as `llama-index-llms-openai`.

        Args:
            path: The file; where it is looked for without one, `Router.from_config` says.
            watch: Read the file again when it changes, as for `Router.from_config`. Conversations,
                savings, what budgets have spent and LLMs stay. `close()` ends that.
            overrides: As for `Router.from_config`.

        Raises:
            ConfigError: there is no file, or it is wrong; the error has all problems, with their
                lines.
            MissingExtraError: the extra `config` is not installed, or a package that the settings
                need.
        """
        from tryage.chat.configured_model import model_of_config
        from tryage_llamaindex._configured import make_client

        return model_of_config(cls, "llms", make_client, path, watch=watch, overrides=overrides)

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
        check_settings(llm or {}, cls)
        make_llms = partial(hub_models, local=local, **(model_settings or {}))
        llms, router = find_hub_models(make_llms, task, query, local=local)
        return cls(llms=llms, router=router, **(llm or {}))

    @field_validator("llms", mode="before")
    @classmethod
    def _name_llms(cls, llms: Any) -> Any:
        return name_models(llms, candidate_name)

    @field_validator("step_policies", mode="before")
    @classmethod
    def _read_step_policies(cls, policies: Any) -> Any:
        if not isinstance(policies, Mapping):
            return policies
        return {
            step: Preferences.from_dict(policy) if isinstance(policy, dict) else policy
            for step, policy in policies.items()
        }

    def model_post_init(self, context: Any, /) -> None:
        """Find out what the LLMs are: LlamaIndex asks for metadata before there is any query."""
        super().model_post_init(context)
        self._clients = LLMPool(with_efforts(self.llms, check_efforts(self.efforts)))
        self._set_pool(candidate_pool(self._clients, self.router, self.experts), self.default)
        self._set_judge(read_judge)
        self._policies = read_policies(self.step_policies, self._pool.library.names)
        observe_components()
        observe_usages()

    @property
    def metadata(self) -> LLMMetadata:
        """Metadata for every choice; it never changes, because LlamaIndex stores its sizes.

        Only a copy with other preferences or another `context_window` has metadata of its own.
        """
        key = self.preferences, self.context_window
        if self._metadata is None or self._metadata[0] != key:
            base = Preferences() if self.router is None else self.router.preferences
            preferences = merge_preferences(base, self.preferences or Preferences())
            self._metadata = (
                key,
                common_metadata(
                    self._clients, self._pool.library, preferences, self.context_window
                ),
            )
        return self._metadata[1]

    @contextmanager
    def using(  # noqa: PLR0913 - the settings of a call
        self,
        *,
        preferences: Preferences | Mapping[str, Any] | None = None,
        query: str | None = None,
        model: str | None = None,
        sticky: Sticky | None = None,
        deadline: float | None = None,
        keys: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
    ) -> Generator[list[dict[str, Any]], None, None]:
        """Route all calls in a `with` block so, also those of engines, agents and their tasks.

        It yields the list of the block's routing records, in the order of the answers. Blocks may
        be nested: preferences add up, other settings of the inner block replace those of the outer.

        Example:
            `with llm.using(preferences=Preferences({"cost": 1.0})): engine.query("...")`

        Args:
            preferences: Weights and requirements.
            query: The text that is routed on.
            model: The one LLM that is asked.
            sticky: For how long a conversation stays with its model.
            deadline: Seconds for each call, over all models that are asked.
            keys: Whose conversation it is, for the log of traffic: `{"thread_id": "t1"}`.
            tags: For the log; a call that is tagged "critical" is never used to explore.

        Raises:
            InputError: a setting has another type, or is out of range.
            LibraryError: `model` is not one of the LLMs.
        """
        settings = read_settings(
            preferences=preferences, query=query, model=model, sticky=sticky, deadline=deadline
        )
        checked_keys = ConversationContext(keys=keys or {}).keys
        settings = replace(settings, keys=checked_keys, tags=check_strings("tags", tags))
        if model is not None:
            self._pool.library.index(model)
        with use_settings(self._scope, settings) as records:
            yield records

    def _prepare_call(self, call: LLMCall) -> LLMCall:
        component = current_component()
        stream_settings = component.settings if isinstance(component, StreamComponent) else {}
        return prepare_call(
            call,
            current_settings(self._scope, stream_settings),
            component,
            self._policies,
            max(self.metadata.num_output, 0),
        )

    @property
    def _session(self) -> LLMSession:
        if self._watch is not None:
            return self._live._session  # noqa: SLF001 - of its own class
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
            limits=TimeLimits(self.deadline, self.attempt_timeout),
            retry_on=self.retry_on,
            savings_counter=self._savings_counter,
            signals=self.signals,
            judge=self._answer_judge,
        )

    def savings(self, *, reset: bool = False) -> Savings:
        """Return what the answers so far cost, and what one LLM for all would have cost.

        Shallow copies count together with this object. With `reset`, the next totals start from
        zero.
        """
        return self._session.savings(reset=reset)

    def health(self) -> dict[str, dict[str, Any]]:
        """Return which LLMs fail now, by name: the state, its cause and when it is tried again.

        All routed LLMs of a process share what they know.
        """
        return self._session.health()

    def _token_counter(self) -> TokenCounter:
        return count_tokens

    # Serialization, copies and pickles ------------------------------------------------------

    @field_serializer("llms")
    def _write_llms(self, _: Any) -> dict[str, Any]:
        """Write the class and model of each LLM, but none of its fields, which may hold keys."""
        return {name: _describe_llm(llm) for name, llm in self._clients.items()}

    @field_serializer("step_policies")
    def _write_step_policies(self, policies: dict[str, Any]) -> dict[str, Any]:
        return {
            step: policy.to_dict() if isinstance(policy, Preferences) else policy
            for step, policy in policies.items()
        }

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
        """Share the clients and the router; neither conversations nor savings are copied."""
        clone = self._live.model_copy()
        clone._router_cache, clone._copies = RouterCache(), {}  # noqa: SLF001 - our own class
        clone._savings_counter = SavingsCounter()  # noqa: SLF001 - our own class
        return clone

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out secrets, clients, callbacks and remembered conversations."""
        if self._watch is not None:
            return self._live.__getstate__()
        state = RoutingFields.__getstate__(self)
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
