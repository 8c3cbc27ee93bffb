"""Tryage as an LLM of LlamaIndex: in place of any other, each query goes to the right one."""

# ruff: noqa: ANN401 - settings are of any type.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.chat.facts import named
from tryage.router import Router
from tryage_llamaindex._facts import name_of
from tryage_llamaindex._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from tryage_llamaindex._children import Source


class TryageLLM(Settings):
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
    def from_llms(cls, llms: Mapping[str, Source] | Sequence[Source], **settings: Any) -> Self:
        """Return TryageLLM over LLMs that you have, or functions that make one when needed.

        Those in a list go by the name of the model that they call; by it they are recognised, and
        so are those in a dict. `settings` are fields of TryageLLM.
        """
        return cls(llms=named(llms, name_of), **settings)

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
        from tryage_llamaindex._hub import hub_models

        hub_models((), local=local)  # what is missing is said before the Hub is asked
        router = Router.from_hub(task, **(query if local else {"served": True, **query}))
        made = hub_models(router.library.names, local=local, **(model_settings or {}))
        return cls(llms=made, router=router, **(llm or {}))
