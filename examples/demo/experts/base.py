"""What every local model can do: answer a prompt, and say how well it predicts a text."""

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

# A text can always be written down as raw bytes, so no model need do worse than this.
RAW_BITS = 8.0


class LocalModel(Protocol):
    """A real model on this machine."""

    @property
    def expert(self) -> Expert:
        """What is known about the model."""
        ...

    def answer(self, prompt: str) -> Iterator[str]:
        """Yield the answer piece by piece."""
        ...

    def loss(self, text: str) -> float:
        """Return the bits per byte that the model needs for the text: tokenisers then compare.

        A masked model sees both sides of the token it predicts and a causal one only the left, so
        between the two kinds the figure flatters the masked one. A token that the model does not
        know is charged as raw bytes.
        """
        ...


class LocalLLM(LLM):
    """A local model as LangChain knows it: it runs, streams and is traced like any other."""

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
    """Return where a package lies, without importing it.

    Raises:
        ModuleNotFoundError: the package is not installed.

    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed. Run: make demo-setup")
    return Path(next(iter(spec.submodule_search_locations)))
