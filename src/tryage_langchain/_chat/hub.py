"""Chat models for candidates from the Hugging Face Hub: at inference providers, or run here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tryage.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_core.language_models import BaseChatModel


def hub_models(
    names: Iterable[str],
    *,
    local: bool,
    **settings: Any,  # noqa: ANN401 - of the chat model
) -> dict[str, Callable[[], BaseChatModel]]:
    """Return what makes a `ChatHuggingFace` per model id, when it is first chosen.

    Args:
        names: Ids such as "Qwen/Qwen2.5-7B-Instruct".
        local: Run the weights here, with transformers, instead of asking an inference provider.
        settings: For `HuggingFaceEndpoint`, or for `HuggingFacePipeline.from_model_id`.

    Raises:
        MissingExtraError: `langchain-huggingface` is not installed.
    """
    require("langchain_huggingface", "huggingface")
    make = _local if local else _served
    return {name: partial(make, name, **settings) for name in names}


def _served(name: str, **settings: Any) -> BaseChatModel:  # noqa: ANN401 - as above
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint  # type: ignore[import-not-found, unused-ignore]  # an optional package

    endpoint = HuggingFaceEndpoint(**{"repo_id": name, "provider": "auto", **settings})
    model: BaseChatModel = ChatHuggingFace(llm=endpoint)
    return model


def _local(name: str, **settings: Any) -> BaseChatModel:  # noqa: ANN401 - as above
    from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline  # type: ignore[import-not-found, unused-ignore]  # as above

    # without it the answer would begin with the question
    asked = {"return_full_text": False, **(settings.get("pipeline_kwargs") or {})}
    weights = {"model_id": name, "task": "text-generation", **settings, "pipeline_kwargs": asked}
    model: BaseChatModel = ChatHuggingFace(llm=HuggingFacePipeline.from_model_id(**weights))
    return model
