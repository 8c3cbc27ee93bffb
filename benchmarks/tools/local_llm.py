"""A local chat model as an LLM of LlamaIndex, with transformers only."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback


class LocalLLM(CustomLLM):
    """Answers greedily, as an assistant in ChatML, the format of SmolLM2 and Qwen."""

    folder: str
    new_tokens: int = 120

    @property
    def metadata(self) -> LLMMetadata:
        """The limits that LlamaIndex uses."""
        return LLMMetadata(context_window=2_048, num_output=self.new_tokens)

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM

        tokenizer = Tokenizer.from_file(str(Path(self.folder) / "tokenizer.json"))
        return tokenizer, AutoModelForCausalLM.from_pretrained(self.folder).eval()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:  # noqa: ANN401, ARG002 - LlamaIndex's signature
        """Answer a prompt."""
        import torch

        tokenizer, model = self._parts
        ids = _turn(tokenizer, f"user\n{prompt}")
        ids += [1, *tokenizer.encode("assistant\n").ids]  # 1 starts a turn, 2 ends it
        with torch.inference_mode():
            generated = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=self.new_tokens,
                do_sample=False,
                eos_token_id=2,
                pad_token_id=2,
            )
        return CompletionResponse(text=tokenizer.decode(generated[0, len(ids) :].tolist()).strip())

    @llm_completion_callback()
    def stream_complete(
        self,
        prompt: str,
        formatted: bool = False,
        **kwargs: Any,  # noqa: ANN401 - LlamaIndex's signature
    ) -> CompletionResponseGen:
        """Yield the whole answer as one chunk."""
        yield self.complete(prompt, formatted, **kwargs)


def _turn(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401 - a tokenizer of tokenizers
    return [1, *tokenizer.encode(text).ids, 2, *tokenizer.encode("\n").ids]
