"""LlamaIndex's LLM for inference providers of the Hugging Face Hub, made safe for several streams.

A file of its own, because its base class is in an optional package and pickles name the class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.llms.huggingface_api import HuggingFaceInferenceAPI  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an optional package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.llms import ChatMessage, ChatResponseAsyncGen


class ConcurrentHuggingFaceInferenceAPI(HuggingFaceInferenceAPI):  # type: ignore[misc, unused-ignore]  # without the optional package the base is Any
    """Gives every asynchronous stream a client of its own.

    The base class closes its only client at the end of each stream. That breaks the other streams
    that use it, and all later calls (llama-index-llms-huggingface-api 0.8, huggingface_hub 2.4).
    """

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Stream an answer."""
        stream_llm = self.model_copy()
        client_class = type(self._async_client)
        stream_llm._async_client = client_class(**self._get_inference_client_kwargs())  # noqa: SLF001 - a copy of itself
        chunks: ChatResponseAsyncGen = await HuggingFaceInferenceAPI.astream_chat(
            stream_llm, messages, **kwargs
        )
        return chunks
