"""The interface of local models: they answer a prompt, and return their loss on a text."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.language_models import LLM
from langchain_core.outputs import GenerationChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.callbacks import CallbackManagerForLLMRun

    from tryage import Expert

# Any text can be written as raw bytes, so no model has a higher loss than this.
RAW_BITS = 8.0


class LocalModel(Protocol):
    """A real model on this machine."""

    @property
    def expert(self) -> Expert:
        """Facts about the model."""
        ...

    def answer(self, prompt: str) -> Iterator[str]:
        """Yield the answer in pieces."""
        ...

    def loss(self, text: str) -> float:
        """Return the loss in bits per byte, which is comparable between tokenizers.

        A masked model sees both sides of the token that it predicts and a causal one only the left
        side, so a masked model has an advantage over a causal one. An unknown token counts as raw
        bytes.
        """
        ...


class LocalLLM(LLM):
    """A local model as an LLM of LangChain."""

    model: Any

    @property
    def _llm_type(self) -> str:
        return "tryage-demo"

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401, ARG002 - LangChain's signature
    ) -> Iterator[GenerationChunk]:
        for piece in self.model.answer(prompt):
            chunk = GenerationChunk(text=piece)
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk

    def _call(
        self,
        prompt: str,
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,  # noqa: ANN401, ARG002 - LangChain's signature
    ) -> str:
        return "".join(self.model.answer(prompt))


def package_folder(package: str) -> Path:
    """Return the folder of a package without importing it.

    Raises:
        ModuleNotFoundError: the package is not installed.

    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed. Run: make demo-setup")
    return Path(next(iter(spec.submodule_search_locations)))
