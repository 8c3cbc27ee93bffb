"""LlamaIndex's LLM for inference providers, such that it can stream more than once."""

# ruff: noqa: ANN401 - LlamaIndex's keyword arguments are of any type.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.llms.huggingface_api import (  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an optional package
    HuggingFaceInferenceAPI,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.llms import ChatMessage, ChatResponseAsyncGen


class Served(HuggingFaceInferenceAPI):  # type: ignore[misc, unused-ignore]  # as above
    """Gives every asynchronous stream a client of its own.

    The base closes its only one at the end of each, under whatever else is under way with it, and
    of later calls none succeeds (llama-index-llms-huggingface-api 0.8, huggingface_hub 2.4).
    """

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Stream an answer."""
        own = self.model_copy()
        client = type(self._async_client)
        own._async_client = client(**self._get_inference_client_kwargs())  # noqa: SLF001 - a copy of itself
        chunks: ChatResponseAsyncGen = await HuggingFaceInferenceAPI.astream_chat(
            own, messages, **kwargs
        )
        return chunks
